"""Learning curves against the baseline's: equal seconds, equal steps, and ratios of both."""

from dataclasses import asdict

from liere_cli.comparison.tables.table import DatasetTable
from liere_cli.report import numbers
from liere_cli.report.numbers import NONE, Unit
from liere_cli.report.sections.base import Section, renamed
from liere_cli.report.table import Column, Columns, TextTable
from liere_cli.statistics.paired import Paired
from liere_cli.statistics.ratios.learning_curves import Efficiency, Ratio
from liere_cli.statistics.verdicts import MIN_SEEDS


def _tables(dataset: DatasetTable) -> list[TextTable]:
    if not dataset.efficiency:
        return []
    title = f"{dataset.title} by learning curves"
    return [TextTable(title, dataset.modality, _columns(dataset), _notes(dataset))]


def _columns(dataset: DatasetTable) -> list[Column]:
    unit, column = Unit.of(dataset), Columns(dataset.efficiency)
    return [
        column.text("encoding", lambda row: row.encoding),
        column.number("equal seconds", lambda row: numbers.duration(row.seconds)),
        column.number(
            f"minus {dataset.baseline}",
            lambda row: unit.signed(row.equal_seconds.difference if row.equal_seconds else None),
        ),
        column.number("95% interval", lambda row: _interval(row.equal_seconds, unit)),
        column.number("p", lambda row: numbers.probability(row.p_holm)),
        column.text("verdict", lambda row: row.label or NONE),
        column.number("at equal steps", lambda row: _at_steps(row, unit)),
        column.number("p there", lambda row: numbers.probability(row.p_steps_holm)),
        column.number("fewer steps", lambda row: ratio_text(row.steps_ratio), cost=True),
        column.number("p steps", lambda row: numbers.probability(row.steps_ratio.p_holm), True),
        column.number("less time", lambda row: ratio_text(row.seconds_ratio), cost=True),
        column.number("p time", lambda row: numbers.probability(row.seconds_ratio.p_holm), True),
    ]


def _notes(dataset: DatasetTable) -> list[str]:
    return [
        "Validation scores, interpolated linearly between validations; within the budget the "
        "learning rate has not finished its decay. Equal seconds: the end of the faster run of "
        "each seed. Equal steps: the end of the run with fewer steps.",
        f"fewer steps, less time: steps or seconds of {dataset.baseline} to the worse of both "
        "final validation scores of a seed, divided by those of the encoding to the same score; "
        "each curve counts from where it first reaches it. Geometric mean over seeds; interval by "
        "Student's t on logarithms; null hypothesis: a ratio of 1. p is Holm-corrected over all "
        f"tests on learning curves in all tables; verdicts need {MIN_SEEDS} seeds. Intervals cover "
        "the variance over seeds.",
    ]


def _at_steps(row: Efficiency, unit: Unit) -> str:
    """``+1.2 [-0.4, +2.8]``"""
    estimate = row.equal_steps
    if estimate is None:
        return NONE
    ends = "" if estimate.low is None else f" {_interval(estimate, unit)}"
    return f"{unit.signed(estimate.difference)}{ends}"


def _interval(estimate: Paired | None, unit: Unit) -> str:
    return unit.interval(estimate.low, estimate.high) if estimate else NONE


def ratio_text(ratio: Ratio) -> str:
    """``1.32x [1.10, 1.58]``"""
    if ratio.value is None:
        return NONE
    if ratio.low is None or ratio.high is None:
        return f"{ratio.value:.2f}x"
    return f"{ratio.value:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}]"


EFFICIENCY = Section(
    "efficiency",
    _tables,
    lambda dataset: [renamed(asdict(row), label="verdict") for row in dataset.efficiency],
)
