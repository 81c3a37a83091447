"""The result of a comparison: a table for each data set, verdicts, and further analyses.

A new analysis is a module beside this one, with a function of plan, tables and outcomes, plus a
field of :class:`ComparisonTable` and its value in :func:`make_table`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from liere_cli import __version__
from liere_cli.comparison.tables.efficiency import efficiencies, unreadable_curves
from liere_cli.comparison.tables.fractions import FractionTable, fraction_tables
from liere_cli.comparison.tables.interaction import interactions
from liere_cli.comparison.tables.shared_seeds import runs_at, shared_seeds
from liere_cli.comparison.tables.signature import CORRECTION, signature
from liere_cli.comparison.tables.table import DatasetTable, Row
from liere_cli.comparison.tables.transfer import TransferTable, transfer_tables
from liere_cli.planning.plan import DatasetPlan, Plan, PlannedEncoding
from liere_cli.planning.progress import Outcome
from liere_cli.runs.item_results import FILE as ITEMS_FILE
from liere_cli.runs.item_results import ItemReader
from liere_cli.runs.summary import RunSummary
from liere_cli.statistics.interaction import Interaction
from liere_cli.statistics.samples import mean_and_std
from liere_cli.statistics.sequential import InterimAnalyses
from liere_cli.statistics.verdicts import ALPHA, Pair, Verdict, judge


@dataclass(frozen=True)
class ComparisonTable:
    """All tables of a comparison, judged together.

    Args:
        comparisons: tests over which the p-values are corrected.
        alpha: chance of any wrong ``better`` or ``worse`` in all tables together.
        signature: a line that identifies the tables and how their p-values were computed.
        interim: of a comparison that adds seeds until it is settled.
        interactions: gains on one data set against those on another, where the recipe asks.
        fractions: a table for each data set that is compared at several fractions.
        transfers: scores at other lengths and resolutions, where the recipe asks.
    """

    experiment: str
    datasets: tuple[DatasetTable, ...]
    comparisons: int
    alpha: float
    correction: str
    signature: str
    interim: InterimAnalyses | None = None
    interactions: tuple[Interaction, ...] = ()
    fractions: tuple[FractionTable, ...] = ()
    transfers: tuple[TransferTable, ...] = ()

    @property
    def failed(self) -> int:
        """Runs that failed, tuning runs among them, and runs that could not be evaluated at other
        grids. Diverged runs are results and don't count.
        """
        rows = [row for dataset in self.datasets for row in dataset.rows]
        trained = sum(row.failed + (row.tuned.failed if row.tuned else 0) for row in rows)
        return trained + sum(len(table.errors) for table in self.transfers)


def make_table(
    plan: Plan,
    outcomes: Mapping[str, Outcome],
    items: ItemReader | None = None,
    errors: Mapping[str, str] | None = None,
) -> ComparisonTable:
    """Tables, statistics and verdicts of a plan.

    Args:
        outcomes: of every run of the plan, by identity.
        items: reader of results per item, which may have some of them in memory.
        errors: why runs could not be evaluated at other grids, by identity.
    """
    items = items or ItemReader()
    tables = [_dataset_table(dataset, outcomes, items) for dataset in plan.datasets]
    tables, verdicts = _with_verdicts(plan, tables, outcomes, items)
    tables = _with_efficiency(plan, tables, outcomes)
    summaries = [summary for dataset in plan.datasets for summary in _summaries(dataset, outcomes)]
    versions = {
        "torch": _versions(summaries, "torch") or ["none"],
        "liere": _versions(summaries, "liere") or [__version__],
    }
    return ComparisonTable(
        experiment=plan.experiment,
        datasets=tuple(tables),
        comparisons=sum(verdict.p_holm is not None for verdict in verdicts),
        alpha=ALPHA,
        correction=CORRECTION,
        signature=signature(plan, verdicts, versions),
        interim=plan.interim,
        interactions=interactions(plan, tables, outcomes),
        fractions=fraction_tables(plan, tables, outcomes),
        transfers=transfer_tables(plan, tables, outcomes, errors or {}),
    )


def _dataset_table(
    dataset: DatasetPlan, outcomes: Mapping[str, Outcome], items: ItemReader
) -> DatasetTable:
    return DatasetTable(
        title=dataset.title,
        modality=dataset.modality,
        data=dataset.data,
        fingerprint=dataset.fingerprint,
        metric=dataset.metric,
        higher_is_better=dataset.higher_is_better,
        baseline=dataset.baseline,
        margin=dataset.margin,
        budget=dataset.budget.text,
        test_limit=dataset.test_limit,
        rows=tuple(_row(row, dataset.baseline, outcomes) for row in dataset.encodings),
        warnings=(
            *_warnings(dataset, _summaries(dataset, outcomes)),
            *_without_items(dataset, outcomes, items),
        ),
    )


def _row(planned: PlannedEncoding, baseline: str | None, outcomes: Mapping[str, Outcome]) -> Row:
    results = [(run, outcomes[run.run_id]) for run in planned.runs]
    values = {
        run.seed: value
        for run, outcome in results
        if outcome.state == "finished"
        and outcome.summary
        and (value := outcome.summary.test) is not None
    }
    states = [outcome.state for _, outcome in results]
    summaries = [outcome.summary for _, outcome in results if outcome.summary is not None]
    finished = [
        outcome.summary
        for _, outcome in results
        if outcome.state == "finished" and outcome.summary is not None
    ]
    sized = next(iter(finished or summaries), None)
    mean, std = mean_and_std(list(values.values()))
    errors = dict.fromkeys(outcome.error for _, outcome in results if outcome.error)
    return Row(
        encoding=planned.label,
        is_baseline=planned.label == baseline,
        planned=len(results),
        finished=states.count("finished"),
        diverged=states.count("diverged"),
        failed=states.count("failed"),
        unfinished=states.count("partial") + states.count("missing"),
        values=dict(sorted(values.items())),
        mean=mean,
        std=std,
        undefined=planned.undefined,
        tuned=planned.tuned,
        own_seeds=planned.own_seeds[: len(results)],
        errors=tuple(errors),
        parameters=sized.parameters if sized else None,
        encoding_parameters=sized.encoding_parameters if sized else None,
        throughput=_mean(summary.throughput for summary in finished),
        throughput_unit=(sized.throughput_unit or None) if sized else None,
        seconds=_mean(summary.seconds for summary in finished),
    )


def _with_verdicts(
    plan: Plan,
    tables: Sequence[DatasetTable],
    outcomes: Mapping[str, Outcome],
    items: ItemReader,
) -> tuple[list[DatasetTable], list[Verdict]]:
    """The tables with verdicts, all judged together, and the verdicts in order."""
    compared = [
        (index, position)
        for index, table in enumerate(tables)
        for position, row in enumerate(table.rows)
        if table.baseline is not None and not row.is_baseline and row.undefined is None
    ]
    pairs = [
        _pair(plan, plan.datasets[index], tables[index], position, outcomes, items)
        for index, position in compared
    ]
    verdicts = judge(pairs, plan.interim)
    by_row = dict(zip(compared, verdicts, strict=True))
    judged = [
        replace(
            table,
            rows=tuple(
                replace(row, verdict=by_row.get((index, position)))
                for position, row in enumerate(table.rows)
            ),
        )
        for index, table in enumerate(tables)
    ]
    return judged, verdicts


def _pair(
    plan: Plan,
    dataset: DatasetPlan,
    table: DatasetTable,
    position: int,
    outcomes: Mapping[str, Outcome],
    items: ItemReader,
) -> Pair:
    """Scores of the encoding in that row and of its baseline, at the seeds that both finished."""
    base = next(index for index, row in enumerate(table.rows) if row.is_baseline)
    planned = (dataset.encodings[position], dataset.encodings[base])
    values, baseline = table.rows[position].values, table.rows[base].values
    seeds = shared_seeds(plan, planned, outcomes)
    ours, theirs = (runs_at(encoding, seeds) for encoding in planned)
    return Pair(
        [values[seed] for seed in seeds],
        [baseline[seed] for seed in seeds],
        table.higher_is_better,
        table.margin,
        items.between(ours, theirs, table.metric) if len(seeds) > 1 else None,
    )


def _with_efficiency(
    plan: Plan, tables: Sequence[DatasetTable], outcomes: Mapping[str, Outcome]
) -> list[DatasetTable]:
    """The tables with their learning curves' results, and warnings of curves left out."""
    rows = efficiencies(plan, tables, outcomes)
    return [
        replace(
            table,
            efficiency=efficiency,
            warnings=(*table.warnings, *unreadable_curves(dataset, outcomes)),
        )
        if efficiency
        else table
        for dataset, table, efficiency in zip(plan.datasets, tables, rows, strict=True)
    ]


def _summaries(dataset: DatasetPlan, outcomes: Mapping[str, Outcome]) -> list[RunSummary]:
    runs = [outcomes[run.run_id] for row in dataset.encodings for run in row.runs]
    return [outcome.summary for outcome in runs if outcome.summary is not None]


def _warnings(dataset: DatasetPlan, summaries: Sequence[RunSummary]) -> tuple[str, ...]:
    timed = "scores and speed" if dataset.budget.unit == "seconds" else "speed"
    warnings = []
    for key, what in (("device", "devices"), ("threads", "numbers of threads")):
        seen = _distinct(getattr(summary, key) for summary in summaries)
        if len(seen) > 1:
            warnings.append(f"{timed} come from different {what}: {', '.join(seen)}")
    for package in ("torch", "liere"):
        seen = _versions(summaries, package)
        if len(seen) > 1:
            warnings.append(f"runs come from different versions of {package}: {', '.join(seen)}")
    return tuple(warnings)


def _without_items(
    dataset: DatasetPlan, outcomes: Mapping[str, Outcome], items: ItemReader
) -> list[str]:
    """A warning for finished runs whose results per item can't be read but would be used."""
    finished = [
        [run for run in row.runs if outcomes[run.run_id].state == "finished"]
        for row in dataset.encodings
    ]
    if dataset.baseline is None or max(map(len, finished), default=0) < 2:
        return []
    errors = {
        (row.label, run.seed): error
        for row, runs in zip(dataset.encodings, finished, strict=True)
        for run in runs
        if (error := items.fault(run.run, dataset.metric))
    }
    left_out = "so the test set's share of the error is left out"
    if len(errors) == sum(map(len, finished)) and set(errors.values()) == {"missing"}:
        return [f"no run has its {ITEMS_FILE}, {left_out}"]
    return [
        f"{label}, seed {seed}: {ITEMS_FILE} is {error}, {left_out}"
        for (label, seed), error in errors.items()
    ]


def _versions(summaries: Iterable[RunSummary], package: str) -> list[str]:
    """Versions of a package that the runs' own signatures name."""
    fields = (summary.signature.split("|") for summary in summaries)
    prefix = f"{package}:"
    return _distinct(
        part.removeprefix(prefix) for parts in fields for part in parts if part.startswith(prefix)
    )


def _distinct(values: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values))


def _mean(values: Iterable[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return sum(measured) / len(measured) if measured else None
