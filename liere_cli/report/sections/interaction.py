"""Whether the gain over the baseline is larger on one data set than on another."""

from collections.abc import Callable, Sequence

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.errors import counted
from liere_cli.report import numbers
from liere_cli.report.numbers import NONE, percent
from liere_cli.report.sections.base import Section, fields_of, renamed
from liere_cli.report.table import Column, Columns, TextTable
from liere_cli.statistics.ratios.interaction import Interaction, RelativeGain, Side
from liere_cli.statistics.verdicts import MIN_SEEDS

_SENTENCES = {
    "larger": "is larger {} than {}",
    "smaller": "is smaller {} than {}",
    "equivalent": "is as large {} as {}",
    "undecided": "may be larger or smaller {} than {}",
}


def _tables(comparison: ComparisonTable) -> list[TextTable]:
    interactions = comparison.interactions
    if not interactions:
        return []
    columns, notes = _columns(interactions), _notes(interactions)
    remarks = list(map(_sentence, interactions))
    what = "settings" if interactions[0].on.side.setting else "data sets"
    return [TextTable(f"Relative gain between {what}", "interaction", columns, notes, remarks)]


def _columns(interactions: Sequence[Interaction]) -> list[Column]:
    column = Columns(interactions)

    def of_both(cell: Callable[[RelativeGain], str]) -> Callable[[Interaction], str]:
        return lambda row: f"{cell(row.on)} / {cell(row.against)}"

    return [
        column.text("encoding", lambda row: row.encoding),
        column.text("on", lambda row: row.on.side.title),
        column.text("against", lambda row: row.against.side.title),
        column.number("gain", lambda row: percent(row.on.value)),
        column.number("gain there", lambda row: percent(row.against.value)),
        column.number("difference", lambda row: percent(row.difference)),
        column.number(
            "95% interval",
            lambda row: NONE if row.low is None else f"[{percent(row.low)}, {percent(row.high)}]",
        ),
        column.number("p", lambda row: numbers.probability(row.p_holm)),
        column.text("verdict", lambda row: row.label or ("undefined" if row.undefined else NONE)),
        column.number("seeds", of_both(lambda gain: str(len(gain.values))), True),
        column.number("s.e. seeds", of_both(lambda gain: percent(gain.seed_error, False)), True),
        column.number("s.e. test", of_both(lambda gain: percent(gain.test_error, False)), True),
    ]


def interaction_sentence(row: Interaction) -> str:
    """``interaction · cifar100 against enwik8: liere's gain is larger on images than ...``."""
    return f"interaction · {row.on.side.title} against {row.against.side.title}: {_sentence(row)}"


def _sentence(row: Interaction) -> str:
    """``liere's gain is larger on images than on text: +12.0% [+3.1%, +20.9%] of ...``."""
    if row.label is None:
        return f"{row.encoding} has no verdict: {row.undefined or _without_label(row)}"
    sentence = _SENTENCES[row.label].format(_where(row.on.side), _where(row.against.side))
    return (
        f"{row.encoding}'s gain {sentence}: {percent(row.difference)} [{percent(row.low)}, "
        f"{percent(row.high)}] of the baseline's gain over {row.control} "
        f"({len(row.on.values)} and {len(row.against.values)} seeds)"
    )


def _where(side: Side) -> str:
    return f"with {side.setting}" if side.setting else f"on {side.modality}"


def _without_label(row: Interaction) -> str:
    if row.p is None:
        return "no variance over seeds"
    return f"fewer than {MIN_SEEDS} shared seeds"


def _notes(interactions: Sequence[Interaction]) -> list[str]:
    control, over = interactions[0].control, bool(interactions[0].on.side.setting)
    count = sum(row.p_holm is not None for row in interactions)
    gains = [gain for row in interactions for gain in (row.on, row.against)]
    baselines = dict.fromkeys(gain.side.baseline for gain in gains)
    what, both = ("settings", "with") if over else ("data sets", "on")
    seeds = "shared by" if over else "independent between"
    notes = [
        f"gain: mean(encoding - baseline) / mean(baseline - {control}) at the same seeds; 100% is "
        f"the baseline's own gain over {control}. Baselines: {', '.join(baselines)}. Undefined "
        f"where the baseline doesn't clearly beat {control} at 5%, as any ratio is possible then.",
        "Null hypothesis: both gains are equal. Intervals of gains are Fieller's, over seeds and "
        "test sets; that of their difference is MOVER's (Zou and Donner 2008), with seeds "
        f"{seeds} {what}. Verdicts need {MIN_SEEDS} seeds on both. p is "
        f"Holm-corrected over {counted(count, 'interaction')} and, where seeds were added, "
        f"for the interim analyses {both} both {what}.",
    ]
    if over:
        notes.append(
            "Settings share seeds. A negative correlation over them widens the interval; of a "
            "positive one, the lower end of its 90% interval narrows it."
        )
    correlations = [
        f"{row.correlation:+.2f}" for row in interactions if row.correlation is not None
    ]
    if correlations:
        notes.append(f"Correlation between both {what} at equal seeds: {', '.join(correlations)}")
    return notes


def _data(comparison: ComparisonTable) -> list[dict[str, object]]:
    return [
        renamed(fields_of(row), label="verdict")
        | {"on": _gain_data(row.on), "against": _gain_data(row.against), "undefined": row.undefined}
        for row in comparison.interactions
    ]


def _gain_data(gain: RelativeGain) -> dict[str, object]:
    """One data set's relative gain; 1 is the baseline's own gain over the control."""
    return {
        "title": gain.side.title,
        **({"setting": gain.side.setting} if gain.side.setting else {}),
        "baseline": gain.side.baseline,
        "gain": gain.value,
        "low": gain.low,
        "high": gain.high,
        "values": dict(zip(gain.side.seeds, gain.values, strict=False)),
        "seed_error": gain.seed_error,
        "test_error": gain.test_error,
    }


INTERACTIONS = Section("interactions", _tables, _data)
