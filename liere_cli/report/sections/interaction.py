"""The table of interactions as cells of text."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.report import numbers
from liere_cli.report.numbers import NONE, percent
from liere_cli.report.table import Column
from liere_cli.statistics.interaction import Interaction, RelativeGain


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
        column("verdict", verdict_label, number=False),
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


def _interaction(one: Interaction) -> dict[str, Any]:
    return {
        "encoding": one.encoding,
        "floor": one.control,
        **_gain("on", one.on),
        **_gain("against", one.against),
        "difference": one.difference,
        "low": one.low,
        "high": one.high,
        "p": one.p,
        "p_holm": one.p_holm,
        "p_equivalent": one.p_equivalent,
        "correlation": one.correlation,
        "verdict": one.label,
        "undefined": one.undefined,
    }


def _gain(name: str, gain: RelativeGain) -> dict[str, Any]:
    """One side's relative gain; 1 is the baseline's own gain over the floor."""
    return {
        name: gain.side.title,
        f"{name}_baseline": gain.side.baseline,
        f"{name}_gain": gain.value,
        f"{name}_values": {
            str(seed): value for seed, value in zip(gain.side.seeds, gain.values, strict=False)
        },
        f"{name}_seed_error": gain.seed_error,
        f"{name}_test_error": gain.test_set.error if gain.test_set else None,
    }


_VERDICTS = {
    "larger": "is larger on {} than on {}",
    "smaller": "is smaller on {} than on {}",
    "equivalent": "is as large on {} as on {}",
    "undecided": "may be larger or smaller on {} than on {}",
}


def verdict_label(one: Interaction) -> str:
    """The verdict's cell."""
    return one.label or "undefined"


def line(one: Interaction) -> str:
    """``interaction · cifar100 against enwik8: liere's gain over axial is larger ...``."""
    on, against = one.on.side, one.against.side
    start = f"interaction · {on.title} against {against.title}"
    if one.label is None:
        reason = one.undefined or "no noise at all was seen"
        return f"{start}: {one.encoding} has no verdict: {reason}"
    verdict = _VERDICTS[one.label].format(on.modality, against.modality)
    interval = f"{percent(one.difference)} [{percent(one.low)}, {percent(one.high)}]"
    return (
        f"{start}: {one.encoding}'s gain {verdict}: {interval} of the baseline's gain over "
        f"{one.control} ({len(one.on.values)} and {len(one.against.values)} seeds)"
    )


def notes(table: ComparisonTable) -> list[str]:
    """How the gains are measured and judged."""
    first = table.interactions[0]
    count = len([one for one in table.interactions if one.p_holm is not None])
    baselines = dict.fromkeys(
        side.side.baseline for one in table.interactions for side in (one.on, one.against)
    )
    shown = [
        f"gain: mean(encoding - baseline) as a share of mean(baseline - {first.control}) at the "
        f"same seeds; 100% is the baseline's own gain over {first.control}. Baselines: "
        f"{', '.join(baselines)}. Undefined where the baseline doesn't clearly beat "
        f"{first.control} (paired t test at 5%)",
        "null hypothesis: both gains are equal. Ratios are linearised (delta method); seeds count "
        "as independent between data sets (Welch's t test), test sets add their errors; p is "
        f"Holm-corrected over {count} interaction{'' if count == 1 else 's'} and, where seeds were "
        "added until settled, for all looks on both sides",
    ]
    shown += [f"{one.encoding}: {one.undefined}" for one in table.interactions if one.undefined]
    correlations = [
        f"{one.correlation:+.2f}" for one in table.interactions if one.correlation is not None
    ]
    if correlations:
        shown.append(
            f"correlation of both sides over seeds of one number: {', '.join(correlations)}"
        )
    return shown
