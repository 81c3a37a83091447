"""The result of a comparison: a table for each data set, verdicts, and further analyses.

A new analysis is a module beside this one, with a function of results and tables, plus a field of
:class:`ComparisonTable` and its value in :func:`make_table`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from liere_cli import __version__
from liere_cli.comparison.tables.fractions import FractionTable, fraction_tables
from liere_cli.comparison.tables.interaction import interactions
from liere_cli.comparison.tables.learning_curves import with_efficiency
from liere_cli.comparison.tables.ranking import RankingTable, rankings
from liere_cli.comparison.tables.results import Results
from liere_cli.comparison.tables.signature import signature
from liere_cli.comparison.tables.table import DatasetTable, Row
from liere_cli.comparison.tables.transfer import TransferTable, transfer_tables
from liere_cli.planning.plan import DatasetPlan, Plan, PlannedEncoding
from liere_cli.planning.progress import Outcome, distinct_errors, scores_of
from liere_cli.runs.item_results import FILE as ITEMS_FILE
from liere_cli.runs.item_results import ItemReader
from liere_cli.runs.summary import RunSummary
from liere_cli.statistics.correction import ALPHA, HOLM
from liere_cli.statistics.ratios.interaction import Interaction
from liere_cli.statistics.samples import mean_and_std
from liere_cli.statistics.scores import Pair, Scores
from liere_cli.statistics.sequential import InterimAnalyses
from liere_cli.statistics.verdicts import FIRST_LOOK, Looks, Verdict, count_comparisons, judge

#: fields that a data set's table has from its plan
_SHARED = (
    "title", "modality", "data", "fingerprint", "metric", "higher_is_better", "baseline", "margin",
    "test_limit", "notes",
)  # fmt: skip


@dataclass(frozen=True)
class ComparisonTable:
    """All tables of a comparison, judged together.

    Args:
        comparisons: tests over which the p-values are corrected.
        alpha: chance of any wrong ``better`` or ``worse`` in all tables together.
        signature: a line that identifies the tables and how their p-values were computed.
        interim: of a comparison that adds seeds until it is settled.
        looks: earlier tables on the same runs.
    """

    experiment: str
    datasets: tuple[DatasetTable, ...]
    comparisons: int
    alpha: float
    correction: str
    signature: str
    interim: InterimAnalyses | None = None
    looks: Looks = FIRST_LOOK
    interactions: tuple[Interaction, ...] = ()
    fractions: tuple[FractionTable, ...] = ()
    transfers: tuple[TransferTable, ...] = ()
    rankings: tuple[RankingTable, ...] = ()

    @property
    def failed(self) -> int:
        """Runs that failed, also in tuning or at other grids; diverged runs are results."""
        rows = [row for dataset in self.datasets for row in dataset.rows]
        trained = sum(row.failed + (row.tuned.failed if row.tuned else 0) for row in rows)
        return trained + sum(len(table.errors) for table in self.transfers)


@dataclass(frozen=True)
class ComparisonResult:
    """The runs of a comparison, how each ended (by identity), and the tables."""

    plan: Plan
    outcomes: Mapping[str, Outcome]
    table: ComparisonTable


def make_table(
    plan: Plan,
    outcomes: Mapping[str, Outcome],
    items: ItemReader | None = None,
    errors: Mapping[str, str] | None = None,
    looks: Looks = FIRST_LOOK,
) -> ComparisonTable:
    """Tables, statistics and verdicts of a plan; ``outcomes`` and ``items`` as in :class:`Results`.

    ``errors`` are why runs could not be evaluated at other grids, by identity; ``looks`` are
    earlier tables on the same runs.
    """
    results = Results(plan, outcomes, items or ItemReader())
    tables = [_dataset_table(dataset, results) for dataset in plan.datasets]
    tables, verdicts = _with_verdicts(results, tables, looks)
    tables = with_efficiency(results, tables)
    summaries = [summary for dataset in plan.datasets for summary in _summaries(dataset, outcomes)]
    absent = {"torch": "none", "liere": __version__}
    versions = {name: _versions(summaries, name) or [absent[name]] for name in absent}
    return ComparisonTable(
        experiment=plan.experiment,
        datasets=tuple(tables),
        comparisons=count_comparisons(verdict.pair for verdict in verdicts),
        alpha=ALPHA,
        correction=HOLM.label,
        signature=signature(plan, verdicts, versions),
        interim=plan.interim,
        looks=looks,
        interactions=interactions(results, tables),
        fractions=fraction_tables(results, tables),
        transfers=transfer_tables(results, tables, errors or {}),
        rankings=_rankings(results, tables),
    )


def _dataset_table(dataset: DatasetPlan, results: Results) -> DatasetTable:
    return DatasetTable(
        **{name: getattr(dataset, name) for name in _SHARED},
        budget=dataset.budget.text,
        rows=tuple(_row(row, dataset.baseline, results.outcomes) for row in dataset.encodings),
        warnings=(*_warnings(dataset, results.outcomes), *_without_items(dataset, results)),
    )


def _row(planned: PlannedEncoding, baseline: str | None, outcomes: Mapping[str, Outcome]) -> Row:
    results = [outcomes[run.run_id] for run in planned.runs]
    values = scores_of(planned.runs, outcomes, "test")
    states = Counter(outcome.state for outcome in results)
    ended = [(outcome.state, outcome.summary) for outcome in results if outcome.summary]
    finished = [summary for state, summary in ended if state == "finished"]
    sized = next(iter(finished or [summary for _, summary in ended]), None)
    mean, std = mean_and_std(list(values.values()))
    return Row(
        encoding=planned.label,
        is_baseline=planned.label == baseline,
        planned=len(results),
        finished=states["finished"],
        diverged=states["diverged"],
        failed=states["failed"],
        unfinished=states["partial"] + states["missing"],
        values=dict(sorted(values.items())),
        mean=mean,
        std=std,
        undefined=planned.undefined,
        tuned=planned.tuned,
        own_seeds=planned.own_seeds[: len(results)],
        errors=distinct_errors(results),
        parameters=sized.parameters if sized else None,
        encoding_parameters=sized.encoding_parameters if sized else None,
        throughput=_mean(summary.throughput for summary in finished),
        throughput_unit=(sized.throughput_unit or None) if sized else None,
        seconds=_mean(summary.seconds for summary in finished),
        flops_per_token=_mean(summary.flops_per_token for summary in finished),
    )


def _with_verdicts(
    results: Results, tables: Sequence[DatasetTable], looks: Looks
) -> tuple[list[DatasetTable], list[Verdict]]:
    pairs = []
    for dataset, table in zip(results.plan.datasets, tables, strict=True):
        scores = results.scores(dataset, [row.values for row in table.rows])
        for index, row in enumerate(table.rows):
            if table.compares(row):
                pairs.append(_pair(results, dataset, table, scores, index))
    verdicts = judge(pairs, results.plan.interim, looks=looks)
    judged, with_verdicts = iter(verdicts), []
    for table in tables:
        row_verdicts = [next(judged) if table.compares(row) else None for row in table.rows]
        judged_rows = zip(table.rows, row_verdicts, strict=True)
        rows = tuple(replace(row, verdict=verdict) for row, verdict in judged_rows)
        with_verdicts.append(replace(table, rows=rows))
    return with_verdicts, verdicts


def _rankings(results: Results, tables: Sequence[DatasetTable]) -> tuple[RankingTable, ...]:
    settings = results.plan.compare
    if not (settings.all_pairs or settings.best):
        return ()
    scores = [
        results.scores(dataset, [row.values for row in table.rows])
        for dataset, table in zip(results.plan.datasets, tables, strict=True)
    ]
    return rankings(tables, scores, settings.all_pairs)


def _pair(
    results: Results, dataset: DatasetPlan, table: DatasetTable, scores: Scores, index: int
) -> Pair:
    """The encoding in that row and its baseline, at the seeds that are analysed."""
    baseline = next(position for position, row in enumerate(table.rows) if row.is_baseline)
    planned = (dataset.encodings[index], dataset.encodings[baseline])
    items = results.items_between(*planned, results.shared_seeds(planned), table.metric)
    columns = results.columns(results.analysed_seeds(planned))
    return Pair(scores, index, baseline, table.margin, items, columns)


def _summaries(dataset: DatasetPlan, outcomes: Mapping[str, Outcome]) -> list[RunSummary]:
    summaries = [outcomes[run.run_id].summary for run in dataset.runs]
    return [summary for summary in summaries if summary is not None]


def _warnings(dataset: DatasetPlan, outcomes: Mapping[str, Outcome]) -> list[str]:
    summaries = _summaries(dataset, outcomes)
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
    return warnings


def _without_items(dataset: DatasetPlan, results: Results) -> list[str]:
    """A warning for finished runs whose results per item can't be read but would be used."""
    finished = [results.finished(row) for row in dataset.encodings]
    if dataset.baseline is None or max(map(len, finished), default=0) < 2:
        return []
    errors = {
        (row.label, run.seed): error
        for row, runs in zip(dataset.encodings, finished, strict=True)
        for run in runs
        if (error := results.items.fault(run.run, dataset.metric))
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


def _distinct(values: Iterable[object]) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values))


def _mean(values: Iterable[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return sum(measured) / len(measured) if measured else None
