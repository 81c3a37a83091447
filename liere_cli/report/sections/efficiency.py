"""Learning curves against the baseline's as cells of text."""

from collections.abc import Callable
from typing import Any

from liere_cli.comparison.tables.table import DatasetTable
from liere_cli.report import numbers
from liere_cli.report.numbers import NONE, Unit
from liere_cli.report.table import Column
from liere_cli.statistics.learning_curves import Efficiency
from liere_cli.statistics.ratios import Ratio


def efficiency_columns(dataset: DatasetTable) -> list[Column]:
    """All columns, in reading order."""
    unit = Unit.of(dataset)

    def column(
        header: str, cell: Callable[[Efficiency], str], cost: bool = False, number: bool = True
    ) -> Column:
        return Column(header, tuple(map(cell, dataset.efficiency)), cost, number)

    return [
        column("encoding", lambda row: row.encoding, number=False),
        column("equal seconds", lambda row: numbers.duration(row.seconds)),
        column(
            f"minus {dataset.baseline}",
            lambda row: unit.signed(row.equal_seconds.difference if row.equal_seconds else None),
        ),
        column("95% interval", lambda row: _interval(row, unit)),
        column("p", lambda row: numbers.probability(row.p_holm)),
        column("verdict", lambda row: row.label or NONE, number=False),
        column("at equal steps", lambda row: _at_steps(row, unit)),
        column("p there", lambda row: numbers.probability(row.p_steps_holm)),
        column("fewer steps", lambda row: ratio_text(row.steps_ratio), cost=True),
        column("p steps", lambda row: numbers.probability(row.steps_ratio.p_holm), cost=True),
        column("less time", lambda row: ratio_text(row.seconds_ratio), cost=True),
        column("p time", lambda row: numbers.probability(row.seconds_ratio.p_holm), cost=True),
    ]


def efficiency_notes(dataset: DatasetTable) -> list[str]:
    """What the numbers are, and what they can't say."""
    return [
        "validation scores on learning curves, joined by lines between validations; within a "
        "budget the learning rate is still on its way down. At equal seconds: where the faster "
        "run of each seed ended; at equal steps: where the one with fewer steps did",
        f"fewer steps, less time: what {dataset.baseline} took to its final validation score, over "
        "what the encoding took to that score; geometric mean over seeds, interval by Student's t "
        "on logarithms, null hypothesis: 1. p is Holm-corrected over all that learning curves are "
        "asked in all tables; uncertainty is over seeds",
    ]


def _at_steps(row: Efficiency, unit: Unit) -> str:
    """``+1.2 [-0.4, +2.8]``"""
    one = row.equal_steps
    if one is None:
        return NONE
    ends = "" if one.low is None else f" {unit.interval(one.low, one.high)}"
    return f"{unit.signed(one.difference)}{ends}"


def _interval(row: Efficiency, unit: Unit) -> str:
    one = row.equal_seconds
    return unit.interval(one.low, one.high) if one else NONE


def ratio_text(ratio: Ratio) -> str:
    """``1.32x [1.10, 1.58]``; or at how many seeds the score was never reached."""
    if ratio.missed:
        return f"missed at {ratio.missed} of {ratio.n}"
    if ratio.value is None:
        return NONE
    ends = (
        "" if ratio.low is None or ratio.high is None else f" [{ratio.low:.2f}, {ratio.high:.2f}]"
    )
    return f"{ratio.value:.2f}x{ends}"


def _efficiency(row: Efficiency) -> dict[str, Any]:
    equal, at_steps = row.equal_seconds, row.equal_steps
    shown = {
        "encoding": row.encoding,
        "shared_seeds": row.steps_ratio.n,
        "equal_seconds": row.seconds,
        "difference": equal.difference if equal else None,
        "low": equal.low if equal else None,
        "high": equal.high if equal else None,
        "p": equal.p if equal else None,
        "p_holm": row.p_holm,
        "verdict": row.label,
        "equal_steps": row.steps,
        "steps_difference": at_steps.difference if at_steps else None,
        "steps_low": at_steps.low if at_steps else None,
        "steps_high": at_steps.high if at_steps else None,
        "steps_p": at_steps.p if at_steps else None,
        "steps_p_holm": row.p_steps_holm,
        "missed": row.steps_ratio.missed,
    }
    for name, ratio in (("steps", row.steps_ratio), ("seconds", row.seconds_ratio)):
        shown |= {
            f"{name}_ratio": ratio.value,
            f"{name}_ratio_low": ratio.low,
            f"{name}_ratio_high": ratio.high,
            f"{name}_ratio_p": ratio.p,
            f"{name}_ratio_p_holm": ratio.p_holm,
        }
    return shown
