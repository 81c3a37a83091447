"""A table as cells of text, and the sections that a report consists of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

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
    """One table of text with its heading and the notes below it.

    Args:
        kind: shown beside the title: a modality.
    """

    title: str
    kind: str
    columns: list[Column]
    notes: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(self.columns[0].cells)


@dataclass(frozen=True)
class Section(Generic[T]):
    """One analysis in a report, of a data set or of the whole comparison.

    Args:
        key: of its data in JSON.
        tables: for the formats made of text; none where the recipe doesn't request the analysis.
        data: for JSON, one object a row or table, at full precision in the metric's unit.
    """

    key: str
    tables: Callable[[T], list[TextTable]]
    data: Callable[[T], list[dict[str, object]]]


def fields_of(item: "DataclassInstance", omit: Sequence[str] = ()) -> dict[str, object]:
    """The fields of a dataclass by name, without those in ``omit``."""
    return {one.name: getattr(item, one.name) for one in fields(item) if one.name not in omit}


def renamed(record: Mapping[str, object], **names: str) -> dict[str, object]:
    """The record with some keys replaced: ``renamed(row, label="verdict")``."""
    return {names.get(key, key): value for key, value in record.items()}
