"""Classes from the label column of tables."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from liere_cli.data.sources.base import check_names
from liere_cli.data.sources.parquet import Shard
from liere_cli.errors import LiereError

if TYPE_CHECKING:
    from pyarrow.lib import DataType

Label = int | float | str
_EXPECTED = "whole numbers or text are expected, one class in each row"


def read_classes(shards: Sequence[Shard], column: str) -> tuple[dict[Label, int], list[str]]:
    """The class number of each label, and the names of the classes by number.

    Names that the hub stored are used; else the classes are the labels in ascending order. Raises
    LiereError: labels that are missing, of another kind, or that differ in case or spaces only, and
    files that disagree about them.
    """
    stored = [_stored_names(shard, column) for shard in shards]
    labels: set[Label] = set()
    kinds: dict[str, Shard] = {}
    for shard, names in zip(shards, stored, strict=True):
        if names != stored[0]:
            raise LiereError(
                f"{shard.path} has other names of classes in '{column}' than {shards[0].path}: "
                f"{_shown(names)} and {_shown(stored[0])}"
            )
        for _, batch in shard.batches([column]):
            values = batch.column(column)
            kinds.setdefault(_kind_of(values.type, column, shard), shard)
            labels.update(values.unique().to_pylist())
    first = shards[0].path
    numbers = [label for label in labels if isinstance(label, float)]
    if None in labels or any(map(math.isnan, numbers)):
        raise LiereError(f"{first}: '{column}' is empty in some rows")
    if len(kinds) > 1:
        shown = ", ".join(f"{kind} in {shard.path}" for kind, shard in kinds.items())
        raise LiereError(f"the labels in '{column}' are {shown}: use one kind")
    if fractions := [number for number in numbers if not number.is_integer()]:
        raise LiereError(f"{first}: '{column}' is {fractions[0]}, but {_EXPECTED}")
    if stored[0]:
        check_names(stored[0], str(first))
        return {number: number for number in range(len(stored[0]))}, stored[0]
    ordered = sorted(labels)
    names = [label if isinstance(label, str) else f"{label:g}" for label in ordered]
    check_names(names, f"{first}: '{column}'")
    return {label: number for number, label in enumerate(ordered)}, names


def _stored_names(shard: Shard, column: str) -> list[str]:
    feature = shard.features().get(column)
    names = feature.get("names") if isinstance(feature, dict) else None
    return [str(name) for name in names] if isinstance(names, list) else []


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + ("..." if len(names) > 4 else "") if names else "none"


def _kind_of(values: "DataType", column: str, shard: Shard) -> str:
    from pyarrow import types  # type: ignore[attr-defined]

    if types.is_dictionary(values):
        values = values.value_type
    if types.is_integer(values) or types.is_floating(values) or types.is_boolean(values):
        return "numbers"
    if types.is_string(values) or types.is_large_string(values) or types.is_string_view(values):
        return "text"
    raise LiereError(f"{shard.path}: '{column}' has values of type {values}, but {_EXPECTED}")
