"""Plots of a comparison: learning curves, and scores over length or resolution.

One row of panels per data set; a line is the mean over seeds, with a band from the lowest to the
highest seed.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.comparison.tables.learning_curves import LearningCurve
from liere_cli.comparison.tables.table import DatasetTable
from liere_cli.comparison.tables.transfer import TransferTable
from liere_cli.evaluation.conditions import grid_text
from liere_cli.report.numbers import Unit
from liere_cli.report.plots.style import STYLE, check_plot_path, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import LineStyleType

#: inches of a panel
WIDTH, HEIGHT = 4.2, 3.0
#: Okabe and Ito's colours, distinct for colour-blind readers, and three more
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31",
    "#7F7F7F", "#5254A3",
)  # fmt: skip
#: line style and marker by extension
LINE_STYLES: "dict[str, tuple[LineStyleType, str]]" = {
    "none": ("-", "o"), "pi": ("--", "s"), "refit": ((0, (6, 1)), "D"), "ntk": ("-.", "^"),
    "yarn": (":", "v"), "yarn-paper": ((0, (1, 3)), "<"), "edges": ((0, (4, 1, 1, 1)), "P"),
}  # fmt: skip
CAPTION = "line: mean over seeds; band: lowest to highest seed"


def draw(
    table: ComparisonTable, learning_curves: Sequence[Sequence[LearningCurve]], path: Path
) -> None:
    """Writes a plot as png, svg or pdf, by suffix; equal tables give equal files.

    ``learning_curves`` are of the encodings of each data set, in the order of the data sets.
    """
    check_plot_path(path)
    import matplotlib
    from matplotlib.figure import Figure

    transfers = {transfer.whole.title: transfer for transfer in table.transfers}
    names = dict.fromkeys(row.encoding for dataset in table.datasets for row in dataset.rows)
    colours = dict(zip(names, cycle(COLOURS), strict=False))
    columns = 2 if transfers else 1
    with matplotlib.rc_context(STYLE):
        size = (WIDTH * columns + 1.4, HEIGHT * len(table.datasets))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(table.datasets), columns, squeeze=False)
        for row, dataset, curves in zip(panels, table.datasets, learning_curves, strict=True):
            transfer = transfers.get(dataset.title)
            _learning_curves(row[0], dataset, curves, colours)
            if transfer is not None:
                _transfer(row[1], transfer, colours)
            elif columns > 1:
                row[1].set_visible(False)
            _legend(row[-1] if row[-1].get_visible() else row[0], dataset, transfer, colours)
        figure.supxlabel(CAPTION, x=0.01, ha="left", fontsize=7, color="0.3")
        save(figure, path)


def _learning_curves(
    panel: "Axes",
    dataset: DatasetTable,
    learning_curves: Sequence[LearningCurve],
    colours: Mapping[str, str],
) -> None:
    unit = Unit.of(dataset)
    panel.set_title(f"{dataset.title}: learning curves", loc="left")
    panel.set_xlabel("step")
    panel.set_ylabel(f"{unit.header}, validation")
    if not learning_curves:
        panel.text(0.5, 0.5, "no validations", ha="center", transform=panel.transAxes)
    for curve in learning_curves:
        scores, colour = curve.scores * unit.scale, colours[curve.encoding]
        panel.plot(curve.steps, scores.mean(axis=0), color=colour, linewidth=1.2)
        if len(scores) > 1:
            panel.fill_between(
                curve.steps, scores.min(axis=0), scores.max(axis=0), color=colour, alpha=0.15,
                linewidth=0,
            )  # fmt: skip


def _transfer(panel: "Axes", table: TransferTable, colours: Mapping[str, str]) -> None:
    """Scores over the growth of the grid, on a logarithmic axis."""
    unit, grids = Unit.of(table.whole), table.grids
    growths = [_growth(grid, grids.trained) for grid in grids.grids]
    one_axis = len(grids.trained) == 1
    axis = "lengths" if one_axis else "resolutions"
    panel.set_title(f"{table.whole.title}: other {axis}", loc="left")
    panel.set_xlabel("bytes in the window" if one_axis else "grid of the test items")
    panel.set_ylabel(f"{unit.header}, test")
    panel.axvline(1.0, color="0.75", linewidth=0.8, zorder=0)
    for row in table.rows:
        points = [
            (growth, [unit.scale * value for value in cell.values.values()])
            for growth, cell in zip(growths, row.cells, strict=False)
            if cell.values
        ]
        if not points:
            continue
        x, scores = [growth for growth, _ in points], [values for _, values in points]
        means = [sum(values) / len(values) for values in scores]
        style, marker = LINE_STYLES[row.extend]
        colour = colours[row.encoding]
        panel.plot(
            x, means, linestyle=style, marker=marker, markersize=3, color=colour, linewidth=1.2
        )
        if max(map(len, scores)) > 1:
            low, high = [min(values) for values in scores], [max(values) for values in scores]
            alpha = 0.15 if row.extend == "none" else 0.06
            panel.fill_between(x, low, high, color=colour, alpha=alpha, linewidth=0)
    panel.set_xscale("log")
    panel.set_xticks(growths, [_tick(grid, grids.trained) for grid in grids.grids])
    panel.set_xticks([], minor=True)


def _growth(grid: tuple[int, ...], trained: tuple[int, ...]) -> float:
    """The ratio of two grids: the geometric mean over axes."""
    return math.prod(n / m for n, m in zip(grid, trained, strict=True)) ** (1 / len(grid))


def _tick(grid: tuple[int, ...], trained: tuple[int, ...]) -> str:
    return f"{grid_text(grid)}\ntrained" if grid == trained else grid_text(grid)


def _legend(
    panel: "Axes", dataset: DatasetTable, transfer: TransferTable | None, colours: Mapping[str, str]
) -> None:
    """Colours of encodings and line styles of extensions, beside the last panel of a row."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colours[row.encoding], label=row.encoding)
        for row in dataset.rows
        if row.undefined is None
    ]
    methods = transfer.grids.methods if transfer else ()
    for method in methods if len(methods) > 1 else ():
        style, marker = LINE_STYLES[method]
        label = "not extended" if method == "none" else method
        handles.append(
            Line2D([], [], color="0.3", linestyle=style, marker=marker, markersize=3, label=label)
        )
    panel.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=7
    )
