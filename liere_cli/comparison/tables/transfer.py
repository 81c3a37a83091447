"""Scores at other lengths and resolutions against the baseline's there, with verdicts of their own.

Every run is measured as it was trained; what one cell of the table rests on lies with the run.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from liere_cli.comparison.tables.shared_seeds import shared_seeds
from liere_cli.evaluation.conditions import Condition, StoredEvaluation, TransferProtocol, value_of
from liere_cli.planning.plan import ComparedRun, DatasetPlan, Plan, PlannedEncoding, PlannedRun
from liere_cli.planning.progress import Outcome
from liere_cli.runs.item_results import results_of
from liere_cli.statistics.paired import CONFIDENCE, mean_and_std, student_quantile
from liere_cli.statistics.test_items import ItemResults, item_differences
from liere_cli.statistics.verdicts import Pair, Verdict, judge

if TYPE_CHECKING:
    from liere_cli.comparison.tables.table import DatasetTable


@dataclass(frozen=True)
class TransferCell:
    """One encoding under one condition.

    Args:
        values: by seed, in units of the metric.
        mean, std: over them; None where there are too few.
        low, high: of the mean's 95% interval by Student's t.
        not_finite: seeds at which a loss was not finite, so that there is no value.
        missing: finished seeds that were not measured.
        verdict: against the baseline on the same grid, not extended; None where it is itself that.
    """

    condition: Condition
    values: dict[int, float]
    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    not_finite: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    verdict: Verdict | None = None


@dataclass(frozen=True)
class TransferRow:
    """One encoding by one extension.

    Args:
        is_baseline: the baseline without extension, which the others are held against.
        cells: one a grid of the table; none where ``undefined`` says why.
        shuffled: on the training grid with patches in random order.
    """

    encoding: str
    extend: str
    is_baseline: bool
    cells: tuple[TransferCell, ...] = ()
    shuffled: TransferCell | None = None
    undefined: str | None = None


@dataclass(frozen=True)
class TransferTable:
    """One data set at several grids.

    Args:
        whole: its main table.
        comparisons: tests over which p-values are corrected: those of all transfer tables.
        count: bytes or items that are scored; None where nothing was measured.
        faults: why runs could not be measured, by their labels.
    """

    whole: "DatasetTable"
    grids: TransferProtocol
    rows: tuple[TransferRow, ...]
    comparisons: int = 0
    count: int | None = None
    faults: Mapping[str, str] | None = None


def unmeasured(
    plan: Plan[PlannedRun], found: Mapping[str, Outcome]
) -> dict[str, tuple[PlannedRun, tuple[StoredEvaluation, ...]]]:
    """Finished runs that lack a measurement, by identity, with what they lack, cheap ones first."""
    lacking = {}
    for dataset in plan.datasets:
        for row in dataset.encodings if dataset.transfer else ():
            for run in row.runs:
                places = [kept for kept in _places(dataset, row, run, found) if kept.read() is None]
                if places:
                    lacking[run.run_id] = (run, tuple(places))
    return lacking


def transfer_tables(
    plan: Plan,
    datasets: "Sequence[DatasetTable]",
    found: Mapping[str, Outcome],
    faults: Mapping[str, str],
) -> tuple[TransferTable, ...]:
    """A table for every data set whose runs are measured at other grids.

    All their comparisons are judged together, as a family of their own; a condition under which two
    methods are the same counts once.

    Args:
        faults: why runs could not be measured, by identity.
    """
    asked = [index for index, dataset in enumerate(plan.datasets) if dataset.transfer]
    readings = {index: _Readings(plan, index, found) for index in asked}
    pairs: dict[tuple[int, str, Condition], Pair] = {}
    for index in asked:
        pairs |= {(index, *key): pair for key, pair in readings[index].pairs(datasets[index])}
    verdicts = judge(list(pairs.values()), plan.interim)
    judged = dict(zip(pairs, verdicts, strict=True))
    comparisons = sum(verdict.p_holm is not None for verdict in verdicts)
    tables = []
    for index in asked:
        own = {(name, one): verdict for (at, name, one), verdict in judged.items() if at == index}
        runs = {run.run_id: run.label for row in plan.datasets[index].encodings for run in row.runs}
        table = readings[index].table(datasets[index], own)
        here = {label: faults[run_id] for run_id, label in runs.items() if run_id in faults}
        tables.append(replace(table, comparisons=comparisons, faults=here))
    return tuple(tables)


def _places(
    dataset: DatasetPlan, row: PlannedEncoding, run: ComparedRun, found: Mapping[str, Outcome]
) -> list[StoredEvaluation]:
    """Where the measurements of a run lie; nothing of one that has not finished."""
    outcome = found[run.run_id]
    if dataset.transfer is None or outcome.state != "finished" or outcome.summary is None:
        return []
    conditions = dataset.transfer.conditions(row.extensions)
    return [dataset.transfer.kept(run.run, outcome.summary, one) for one in conditions]


@dataclass(frozen=True)
class _Reading:
    """What one run has under one condition; ``value`` is None where a loss is not finite."""

    value: float | None
    count: int
    items: ItemResults | None


class _Readings:
    """The measurements of a data set's runs, each read once."""

    def __init__(self, plan: Plan, index: int, found: Mapping[str, Outcome]) -> None:
        self.plan, self.found, self.dataset = plan, found, plan.datasets[index]
        assert self.dataset.transfer is not None
        self.grids = self.dataset.transfer
        self.rows = {row.label: row for row in self.dataset.encodings}
        self.known: dict[tuple[str, Condition], dict[int, _Reading]] = {}
        for row in self.dataset.encodings:
            for run in row.runs:
                for kept in _places(self.dataset, row, run, found):
                    items = kept.read()
                    if items is not None:
                        at = self.known.setdefault((row.label, kept.condition), {})
                        at[run.seed] = _Reading(
                            value_of(items, self.dataset.metric),
                            int(items["weight"].sum()),
                            results_of(items, self.dataset.metric),
                        )

    def pairs(self, table: "DatasetTable") -> Iterator[tuple[tuple[str, Condition], Pair]]:
        """Every comparison once."""
        if table.baseline is None:
            return
        for row in self.dataset.encodings:
            for condition in self.grids.conditions(row.extensions) if row.runs else ():
                reference = self.grids.at(condition.grid)
                if condition.shuffle or (row.label, condition) == (table.baseline, reference):
                    continue
                yield (row.label, condition), self._pair(table, row, condition, reference)

    def _pair(
        self, table: "DatasetTable", row: PlannedEncoding, ours: Condition, theirs: Condition
    ) -> Pair:
        base = self.rows[str(table.baseline)]
        first = self.known.get((row.label, ours), {})
        second = self.known.get((base.label, theirs), {})
        seeds = [
            seed
            for seed in shared_seeds(self.plan, (row, base), self.found)
            if all(seed in one and one[seed].value is not None for one in (first, second))
        ]
        items = None
        if len(seeds) > 1:
            items = item_differences(
                *([one[seed].items for seed in seeds] for one in (first, second))
            )
        return Pair(
            [_value(first[seed]) for seed in seeds],
            [_value(second[seed]) for seed in seeds],
            table.higher_is_better,
            table.margin,
            items,
        )

    def table(
        self, whole: "DatasetTable", judged: Mapping[tuple[str, Condition], Verdict]
    ) -> TransferTable:
        rows = [one for row in self.dataset.encodings for one in self._rows(row, whole, judged)]
        counts = [one.count for known in self.known.values() for one in known.values()]
        return TransferTable(whole, self.grids, tuple(rows), count=max(counts, default=None))

    def _rows(
        self,
        row: PlannedEncoding,
        whole: "DatasetTable",
        judged: Mapping[tuple[str, Condition], Verdict],
    ) -> Iterator[TransferRow]:
        """One row an extension, those that the encoding does not have at the end."""
        if row.undefined is not None:
            yield TransferRow(row.label, "none", False, undefined=row.undefined)
            return
        own = self.grids.methods_of(row.extensions)
        for method in own:
            cells = [
                replace(self._cell(row, one), verdict=judged.get((row.label, one)))
                for one in (self.grids.at(grid, method) for grid in self.grids.grids)
            ]
            plain = method == "none"
            shuffled = (
                self._cell(row, self.grids.shuffled) if plain and self.grids.shuffle else None
            )
            is_baseline = plain and row.label == whole.baseline
            yield TransferRow(row.label, method, is_baseline, tuple(cells), shuffled)
        for method in self.grids.methods:
            if method not in own:
                reason = f"{method} is not defined for it"
                yield TransferRow(row.label, method, False, undefined=reason)

    def _cell(self, row: PlannedEncoding, condition: Condition) -> TransferCell:
        known = self.known.get((row.label, condition), {})
        finished = [run.seed for run in row.runs if self.found[run.run_id].state == "finished"]
        values = {seed: one.value for seed, one in sorted(known.items()) if one.value is not None}
        mean, std = mean_and_std(list(values.values()))
        half = None
        if std is not None:
            quantile = float(student_quantile(1 - CONFIDENCE, len(values) - 1))
            half = quantile * std / math.sqrt(len(values))
        return TransferCell(
            condition,
            values,
            mean,
            std,
            None if mean is None or half is None else mean - half,
            None if mean is None or half is None else mean + half,
            tuple(seed for seed, one in sorted(known.items()) if one.value is None),
            tuple(seed for seed in finished if seed not in known),
        )


def _value(reading: _Reading) -> float:
    assert reading.value is not None
    return reading.value
