"""Scores at other lengths and resolutions against the baseline's, with verdicts of their own.

Trained runs are evaluated as they are; each run's folder holds its results under each condition.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from liere_cli.comparison.tables.results import Results
from liere_cli.comparison.tables.table import DatasetTable
from liere_cli.evaluation.conditions import Condition, StoredEvaluation, TransferProtocol, value_of
from liere_cli.planning.plan import ComparedRun, DatasetPlan, Plan, PlannedEncoding, PlannedRun
from liere_cli.planning.progress import Outcome
from liere_cli.runs.item_results import results_of
from liere_cli.statistics.correction import FALSE_DISCOVERY_RATE
from liere_cli.statistics.item_errors import ItemResults, item_differences
from liere_cli.statistics.samples import mean_and_std
from liere_cli.statistics.scores import Pair, Scores
from liere_cli.statistics.student import CONFIDENCE, student_quantile
from liere_cli.statistics.verdicts import Verdict, count_comparisons, judge


@dataclass(frozen=True)
class TransferCell:
    """One encoding under one condition.

    Args:
        values: by seed, in units of the metric.
        low, high: ends of the mean's 95% interval by Student's t.
        not_finite: seeds at which a loss was not finite, so that there is no value.
        missing: finished seeds that were not evaluated.
        verdict: against the baseline on the same grid, not extended; None for that baseline itself.
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
        is_baseline: whether this is the baseline without extension, the reference of all rows.
        cells: one for each grid of the table; empty if the row is undefined.
        shuffled: on the training grid with patches in random order.
        undefined: why the encoding, or this extension of it, has no cells.
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
        comparisons: tests over which p-values are corrected: those of all transfer tables.
        count: bytes or items that are scored; None if nothing was evaluated.
        errors: why runs could not be evaluated, by their labels.
    """

    whole: DatasetTable
    grids: TransferProtocol
    rows: tuple[TransferRow, ...]
    comparisons: int = 0
    count: int | None = None
    errors: Mapping[str, str] = field(default_factory=dict)


def unmeasured(
    plan: Plan[PlannedRun], outcomes: Mapping[str, Outcome]
) -> dict[str, tuple[PlannedRun, tuple[StoredEvaluation, ...]]]:
    """Finished runs that lack evaluations, by identity, with those they lack, cheap ones first."""
    lacking = {}
    for dataset in plan.datasets:
        for row in dataset.encodings if dataset.transfer else ():
            for run in row.runs:
                evaluations = _evaluations(dataset, row, run, outcomes)
                missing = tuple(stored for stored in evaluations if stored.read() is None)
                if missing:
                    lacking[run.run_id] = (run, missing)
    return lacking


def transfer_tables(
    results: Results, tables: Sequence[DatasetTable], errors: Mapping[str, str]
) -> tuple[TransferTable, ...]:
    """A table for every data set whose runs are evaluated at other grids.

    All their comparisons are judged together, as a family of their own; a condition under which two
    methods are the same counts once. There are many of them, so the false discovery rate is
    controlled. ``errors`` are why runs could not be evaluated, by identity.
    """
    evaluated = [
        _Evaluated(results, dataset, table)
        for dataset, table in zip(results.plan.datasets, tables, strict=True)
        if dataset.transfer
    ]
    pairs = {
        (index, label, condition): pair
        for index, part in enumerate(evaluated)
        for label, condition, pair in part.pairs()
    }
    verdicts = judge(list(pairs.values()), results.plan.interim, FALSE_DISCOVERY_RATE)
    judged = dict(zip(pairs, verdicts, strict=True))
    comparisons = count_comparisons(pairs.values())
    transfers = []
    for index, part in enumerate(evaluated):
        own_verdicts = {key[1:]: verdict for key, verdict in judged.items() if key[0] == index}
        runs = [run for run in part.dataset.runs if run.run_id in errors]
        own_errors = {run.label: errors[run.run_id] for run in runs}
        table = part.transfer_table(own_verdicts)
        transfers.append(replace(table, comparisons=comparisons, errors=own_errors))
    return tuple(transfers)


def _evaluations(
    dataset: DatasetPlan, row: PlannedEncoding, run: ComparedRun, outcomes: Mapping[str, Outcome]
) -> list[StoredEvaluation]:
    """The evaluations that a run has or lacks; none if it has not finished."""
    outcome = outcomes[run.run_id]
    if dataset.transfer is None or outcome.state != "finished" or outcome.summary is None:
        return []
    conditions = dataset.transfer.conditions(row.extensions)
    return [dataset.transfer.kept(run.run, outcome.summary, condition) for condition in conditions]


@dataclass(frozen=True)
class _Result:
    """One run's result under one condition; ``value`` is None if a loss is not finite."""

    value: float | None
    count: int
    items: ItemResults | None


class _Evaluated:
    """The results of a data set's runs under all conditions, each read once."""

    def __init__(self, results: Results, dataset: DatasetPlan, table: DatasetTable) -> None:
        assert dataset.transfer is not None
        self.results, self.dataset, self.whole = results, dataset, table
        self.protocol = dataset.transfer
        self.by_condition: dict[tuple[str, Condition], dict[int, _Result]] = {}
        for row in dataset.encodings:
            for run in row.runs:
                for stored in _evaluations(dataset, row, run, results.outcomes):
                    items = stored.read()
                    if items is not None:
                        by_seed = self.by_condition.setdefault((row.label, stored.condition), {})
                        by_seed[run.seed] = _Result(
                            value_of(items, dataset.metric),
                            int(items["weight"].sum()),
                            results_of(items, dataset.metric),
                        )

    def pairs(self) -> Iterator[tuple[str, Condition, Pair]]:
        """Every comparison once, with the encoding's label and its condition."""
        rows = {row.label: row for row in self.dataset.encodings}
        if self.whole.baseline is None:
            return
        baseline = rows[self.whole.baseline]
        for grid in self.protocol.grids:
            reference = (baseline.label, self.protocol.at(grid))
            keys = [
                (row.label, condition)
                for row in self.dataset.encodings
                for condition in (self.protocol.conditions(row.extensions) if row.runs else ())
                if condition.grid == grid and not condition.shuffle
            ]
            keys = list(dict.fromkeys([*keys, reference]))
            scores = self._scores(keys)
            for index, (label, condition) in enumerate(keys):
                if (label, condition) != reference:
                    planned = (rows[label], baseline)
                    pair = self._pair(scores, keys, index, keys.index(reference), planned)
                    yield label, condition, pair

    def _scores(self, keys: Sequence[tuple[str, Condition]]) -> Scores:
        """Scores of encodings under conditions of one grid, a row each."""
        seeds = self.results.plan.seeds
        values = np.full((len(keys), len(seeds)), np.nan)
        failed = np.zeros(values.shape, dtype=bool)
        trained = {row.label: row for row in self.dataset.encodings}
        for row, (label, condition) in enumerate(keys):
            results = self.by_condition.get((label, condition), {})
            lost = {seed for seed, result in results.items() if result.value is None}
            lost |= {run.seed for run in self.results.unsuccessful(trained[label])}
            own = _values(results)
            values[row] = [own.get(seed, np.nan) for seed in seeds]
            failed[row] = [seed in lost for seed in seeds]
        return Scores(values, failed, self.whole.higher_is_better)

    def _pair(
        self,
        scores: Scores,
        keys: Sequence[tuple[str, Condition]],
        row: int,
        baseline: int,
        planned: tuple[PlannedEncoding, PlannedEncoding],
    ) -> Pair:
        """Two rows of ``scores``, at the seeds that are analysed."""
        columns = self.results.columns(self.results.analysed_seeds(planned))
        pair = Pair(scores, row, baseline, self.whole.margin, seeds=columns)
        seeds = [self.results.plan.seeds[column] for column in pair.shared]
        both = (self.by_condition.get(keys[index], {}) for index in (row, baseline))
        both_items = ([side[seed].items for seed in seeds] for side in both)
        items = item_differences(*both_items) if len(seeds) > 1 else None
        return replace(pair, items=items)

    def transfer_table(self, verdicts: Mapping[tuple[str, Condition], Verdict]) -> TransferTable:
        """The table of these results, without what it shares with other tables."""
        rows = [shown for row in self.dataset.encodings for shown in self._rows(row, verdicts)]
        results = self.by_condition.values()
        counts = [result.count for by_seed in results for result in by_seed.values()]
        return TransferTable(
            self.whole, self.protocol, tuple(rows), count=max(counts, default=None)
        )

    def _rows(
        self, row: PlannedEncoding, verdicts: Mapping[tuple[str, Condition], Verdict]
    ) -> Iterator[TransferRow]:
        """One row for each extension, those that the encoding does not have at the end."""
        if row.undefined is not None:
            yield TransferRow(row.label, "none", False, undefined=row.undefined)
            return
        methods = self.protocol.methods_of(row.extensions)
        for method in methods:
            cells = [
                replace(self._cell(row, condition), verdict=verdicts.get((row.label, condition)))
                for condition in (self.protocol.at(grid, method) for grid in self.protocol.grids)
            ]
            plain = method == "none"
            shuffled = (
                self._cell(row, self.protocol.shuffled) if plain and self.protocol.shuffle else None
            )
            is_baseline = plain and row.label == self.whole.baseline
            yield TransferRow(row.label, method, is_baseline, tuple(cells), shuffled)
        for method in self.protocol.methods:
            if method not in methods:
                reason = f"{method} is not defined for it"
                yield TransferRow(row.label, method, False, undefined=reason)

    def _cell(self, row: PlannedEncoding, condition: Condition) -> TransferCell:
        results = self.by_condition.get((row.label, condition), {})
        values = dict(sorted(_values(results).items()))
        mean, std = mean_and_std(list(values.values()))
        low = high = None
        if mean is not None and std is not None:
            quantile = float(student_quantile(1 - CONFIDENCE, len(values) - 1))
            half = quantile * std / math.sqrt(len(values))
            low, high = mean - half, mean + half
        lost = tuple(seed for seed, result in sorted(results.items()) if result.value is None)
        missing = tuple(run.seed for run in self.results.finished(row) if run.seed not in results)
        return TransferCell(condition, values, mean, std, low, high, lost, missing)


def _values(results: Mapping[int, _Result]) -> dict[int, float]:
    """Values by seed, without those that are not finite."""
    return {seed: result.value for seed, result in results.items() if result.value is not None}
