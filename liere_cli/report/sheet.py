"""A comparison's table as cells of text, which every laid-out format shares."""

from collections.abc import Callable
from dataclasses import dataclass

from liere_cli.comparison.table import ArmTable, Row
from liere_cli.report import numbers, words
from liere_cli.report.numbers import NONE, Unit


@dataclass(frozen=True)
class Column:
    """One column of text.

    Args:
        cost: what an encoding costs, not how it scores.
        number: aligned to the right.
    """

    header: str
    cells: tuple[str, ...]
    cost: bool = False
    number: bool = True


def columns(arm: ArmTable) -> list[Column]:
    """All columns of a table, in reading order."""
    unit = Unit.of(arm)
    baseline = "baseline" if arm.baseline is None else arm.baseline

    def column(
        header: str, cell: Callable[[Row], str], cost: bool = False, number: bool = True
    ) -> Column:
        return Column(header, tuple(cell(row) for row in arm.rows), cost, number)

    every = [
        column("encoding", lambda row: row.encoding, number=False),
        column("seeds", words.seeds_cell),
        column(unit.header, lambda row: unit.spread(row.mean, row.std)),
        column(f"minus {baseline}", lambda row: _difference(row, unit)),
        column("95% interval", lambda row: _interval(row, unit)),
        column("p", lambda row: numbers.probability(row.verdict.p_holm if row.verdict else None)),
        column("verdict", lambda row: words.verdict_word(arm, row), number=False),
        column("looks", words.looks_cell),
        column("each seed", lambda row: unit.values(row.values.values()), cost=True, number=False),
        column("parameters", _parameters, cost=True),
        column(
            "speed", lambda row: numbers.throughput(row.throughput, row.throughput_unit), cost=True
        ),
        column("time", lambda row: numbers.duration(row.seconds), cost=True),
    ]
    looked = any(row.verdict and row.verdict.looks for row in arm.rows)
    return [one for one in every if looked or one.header != "looks"]


def _difference(row: Row, unit: Unit) -> str:
    estimate = row.verdict.estimate if row.verdict else None
    return unit.signed(estimate.difference) if estimate else NONE


def _interval(row: Row, unit: Unit) -> str:
    estimate = row.verdict.estimate if row.verdict else None
    return unit.interval(estimate.low, estimate.high) if estimate else NONE


def _parameters(row: Row) -> str:
    """``812k (1.2k)``: of the model, and of the encoding alone."""
    if row.parameters is None:
        return NONE
    own = f" ({numbers.count(row.encoding_parameters)})" if row.encoding_parameters else ""
    return f"{numbers.count(row.parameters)}{own}"
