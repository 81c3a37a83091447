"""The table of interactions as cells of text."""

from collections.abc import Callable, Iterable, Sequence

from liere_cli.comparison.interaction import Interaction, RelativeGain
from liere_cli.report import interaction_words, numbers
from liere_cli.report.columns import Column
from liere_cli.report.numbers import NONE


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
