"""What every section of a report provides."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Generic, TypeVar

from liere_cli.report.table import TextTable

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")


@dataclass(frozen=True)
class Section(Generic[T]):
    """One analysis in a report, of a data set or of the whole comparison.

    Args:
        key: of its data in JSON.
        tables: for the formats made of text; none where the recipe doesn't request the analysis.
        data: for JSON, one object per row or table, at full precision in the metric's unit.
    """

    key: str
    tables: Callable[[T], list[TextTable]]
    data: Callable[[T], list[dict[str, object]]]


def fields_of(item: "DataclassInstance", omit: Sequence[str] = ()) -> dict[str, object]:
    """The fields of a dataclass by name, without those in ``omit``."""
    return {
        field.name: getattr(item, field.name) for field in fields(item) if field.name not in omit
    }


def renamed(record: Mapping[str, object], **names: str) -> dict[str, object]:
    """The record with some keys replaced: ``renamed(row, label="verdict")``."""
    return {names.get(key, key): value for key, value in record.items()}
