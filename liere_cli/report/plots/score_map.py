"""Plots of score maps: lines for one axis, maps for two, slices for three."""

import math
import textwrap
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from liere_cli.encodings.score_map import PLOTTED, ScoreMap
from liere_cli.report.plots.style import STYLE, check_plot_path, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

Panels: TypeAlias = "list[list[Axes]]"

#: panels in a row, before further heads begin another row
ACROSS = 6
#: inches of a panel, and around the panels
PANEL, MARGIN = 1.75, 0.9
#: colour and line style of each query; Okabe and Ito's colours, distinct for colour-blind readers
LINE_STYLES = (("#0072B2", "-"), ("#D55E00", "--"))
#: a diverging colour map, white at zero, and a sequential one for values of one sign
BOTH_SIGNS, ONE_SIGN = "RdBu_r", "cividis"


def draw(score_map: ScoreMap, path: Path, *, title: str, caption: str) -> None:
    """Writes the plot of a score map as png, svg or pdf, by suffix."""
    check_plot_path(path)
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(layout="constrained")
        {1: _lines, 2: _maps, 3: _slices}[len(score_map.grid)](figure, score_map)
        width = figure.get_figwidth()
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
        lines = textwrap.wrap(caption, int(width * 17))
        figure.set_figheight(figure.get_figheight() + 0.14 * len(lines))
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7, color="0.3")
        save(figure, path)


def _panels(figure: "Figure", rows: int, columns: int, aspect: float = 1.0) -> Panels:
    figure.set_size_inches(
        max(columns * PANEL + MARGIN + 0.3, 4.6), rows * (PANEL * aspect + 0.25) + MARGIN
    )
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    return [list(row) for row in panels]


def _head(score_map: ScoreMap, head: int, query: int | None = None) -> str:
    """The title of a panel: ``head 2, query at 3, 3``."""
    parts = []
    if score_map.place != "embed":
        parts.append("every head" if score_map.values.shape[1] == 1 else f"head {head}")
    if query is not None and not score_map.relative:
        parts.append(f"query at {', '.join(map(str, score_map.references[query]))}")
    return ", ".join(parts)


def _lines(figure: "Figure", score_map: ScoreMap) -> None:
    """One axis: a panel for each head, a line for each query."""
    heads, (extent,) = score_map.values.shape[1], score_map.grid
    columns = min(heads, 4)
    rows = math.ceil(heads / columns)
    panels = _panels(figure, rows, columns, aspect=0.8)
    if heads == 1:
        figure.set_size_inches(5.0, 2.9)
    for head, panel in enumerate(chain(*panels)):
        if head >= heads:
            panel.set_visible(False)
            continue
        panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
        panel.axvline(0, color="0.8", linewidth=0.6, zorder=0)
        for (at,), values, (colour, style) in zip(
            score_map.references, score_map.values[:, head], LINE_STYLES, strict=False
        ):
            label = f"query at {at}"
            offsets = np.arange(extent) - at
            panel.plot(offsets, values, color=colour, linestyle=style, linewidth=1, label=label)
        panel.set_title(_head(score_map, head))
    if len(score_map.references) > 1:
        panels[0][0].legend(fontsize=6, frameon=False, loc="best", handlelength=1.2)
    _label_columns(panels, "tokens from query to key")
    for row in panels:
        row[0].set_ylabel(PLOTTED[score_map.place][0])


def _maps(figure: "Figure", score_map: ScoreMap) -> None:
    """Two axes: a map per head, further queries below it, or in one row where heads are equal."""
    heads, queries = score_map.values.shape[1], len(score_map.references)
    across = min(heads, ACROSS)
    blocks = [range(start, min(start + across, heads)) for start in range(0, heads, across)]
    rows = [[(query, head) for head in block] for block in blocks for query in range(queries)]
    if heads == 1:
        rows = [[(query, 0) for query in range(queries)]]
    panels = _panels(figure, len(rows), len(rows[0]), score_map.grid[0] / score_map.grid[1])
    for row, members in zip(panels, rows, strict=True):
        for panel in row[len(members) :]:
            panel.set_visible(False)
        for panel, (query, head) in zip(row, members, strict=False):
            image = _map(panel, score_map, score_map.values[query, head], query)
            panel.set_title(_head(score_map, head, query))
    _label_axes(figure, panels, score_map, image)


def _slices(figure: "Figure", score_map: ScoreMap) -> None:
    """Three axes: a row per head; planes of keys at each query, and 1/4 and 1/2 of the way on."""
    heads, queries = score_map.values.shape[1], len(score_map.references)
    panels = _panels(figure, heads, 3 * queries, score_map.grid[1] / score_map.grid[2])
    for head, query in np.ndindex(heads, queries):
        first = score_map.references[query][0]
        rest = score_map.grid[0] - 1 - first
        steps = sorted({0, math.ceil(rest / 4), math.ceil(rest / 2)})
        row = panels[head][3 * query : 3 * query + 3]
        for panel in row[len(steps) :]:
            panel.set_visible(False)
        for panel, step in zip(row, steps, strict=False):
            image = _map(panel, score_map, score_map.values[query, head, first + step], query)
            later = f"{step} frame{'s' if step > 1 else ''} later" if step else "same frame"
            panel.set_title(f"{_head(score_map, head, query)}\n{later}" if not step else later)
    _label_axes(figure, panels, score_map, image)


def _map(
    panel: "Axes", score_map: ScoreMap, values: NDArray[np.float32], query: int
) -> "AxesImage":
    """A map of values [rows, columns], from the query if relative; all share a colour scale."""
    at = np.array(score_map.references[query][-2:])
    row, column = -at if score_map.relative else (0, 0)
    high, wide = values.shape
    edges = (column - 0.5, column + wide - 0.5, row + high - 0.5, row - 0.5)
    least, most = float(score_map.values.min()), float(score_map.values.max())
    colours = ONE_SIGN
    if least < 0 < most:
        most = max(-least, most)
        least, colours = -most, BOTH_SIGNS
    image = panel.imshow(
        values, cmap=colours, vmin=least, vmax=most, extent=edges, interpolation="nearest"
    )
    # black on white is visible on every colour
    for width, ink in ((2.2, "white"), (0.8, "black")):
        panel.plot(
            column + at[1], row + at[0], marker="+", color=ink, markersize=6, markeredgewidth=width
        )
    for spine in panel.spines.values():
        spine.set_visible(False)
    return image


def _label_columns(panels: Panels, label: str) -> None:
    """Labels the axis below the lowest visible panel of every column."""
    for column in zip(*panels, strict=True):
        for lowest in [panel for panel in column if panel.get_visible()][-1:]:
            lowest.set_xlabel(label)
            lowest.tick_params(labelbottom=True)


def _label_axes(figure: "Figure", panels: Panels, score_map: ScoreMap, image: "AxesImage") -> None:
    label = "{}s from query (tokens)" if score_map.relative else "{} of key (tokens)"
    for panel in chain(*panels):
        panel.locator_params(integer=True, nbins=5)
    _label_columns(panels, label.format("column"))
    for row in panels:
        row[0].set_ylabel(label.format("row"))
    # at most as high as two panels
    shrink = min(0.8, 2 / len(panels))
    bar = figure.colorbar(
        image, ax=[*chain(*panels)], shrink=shrink, aspect=25, pad=0.02, anchor=(0, 1)
    )
    bar.set_label(PLOTTED[score_map.place][0])
    bar.outline.set_visible(False)
