"""A table as cells of text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from liere_cli.report.numbers import NONE

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

    @property
    def empty(self) -> bool:
        """Whether there is no number in it."""
        return all(cell == NONE for cell in self.cells)


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
    """A table of text.

    Args:
        kind: a modality beside the title.
        details: how its numbers were made; on a terminal only with ``--verbose``.
        remarks: what a reader must see: failures, warnings, and what is left open.
        score: what is compared, in words, as ``top-1 %, higher is better``.
    """

    title: str
    kind: str
    columns: list[Column]
    details: list[str]
    remarks: list[str] = field(default_factory=list)
    score: str = ""

    @property
    def rows(self) -> int:
        return len(self.columns[0].cells)

    @property
    def notes(self) -> list[str]:
        """Remarks and details."""
        return [*self.remarks, *self.details]

    @property
    def name(self) -> str:
        """``text · stdlib``"""
        return f"{self.kind} · {self.title}" if self.kind else self.title
