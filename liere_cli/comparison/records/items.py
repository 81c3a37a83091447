"""Results per test item that were measured elsewhere."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from liere_cli.comparison.records.scores import Origin, Record, Tables, seed_name
from liere_cli.errors import UsageError, nearest, shortened
from liere_cli.statistics.item_errors import ItemDifferences, ItemResults, item_differences

REQUIRED = ("encoding", "seed", "item", "score")


@dataclass(frozen=True)
class _Item:
    score: float
    weight: float
    group: str


@dataclass
class ItemTable:
    """Results per item of one data set, by encoding and seed."""

    runs: dict[tuple[str, str], dict[str, _Item]] = field(default_factory=dict)

    def between(self, encoding: str, baseline: str, seeds: Sequence[str]) -> ItemDifferences | None:
        """Differences per item; None below 2 seeds, or where a run has none."""
        if len(seeds) < 2:
            return None
        both = ([self._results(name, seed) for seed in seeds] for name in (encoding, baseline))
        return item_differences(*both)

    def _results(self, encoding: str, seed: str) -> ItemResults | None:
        items = self.runs.get((encoding, seed))
        if items is None:
            return None
        ordered = [items[name] for name in sorted(items)]
        groups = {item.group: None for item in ordered}
        numbers = {group: number for number, group in enumerate(groups)}
        return ItemResults(
            np.array([item.score * item.weight for item in ordered]),
            np.array([item.weight for item in ordered]),
            np.array([numbers[item.group] for item in ordered], dtype=np.int64),
        )


def sort_items(records: Iterable[Record], origin: Origin) -> dict[tuple[str, str], ItemTable]:
    """Records of items by table and data set; raises UsageError for one that is not valid.

    A record has ``encoding``, ``seed``, ``item`` and ``score``, and may have ``data``, ``table``,
    ``group`` (items of one recording, say) and ``weight``.
    """
    tables: dict[tuple[str, str], ItemTable] = {}
    for index, record in enumerate(records):
        at = origin.at(index)
        values = {str(key).strip().lower(): value for key, value in record.items()}
        values.setdefault("encoding", values.get("arm"))
        for name in REQUIRED:
            if values.get(name) in (None, ""):
                hint = nearest(name, values)
                suggestion = f"; did you mean '{hint}'?" if hint and hint != name else ""
                raise UsageError(f"{at}: no value in column '{name}'{suggestion}")
        key = (_text(values, "table", ""), _text(values, "data", "data"))
        seed = seed_name(values["seed"])
        runs = tables.setdefault(key, ItemTable()).runs
        items = runs.setdefault((_text(values, "encoding", ""), seed), {})
        item = _text(values, "item", "")
        if item in items:
            raise UsageError(f"{at}, column item: {item} is there twice for one encoding and seed")
        items[item] = _Item(
            _number(values, "score", at),
            _number(values, "weight", at) if values.get("weight") not in (None, "") else 1.0,
            _text(values, "group", item),
        )
    _check_same_items(tables, origin)
    return tables


def check_items(items: Mapping[tuple[str, str], ItemTable], tables: Tables) -> None:
    """Raises UsageError for items of runs that have no score."""
    for (table, data), item_table in items.items():
        data_set = tables.get(table, {}).get(data)
        for encoding, seed in item_table.runs:
            if data_set is None or seed not in data_set.runs.get(encoding, {}):
                raise UsageError(
                    f"items: {encoding} seed {seed} on {data} has no score; items belong to runs "
                    "by encoding, seed, data and table"
                )


def _check_same_items(tables: Mapping[tuple[str, str], ItemTable], origin: Origin) -> None:
    for (_, data), table in tables.items():
        (first, items), *others = table.runs.items()
        for run, own in others:
            if own.keys() != items.keys():
                odd = sorted(own.keys() ^ items.keys())[0]
                raise UsageError(
                    f"{origin.name}, column item: {run[0]} seed {run[1]} and "
                    f"{first[0]} seed {first[1]} on {data} differ in item {odd}; every run needs "
                    "the same items"
                )


def _text(values: Record, name: str, default: str) -> str:
    value = values.get(name)
    return default if value is None or value == "" else str(value).strip()


def _number(values: Record, name: str, at: str) -> float:
    try:
        number = float(values[name])  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or (name == "weight" and number <= 0):
        raise UsageError(f"{at}, column {name}: {shortened(values[name])} is not a valid number")
    return number
