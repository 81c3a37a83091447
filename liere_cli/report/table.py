"""A table as cells of text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Column:
    """One column of text.

    Args:
        cost: shows what an encoding costs, not how it scores.
        number: aligned to the right.
    """

    header: str
    cells: tuple[str, ...]
    cost: bool = False
    number: bool = True


@dataclass(frozen=True)
class Columns(Generic[T]):
    """Makes the columns of a table that has one line for each of ``rows``."""

    rows: Sequence[T]

    def number(self, header: str, cell: Callable[[T], str], cost: bool = False) -> Column:
        return Column(header, tuple(map(cell, self.rows)), cost)

    def text(self, header: str, cell: Callable[[T], str], cost: bool = False) -> Column:
        return Column(header, tuple(map(cell, self.rows)), cost, number=False)


@dataclass(frozen=True)
class TextTable:
    """A table of text, its heading (``kind`` is a modality beside the title) and notes below it."""

    title: str
    kind: str
    columns: list[Column]
    notes: list[str]

    @property
    def rows(self) -> int:
        return len(self.columns[0].cells)
