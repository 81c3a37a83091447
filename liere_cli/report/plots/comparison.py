"""The plots of a comparison, which its page shows and ``--plot`` writes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from liere_cli.comparison.per_run.curves import History, RunCurve
from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.comparison.tables.table import DatasetTable, Row
from liere_cli.comparison.tables.transfer import TransferTable
from liere_cli.errors import counted
from liere_cli.evaluation.conditions import grid_text
from liere_cli.report.numbers import Unit
from liere_cli.report.plots.colours import Style, styles
from liere_cli.report.plots.curves import Curve, Series, learning_curves, over_places
from liere_cli.report.plots.rows import Estimate, Scores, estimates, paired_scores
from liere_cli.report.plots.scene import (
    COLUMN,
    TEXT,
    Area,
    Dot,
    Figure,
    Image,
    Line,
    Mark,
    Text,
    cut,
)
from liere_cli.report.sections.verdict import verdict_label

#: dash by extension of an encoding to other grids
_DASHES: dict[str, tuple[float, ...]] = {
    "none": (), "pi": (6.0, 3.0), "refit": (10.0, 2.0), "ntk": (8.0, 2.0, 2.0, 2.0),
    "yarn": (2.0, 2.0), "yarn-paper": (1.0, 3.0), "edges": (4.0, 1.0, 1.0, 1.0),
}  # fmt: skip


def styles_of(table: ComparisonTable) -> dict[str, Style]:
    """How each encoding is drawn, in every plot of the comparison."""
    return styles(row.encoding for dataset in table.datasets for row in dataset.rows)


def differences(dataset: DatasetTable, styles: Mapping[str, Style]) -> Figure | None:
    """The difference of each encoding to the baseline; None where nothing is compared."""
    reference = next((row.values for row in dataset.rows if row.is_baseline), {})
    rows = [row for row in dataset.rows if dataset.compares(row) and row.estimate is not None]
    if not rows:
        return None
    unit = Unit.of(dataset)
    shown = [_estimate(dataset, row, reference, unit, styles) for row in rows]
    worse_better = ("worse", "better") if dataset.higher_is_better else ("better", "worse")
    values = "; ".join(f"{row.label} {row.words}" for row in shown)
    return estimates(
        shown,
        title=f"Difference to {dataset.baseline}",
        axis=f"{unit.difference}, minus {dataset.baseline}",
        description=f"Mean difference with its interval and every seed. {values}.",
        sides=worse_better,
        margin=None if dataset.margin is None else unit.scale * dataset.margin,
    )


def _estimate(
    dataset: DatasetTable,
    row: Row,
    reference: Mapping[int, float],
    unit: Unit,
    styles: Mapping[str, Style],
) -> Estimate:
    assert row.verdict is not None
    assert row.estimate is not None
    seeds = [
        (f"{row.encoding}, seed {seed}: {unit.signed(value - reference[seed])}",
         unit.scale * (value - reference[seed]))
        for seed, value in row.values.items()
        if seed in reference
    ]  # fmt: skip
    label = verdict_label(dataset, row)
    ends = (row.verdict.low, row.verdict.high)
    low, high = (None if end is None else unit.scale * end for end in ends)
    difference = unit.scale * row.estimate.difference
    faint = label not in ("better", "worse", "equivalent")
    return Estimate(row.encoding, difference, low, high, styles[row.encoding], seeds, label, faint)


def seed_scores(dataset: DatasetTable, styles: Mapping[str, Style]) -> Figure | None:
    """The score of every run, joined by seed; None without any."""
    unit = Unit.of(dataset)
    rows = [
        Scores(
            row.encoding,
            {seed: unit.scale * value for seed, value in row.values.items()},
            None if row.mean is None else unit.scale * row.mean,
            styles[row.encoding],
        )
        for row in dataset.rows
        if row.values
    ]
    if not rows:
        return None
    direction = "higher" if dataset.higher_is_better else "lower"
    means = "; ".join(f"{row.label} {row.mean:.6g}" for row in rows if row.mean is not None)
    return paired_scores(
        rows,
        title="Every seed",
        axis=f"{unit.header} on the test split, {direction} is better",
        description=f"The test score of every run. Means: {means}.",
    )


def training_plots(
    dataset: DatasetTable, curves: Sequence[RunCurve], styles: Mapping[str, Style]
) -> list[Figure]:
    """Training loss and validation scores over steps and over seconds, and the encodings' share of
    the gradient over steps, as far as there are any.
    """
    unit = Unit.of(dataset)
    score = f"{unit.header}, validation split"
    training = [(curve, curve.training) for curve in curves if curve.training.steps.size]
    validation = [(curve, curve.validation) for curve in curves if curve.validation.steps.size > 1]
    gradients = [(curve, curve.gradient) for curve in curves if curve.gradient.steps.size > 1]
    plots = [
        _curve_plot(histories, styles, name, label, scale, by)
        for name, label, scale, histories in (
            ("Training loss", "training loss, nats", 1.0, training),
            ("Validation", score, unit.scale, validation),
        )
        if histories
        for by in ("steps", "seconds")
    ]
    if gradients:
        title, label = "Gradient of the encoding", "norm, % of the whole gradient's"
        plots.append(_curve_plot(gradients, styles, title, label, 100.0, "steps"))
    return plots


def _curve_plot(
    histories: Sequence[tuple[RunCurve, History]],
    styles: Mapping[str, Style],
    title: str,
    y_label: str,
    scale: float,
    by: str,
) -> Figure:
    """One quantity of every run ``by`` steps or seconds."""
    curves = [
        Curve(
            run.encoding,
            run.seed,
            history.steps if by == "steps" else history.seconds,
            scale * history.values,
            run.diverged,
        )
        for run, history in histories
    ]
    return learning_curves(
        curves,
        styles,
        title=f"{title} over {by}",
        x_label="step" if by == "steps" else "seconds of training",
        y_label=y_label,
        description=f"{y_label} of {counted(len(curves), 'run')} over {by}.",
    )


def transfer_plot(table: TransferTable, styles: Mapping[str, Style]) -> Figure | None:
    """Scores over the growth of the grid, on a logarithmic axis; None without any."""
    unit, grids = Unit.of(table.whole), table.grids
    growths = [_growth(grid, grids.trained) for grid in grids.grids]
    one_axis = len(grids.trained) == 1
    series = []
    for row in table.rows:
        points = [
            (growth, [unit.scale * value for value in cell.values.values()])
            for growth, cell in zip(growths, row.cells, strict=False)
            if cell.values
        ]
        if points:
            label = row.encoding if row.extend == "none" else f"{row.encoding}, {row.extend}"
            style = replace(styles[row.encoding], dash=_DASHES[row.extend])
            series.append(Series(label, style, points))
    if not series:
        return None
    ticks = [
        (growth, grid_text(grid) + (" (trained)" if grid == grids.trained else ""))
        for growth, grid in zip(growths, grids.grids, strict=True)
    ]
    return over_places(
        series,
        title=f"Other {'lengths' if one_axis else 'resolutions'}",
        x_label="bytes in the window" if one_axis else "grid of the test items",
        y_label=f"{unit.header}, test split",
        description="Test scores at other grids than that of training, without further training.",
        ticks=ticks,
        reference=1.0,
    )


def _growth(grid: tuple[int, ...], trained: tuple[int, ...]) -> float:
    """The ratio of two grids: the geometric mean over axes."""
    return math.prod(n / m for n, m in zip(grid, trained, strict=True)) ** (1 / len(grid))


def figures(
    table: ComparisonTable, curves: Mapping[str, Sequence[RunCurve]]
) -> Iterator[tuple[str, list[Figure]]]:
    """The title and the plots of each data set; ``curves`` by title."""
    by_name = styles_of(table)
    transfers = {transfer.whole.title: transfer for transfer in table.transfers}
    for dataset in table.datasets:
        plots = [
            differences(dataset, by_name),
            seed_scores(dataset, by_name),
            *training_plots(dataset, curves.get(dataset.title, ()), by_name),
        ]
        if dataset.title in transfers:
            plots.append(transfer_plot(transfers[dataset.title], by_name))
        yield dataset.title, [plot for plot in plots if plot is not None]


def sheet(table: ComparisonTable, curves: Mapping[str, Sequence[RunCurve]]) -> Figure:
    """All plots of a comparison on one sheet: a column for each data set."""
    marks: list[Mark] = []
    columns = [(title, plots) for title, plots in figures(table, curves) if plots]
    height = 0.0
    for index, (title, plots) in enumerate(columns):
        x, y = index * (COLUMN + 24), 20.0
        heading = cut(title, COLUMN - 16, TEXT + 2)
        marks.append(Text(x + 8, y, heading, size=TEXT + 2, bold=True))
        for plot in plots:
            y += 24
            marks.append(Text(x + 8, y, plot.title, bold=True))
            marks += [moved(mark, x, y + 8) for mark in plot.marks]
            y += plot.height + 8
        height = max(height, y)
    if not columns:
        marks.append(Text(8, 28, "No run of this comparison has a result yet."))
    width = max(len(columns), 1) * (COLUMN + 24) - 24
    name = table.experiment or "Comparison"
    return Figure(width, max(height, 48.0), tuple(marks), name, f"The plots of {name}.")


def moved(mark: Mark, right: float, down: float) -> Mark:
    """The mark at another place."""
    match mark:
        case Line() | Area():
            return replace(mark, points=[(x + right, y + down) for x, y in mark.points])
        case Dot() | Text() | Image():
            return replace(mark, x=mark.x + right, y=mark.y + down)
