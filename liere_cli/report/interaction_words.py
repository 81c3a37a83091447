"""Interactions in plain words, the same for every format."""

from liere_cli.comparison.interaction import Interaction
from liere_cli.comparison.table import ComparisonTable
from liere_cli.report.numbers import percent

_VERDICTS = {
    "larger": "is larger on {} than on {}",
    "smaller": "is smaller on {} than on {}",
    "equivalent": "is as large on {} as on {}",
    "undecided": "may be larger or smaller on {} than on {}",
}


def word(one: Interaction) -> str:
    """The verdict's cell."""
    return one.word or "undefined"


def line(one: Interaction) -> str:
    """``interaction · cifar100 against enwik8: liere's gain over axial is larger ...``."""
    on, against = one.on.side, one.against.side
    start = f"interaction · {on.title} against {against.title}"
    if one.word is None:
        reason = one.undefined or "no noise at all was seen"
        return f"{start}: {one.encoding} has no verdict: {reason}"
    verdict = _VERDICTS[one.word].format(on.modality, against.modality)
    interval = f"{percent(one.difference)} [{percent(one.low)}, {percent(one.high)}]"
    return (
        f"{start}: {one.encoding}'s gain {verdict}: {interval} of the baseline's gain over "
        f"{one.floor} ({len(one.on.values)} and {len(one.against.values)} seeds)"
    )


def notes(table: ComparisonTable) -> list[str]:
    """How the gains are measured and judged."""
    first = table.interactions[0]
    count = len([one for one in table.interactions if one.p_holm is not None])
    baselines = dict.fromkeys(
        side.side.baseline for one in table.interactions for side in (one.on, one.against)
    )
    shown = [
        f"gain: mean(encoding - baseline) as a share of mean(baseline - {first.floor}) at the same "
        f"seeds; 100% is the baseline's own gain over {first.floor}. Baselines: "
        f"{', '.join(baselines)}. Undefined where the baseline doesn't clearly beat {first.floor} "
        "(paired t test at 5%)",
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
