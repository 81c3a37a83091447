"""A comparison's table as cells of text, which every laid-out format shares."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from liere_cli.comparison.interaction import Interaction, RelativeGain
from liere_cli.comparison.table import ArmTable, ComparisonTable, Row
from liere_cli.report import interaction_words, numbers, words
from liere_cli.report.numbers import NONE, Unit


@dataclass(frozen=True)
class Sheet:
    """One table of text with its heading and the notes below it.

    Args:
        kind: what stands beside the title: a modality.
    """

    title: str
    kind: str
    columns: "list[Column]"
    notes: list[str]

    @property
    def rows(self) -> int:
        return len(self.columns[0].cells)


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


def sheets(table: ComparisonTable) -> list[Sheet]:
    """Every data set's table, then that of the interactions where there are some."""
    every = [
        Sheet(arm.title, arm.modality, columns(arm), words.arm_notes(arm)) for arm in table.arms
    ]
    if table.interactions:
        every.append(
            Sheet(
                "Is the gain larger elsewhere?",
                "interaction",
                interaction_columns(table.interactions),
                interaction_words.notes(table),
            )
        )
    return every


def interaction_columns(interactions: Sequence[Interaction]) -> list[Column]:
    """All columns of the interactions, in reading order."""

    def column(
        header: str, cell: Callable[[Interaction], str], cost: bool = False, number: bool = True
    ) -> Column:
        return Column(header, tuple(map(cell, interactions)), cost, number)

    return [
        column("encoding", lambda one: one.encoding, number=False),
        column("on", lambda one: one.on.side.title, number=False),
        column("against", lambda one: one.against.side.title, number=False),
        column("gain", lambda one: numbers.percent(one.on.value)),
        column("gain there", lambda one: numbers.percent(one.against.value)),
        column("difference", lambda one: numbers.percent(one.difference)),
        column("95% interval", _interaction_interval),
        column("p", lambda one: numbers.probability(one.p_holm)),
        column("verdict", interaction_words.word, number=False),
        column("seeds", lambda one: _sides(str(len(side.values)) for side in _both(one)), True),
        column(
            "s.e. seeds",
            lambda one: _sides(numbers.percent(side.seed_error, False) for side in _both(one)),
            True,
        ),
        column(
            "s.e. test",
            lambda one: _sides(
                numbers.percent(side.test_set.error if side.test_set else None, False)
                for side in _both(one)
            ),
            True,
        ),
    ]


def _both(one: Interaction) -> tuple[RelativeGain, RelativeGain]:
    return one.on, one.against


def _sides(cells: Iterable[str]) -> str:
    return " / ".join(cells)


def _interaction_interval(one: Interaction) -> str:
    if one.low is None or one.high is None:
        return NONE
    return f"[{numbers.percent(one.low)}, {numbers.percent(one.high)}]"


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
        column("s.e. seeds / test", lambda row: _errors(row, unit), cost=True),
        column("each seed", lambda row: unit.values(row.values.values()), cost=True, number=False),
        column("parameters", _parameters, cost=True),
        column(
            "speed", lambda row: numbers.throughput(row.throughput, row.throughput_unit), cost=True
        ),
        column("time", lambda row: numbers.duration(row.seconds), cost=True),
    ]
    optional = ("looks", "s.e. seeds / test")
    return [
        one
        for one in every
        if one.header not in optional or any(cell != NONE for cell in one.cells)
    ]


def _difference(row: Row, unit: Unit) -> str:
    estimate = row.verdict.estimate if row.verdict else None
    return unit.signed(estimate.difference) if estimate else NONE


def _interval(row: Row, unit: Unit) -> str:
    estimate = row.verdict.estimate if row.verdict else None
    return unit.interval(estimate.low, estimate.high) if estimate else NONE


def _errors(row: Row, unit: Unit) -> str:
    """``0.31 / 0.22``: standard errors over seeds and over the test set."""
    estimate = row.verdict.estimate if row.verdict else None
    if estimate is None or estimate.test_set is None:
        return NONE
    return f"{unit.value(estimate.seed_error)} / {unit.value(estimate.test_set.error)}"


def _parameters(row: Row) -> str:
    """``812k (1.2k)``: of the model, and of the encoding alone."""
    if row.parameters is None:
        return NONE
    own = f" ({numbers.count(row.encoding_parameters)})" if row.encoding_parameters else ""
    return f"{numbers.count(row.parameters)}{own}"
