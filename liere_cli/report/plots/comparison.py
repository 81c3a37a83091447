"""Pictures of a comparison, with matplotlib: learning curves, and scores over length or resolution.

One row a data set; a line is the mean over seeds, the band around it reaches from the lowest to the
highest seed.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.comparison.tables.learning_curves import LearningCurve
from liere_cli.comparison.tables.table import DatasetTable
from liere_cli.comparison.tables.transfer import TransferTable
from liere_cli.evaluation.conditions import grid_text
from liere_cli.report.numbers import Unit
from liere_cli.report.plots.style import STYLE, check_plot_path, save

#: inches of a panel
WIDTH, HEIGHT = 4.2, 3.0
#: Okabe and Ito's colours, which colour-blind readers tell apart, and three more
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31",
    "#7F7F7F", "#5254A3",
)  # fmt: skip
#: dashes and marks by extension
LINES: dict[str, tuple[Any, str]] = {
    "none": ("-", "o"), "pi": ("--", "s"), "refit": ((0, (6, 1)), "D"), "ntk": ("-.", "^"),
    "yarn": (":", "v"),
}  # fmt: skip
CAPTION = "line: mean over seeds; band: lowest to highest seed"


def draw(
    table: ComparisonTable, learning_curves: Sequence[Sequence[LearningCurve]], path: Path
) -> None:
    """Writes the picture as png, svg or pdf, by suffix; the same table gives the same file.

    Args:
        courses: learning curves of each data set's encodings.

    Raises:
        UsageError, LiereError: as :func:`liere_cli.report.plots.style.check_plot_path`, or the file
            can't be written.
    """
    check_plot_path(path)
    import matplotlib
    from matplotlib.figure import Figure

    transfers = {one.whole.title: one for one in table.transfers}
    names = dict.fromkeys(row.encoding for dataset in table.datasets for row in dataset.rows)
    colours = dict(zip(names, cycle(COLOURS), strict=False))
    wide = 2 if transfers else 1
    with matplotlib.rc_context(STYLE):
        size = (WIDTH * wide + 1.4, HEIGHT * len(table.datasets))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(table.datasets), wide, squeeze=False)
        for row, dataset, curves in zip(panels, table.datasets, learning_curves, strict=True):
            _learning_curves(row[0], dataset, curves, colours)
            if dataset.title in transfers:
                _transfer(row[1], transfers[dataset.title], colours)
            elif wide > 1:
                row[1].set_visible(False)
            _legend(row[-1] if row[-1].get_visible() else row[0], dataset, transfers, colours)
        figure.supxlabel(CAPTION, x=0.01, ha="left", fontsize=7, color="0.3")
        save(figure, path)


def _learning_curves(
    panel: Any,
    dataset: DatasetTable,
    learning_curves: Sequence[LearningCurve],
    colours: dict[str, str],
) -> None:
    """Validation scores over steps."""
    unit = Unit.of(dataset)
    panel.set_title(f"{dataset.title}: learning curves", loc="left")
    panel.set_xlabel("step")
    panel.set_ylabel(f"{unit.header}, validation")
    if not learning_curves:
        panel.text(0.5, 0.5, "no validations", ha="center", transform=panel.transAxes)
    for course in learning_curves:
        scores, colour = course.scores * unit.scale, colours[course.encoding]
        panel.plot(course.steps, scores.mean(axis=0), color=colour, linewidth=1.2)
        if len(scores) > 1:
            panel.fill_between(
                course.steps, scores.min(axis=0), scores.max(axis=0), color=colour, alpha=0.15,
                linewidth=0,
            )  # fmt: skip


def _transfer(panel: Any, table: TransferTable, colours: dict[str, str]) -> None:
    """Scores over the growth of the grid, on a logarithmic axis."""
    unit, grids = Unit.of(table.whole), table.grids
    places = [_growth(grid, grids.trained) for grid in grids.grids]
    one_axis = len(grids.trained) == 1
    panel.set_title(
        f"{table.whole.title}: other {'lengths' if one_axis else 'resolutions'}", loc="left"
    )
    panel.set_xlabel("bytes in the window" if one_axis else "grid of the test items")
    panel.set_ylabel(f"{unit.header}, test")
    panel.axvline(1.0, color="0.75", linewidth=0.8, zorder=0)
    for row in table.rows:
        dashes, mark = LINES[row.extend]
        points = [
            (place, [unit.scale * value for value in cell.values.values()])
            for place, cell in zip(places, row.cells, strict=False)
            if cell.values
        ]
        if not points:
            continue
        x, values = [place for place, _ in points], [one for _, one in points]
        means = [sum(one) / len(one) for one in values]
        colour = colours[row.encoding]
        panel.plot(
            x, means, linestyle=dashes, marker=mark, markersize=3, color=colour, linewidth=1.2
        )
        if max(map(len, values)) > 1:
            low, high = [min(one) for one in values], [max(one) for one in values]
            alpha = 0.15 if row.extend == "none" else 0.06
            panel.fill_between(x, low, high, color=colour, alpha=alpha, linewidth=0)
    panel.set_xscale("log")
    panel.set_xticks(places, [_tick(grid, grids.trained) for grid in grids.grids])
    panel.set_xticks([], minor=True)


def _growth(grid: tuple[int, ...], trained: tuple[int, ...]) -> float:
    """The geometric mean over axes."""
    return math.prod(n / m for n, m in zip(grid, trained, strict=True)) ** (1 / len(grid))


def _tick(grid: tuple[int, ...], trained: tuple[int, ...]) -> str:
    return f"{grid_text(grid)}\ntrained" if grid == trained else grid_text(grid)


def _legend(
    panel: Any, dataset: DatasetTable, transfers: dict[str, TransferTable], colours: dict[str, str]
) -> None:
    """Encodings by colour and extensions by dashes, beside the last panel of a row."""
    from matplotlib.lines import Line2D

    def entries() -> Iterator[Line2D]:
        for row in dataset.rows:
            if row.undefined is None:
                yield Line2D([], [], color=colours[row.encoding], label=row.encoding)
        methods = transfers[dataset.title].grids.methods if dataset.title in transfers else ()
        for method in methods if len(methods) > 1 else ():
            dashes, mark = LINES[method]
            label = "not extended" if method == "none" else method
            yield Line2D(
                [], [], color="0.3", linestyle=dashes, marker=mark, markersize=3, label=label
            )

    panel.legend(
        handles=list(entries()), loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False,
        fontsize=7,
    )  # fmt: skip
