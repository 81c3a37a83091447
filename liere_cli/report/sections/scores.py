"""The main table of a data set: scores, differences to the baseline, verdicts and costs."""

from dataclasses import asdict, dataclass

from liere_cli.comparison.tables.table import DatasetTable, Row
from liere_cli.report import numbers
from liere_cli.report.numbers import NONE, Unit
from liere_cli.report.sections.base import Section, fields_of
from liere_cli.report.sections.compute import unequal_compute
from liere_cli.report.sections.verdict import (
    failure_text,
    undecided_text,
    verdict_data,
    verdict_label,
)
from liere_cli.report.table import Column, Columns, TextTable
from liere_cli.statistics.paired import Paired, smallest_sign_flip_p
from liere_cli.statistics.scores import highest_failure_rate


@dataclass(frozen=True)
class ScoreColumns:
    """The columns of a main table by their part in it.

    Args:
        score: mean and spread; ``difference`` and ``interval`` are against the baseline.
        further: costs and the scores of each seed, the most important first.
        details: how certain the numbers are.
    """

    encoding: Column
    score: Column
    difference: Column
    interval: Column
    verdict: Column
    further: list[Column]
    details: list[Column]

    @property
    def all(self) -> list[Column]:
        answer = [self.encoding, self.score, self.difference, self.interval, self.verdict]
        return [*answer, *self.further, *self.details]


def _tables(dataset: DatasetTable) -> list[TextTable]:
    return [
        TextTable(
            dataset.title,
            dataset.modality,
            score_columns(dataset).all,
            _details(dataset),
            _remarks(dataset),
            _score_text(dataset),
        )
    ]


def score_columns(dataset: DatasetTable) -> ScoreColumns:
    """The columns of a data set's main table."""
    unit, column = Unit.of(dataset), Columns(dataset.rows)
    further = [
        column.number("p", lambda row: numbers.probability(_corrected_p(row))),
        column.number("seeds", _seeds),
        column.number("parameters", _parameters, cost=True),
        column.number("FLOPs/token", lambda row: numbers.count(row.flops_per_token), cost=True),
        column.number("time", lambda row: numbers.duration(row.seconds), cost=True),
        column.number(
            "speed", lambda row: numbers.throughput(row.throughput, row.throughput_unit), cost=True
        ),
        column.text("each seed", lambda row: unit.values(row.values.values()), cost=True),
    ]
    details = [
        column.number(
            "p alone", lambda row: numbers.probability(row.estimate.p if row.estimate else None)
        ),
        column.number(
            "interval alone",
            lambda row: (
                unit.interval(row.estimate.low, row.estimate.high) if row.estimate else NONE
            ),
        ),
        column.number("interim", _interim),
        column.number("s.e. seeds / test", lambda row: _errors(row, unit), cost=True),
    ]
    return ScoreColumns(
        column.text("encoding", lambda row: row.encoding),
        column.number(unit.header, lambda row: unit.spread(row.mean, row.std)),
        column.number(
            f"minus {dataset.baseline or 'baseline'}",
            lambda row: unit.signed(row.estimate.difference) if row.estimate else NONE,
        ),
        column.number(
            "95% interval",
            lambda row: unit.interval(row.verdict.low, row.verdict.high) if row.verdict else NONE,
        ),
        column.text("verdict", lambda row: verdict_label(dataset, row)),
        [column for column in further if not column.empty or column.header == "seeds"],
        [column for column in details if not column.empty],
    )


def _score_text(dataset: DatasetTable) -> str:
    """``bits/byte, lower is better · 200steps``"""
    direction = "higher" if dataset.higher_is_better else "lower"
    text = f"{Unit.of(dataset).header}, {direction} is better"
    return f"{text} · {dataset.budget}" if dataset.budget else text


def _corrected_p(row: Row) -> float | None:
    return row.verdict.p_corrected if row.verdict else None


def _seeds(row: Row) -> str:
    """``3`` when all planned runs finished, else ``2/3``."""
    if not row.planned:
        return NONE
    return str(row.finished) if row.finished == row.planned else f"{row.finished}/{row.planned}"


def _interim(row: Row) -> str:
    """``3-6``: the first and last number of seeds with an interim analysis."""
    interim = row.verdict.interim if row.verdict else ()
    if not interim:
        return NONE
    return str(interim[0].n) if len(interim) == 1 else f"{interim[0].n}-{interim[-1].n}"


def _errors(row: Row, unit: Unit) -> str:
    """``0.31 / 0.22``: standard errors over seeds and over the test set."""
    if row.estimate is None or row.estimate.test_set is None:
        return NONE
    return f"{unit.value(row.estimate.seed_error)} / {unit.value(row.estimate.test_set.error)}"


def _parameters(row: Row) -> str:
    """``812k (1.2k)``: of the model, and of the encoding alone."""
    if row.parameters is None:
        return NONE
    encoding = f" ({numbers.count(row.encoding_parameters)})" if row.encoding_parameters else ""
    return f"{numbers.count(row.parameters)}{encoding}"


def _remarks(dataset: DatasetTable) -> list[str]:
    """Changes to the plan, failures, warnings, and what undecided rows leave open."""
    remarks = list(dataset.notes)
    for row in dataset.rows:
        if row.own_seeds:
            seeds = ", ".join(map(str, row.own_seeds))
            remarks.append(
                f"{row.encoding}: {dataset.baseline} at seeds {seeds} against itself at other "
                "seeds; a verdict of 'better' or 'worse' would be a false positive"
            )
        for text in (failure_text(row), undecided_text(dataset, row)):
            if text:
                remarks.append(f"{row.encoding}: {text}")
    if text := unequal_compute(dataset):
        remarks.append(f"warning: {text}")
    return remarks + [f"warning: {warning}" for warning in dataset.warnings]


def _details(dataset: DatasetTable) -> list[str]:
    """How the numbers of this table were made, beyond the notes on all tables."""
    unit = Unit.of(dataset)
    details = []
    if dataset.test_limit is not None:
        details.append(f"Scored on at most {dataset.test_limit:,} test items, evenly spaced.")
    if dataset.margin is not None:
        details.append(f"Equivalence margin: {unit.value(dataset.margin)} {unit.difference}.")
    numbers_of_runs = sorted({row.over for row in dataset.rows if row.over and not _failed(row)})
    if numbers_of_runs:
        rates = ", ".join(
            f"0 of {runs} failed: up to {highest_failure_rate(0, runs):.0%} may"
            for runs in numbers_of_runs
        )
        details.append(f"Where every run has a score, failures are possible still ({rates}).")
    spreads = [row.estimate.spread for row in dataset.rows if row.estimate]
    if any(spread is not None and spread.far for spread in spreads):
        details.append(
            "A run here lies far from its encoding's other seeds; others may do so at seeds that "
            "were not run, so no spread below that of all encodings is used."
        )
    details += _test_set(dataset)
    correlations = [
        f"{row.encoding} {row.verdict.seed_correlation:+.2f}"
        for row in dataset.rows
        if row.verdict and row.verdict.seed_correlation is not None
    ]
    if correlations:
        details.append(
            f"Correlation with {dataset.baseline} over seeds: {', '.join(correlations)}."
        )
    for row in dataset.rows:
        details += [f"{row.encoding}: {text}" for text in _row_details(row, unit)]
    return details


def _failed(row: Row) -> int:
    return row.diverged + row.failed


def _test_set(dataset: DatasetTable) -> list[str]:
    clusters = {
        row.estimate.test_set.clusters
        for row in dataset.rows
        if row.estimate and row.estimate.test_set
    }
    if not clusters:
        return []
    counts = " to ".join(f"{count:,}" for count in sorted({min(clusters), max(clusters)}))
    groups = (
        "blocks of adjacent windows (or documents, where they are kept apart), which count as "
        "independent"
        if dataset.metric.startswith("bits_per_")
        else "independent groups of items"
    )
    return [f"The test set has {counts} {groups}."]


def _row_details(row: Row, unit: Unit) -> list[str]:
    verdict, estimate = row.verdict, row.estimate
    if verdict is None or estimate is None:
        return []
    details = _spread_notes(estimate, unit)
    if verdict.p_failures is not None:
        details.append(
            f"p is {numbers.probability(verdict.p_failures)} with failures ranked worst, and no "
            "verdict is given that failures could explain"
        )
    return details


def _spread_notes(estimate: Paired, unit: Unit) -> list[str]:
    """Where the spread over seeds is unusual."""
    spread = estimate.spread
    if spread is None:
        return []
    if spread.used == 0:
        differs = estimate.difference != 0
        # the equivalence test is one-sided
        smallest = smallest_sign_flip_p(estimate.n) / (1 if differs else 2)
        return [
            f"the {'difference' if differs else 'score'} is the same at every seed, so no variance "
            f"can be estimated; p is that of the sign-flip test, at least "
            f"{numbers.probability(smallest)} with {estimate.n} seeds"
        ]
    if spread.unusual:
        return [
            f"its differences spread {unit.value(spread.own)} {unit.difference} over seeds, above "
            f"three times what is usual here ({unit.value(spread.pooled)})"
        ]
    return []


def _row_data(dataset: DatasetTable, row: Row) -> dict[str, object]:
    pairing = row.verdict.pairing if row.verdict else None
    return {
        "encoding": row.encoding,
        "baseline": row.is_baseline,
        **fields_of(row, omit=("encoding", "is_baseline", "tuned", "verdict")),
        "own_seeds": row.own_seeds or None,
        "failure_rate_high": row.highest_failure_rate,
        **verdict_data(row.verdict),
        "pairing": asdict(pairing) if pairing else None,
        "shown": verdict_label(dataset, row),
    }


SCORES = Section("rows", _tables, lambda dataset: [_row_data(dataset, row) for row in dataset.rows])
