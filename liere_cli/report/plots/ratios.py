"""Plots of ratios and relative gains: efficiency, data, interaction."""

from collections.abc import Mapping, Sequence

from liere_cli.comparison.tables.fractions import FractionTable
from liere_cli.comparison.tables.table import DatasetTable
from liere_cli.report.numbers import Unit
from liere_cli.report.plots.colours import Style
from liere_cli.report.plots.curves import Series, over_places
from liere_cli.report.plots.rows import Estimate, estimates
from liere_cli.report.plots.scene import Figure
from liere_cli.report.sections.efficiency import ratio_text
from liere_cli.statistics.ratios.interaction import Interaction
from liere_cli.statistics.ratios.learning_curves import Ratio


def efficiency_plot(dataset: DatasetTable, styles: Mapping[str, Style]) -> Figure | None:
    """Fewer steps and less time to the baseline's final score; None without an estimate."""
    rows = [
        _ratio(f"{row.encoding}, {what}", ratio, styles[row.encoding])
        for row in dataset.efficiency
        for what, ratio in (("steps", row.steps_ratio), ("time", row.seconds_ratio))
    ]
    if not any(row.value is not None for row in rows):
        return None
    texts = "; ".join(f"{row.label} {row.words}" for row in rows)
    return estimates(
        rows,
        title="Cost of equal scores",
        axis=f"times less than {dataset.baseline}",
        description=f"Ratios of steps and seconds. {texts}.",
        reference=1.0,
        sides=("needs more", "needs less"),
        log=True,
    )


def _ratio(label: str, ratio: Ratio, style: Style) -> Estimate:
    decided = ratio.p_holm is not None and ratio.p_holm <= 0.05
    words = ratio_text(ratio).partition(" ")[0]
    return Estimate(
        label, ratio.value, ratio.low, ratio.high, style, words=words, faint=not decided
    )


def fraction_plot(table: FractionTable, styles: Mapping[str, Style]) -> Figure | None:
    """Scores by fraction of the training data; bands are a standard deviation wide each way."""
    unit, series = Unit.of(table.whole), []
    for row in table.rows:
        points = [
            (fraction, [unit.scale * (mean + sign * (std or 0.0)) for sign in (-1, 1)])
            for fraction, (mean, std, _) in zip(table.fractions, row.scores, strict=True)
            if mean is not None
        ]
        if points:
            series.append(Series(row.encoding, styles[row.encoding], points))
    if not series:
        return None
    return over_places(
        series,
        title=f"{table.whole.data}: by fraction of the training data",
        x_label="training data",
        y_label=f"{unit.header}, test split",
        description="Mean test scores, plus and minus a standard deviation over seeds.",
        ticks=[(fraction, f"{100 * fraction:g}%") for fraction in table.fractions],
    )


def interaction_plot(
    interactions: Sequence[Interaction], styles: Mapping[str, Style]
) -> Figure | None:
    """Differences of relative gains between data sets or settings; None without an estimate."""
    rows = [
        Estimate(
            row.encoding
            if len(interactions) < 2
            else f"{row.encoding}, {row.on.side.setting or row.on.side.modality}",
            100 * row.difference,
            None if row.low is None else 100 * row.low,
            None if row.high is None else 100 * row.high,
            styles[row.encoding],
            words=row.label or "",
            faint=row.label in (None, "undecided"),
        )
        for row in interactions
        if row.difference is not None
    ]
    if not rows:
        return None
    rows_of_settings = bool(interactions[0].on.side.setting)
    texts = "; ".join(f"{row.label} {row.words}" for row in rows)
    return estimates(
        rows,
        title=f"Relative gain between {'settings' if rows_of_settings else 'data sets'}",
        axis="difference of gains, % of the baseline's own gain",
        description=f"Differences with their intervals. {texts}.",
        sides=("smaller", "larger"),
    )
