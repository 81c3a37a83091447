"""Pictures of kernels, with matplotlib: lines for one axis, maps for two, slices for three."""

import math
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from liere_cli.encodings.score_map import PLOTTED, ScoreMap
from liere_cli.report.plots.style import STYLE, check_plot_path, save

#: panels side by side, before the next heads go below
ACROSS = 6
#: inches of a panel, and around the panels
PANEL, MARGIN = 1.75, 0.9
#: blue and vermilion of Okabe and Ito, which colour-blind readers tell apart
LINES: tuple[dict[str, Any], ...] = (
    {"color": "#0072B2", "linestyle": "-"},
    {"color": "#D55E00", "linestyle": "--"},
)
#: blue, white at zero, red, as dark on both sides; one of a single direction for values of one sign
BOTH_SIGNS, ONE_SIGN = "RdBu_r", "cividis"


def draw(kernel: ScoreMap, path: Path, *, title: str, caption: str) -> None:
    """Writes the picture of a kernel as png, svg or pdf, by suffix.

    Raises:
        UsageError, LiereError: as :func:`liere_cli.report.plots.style.check_plot_path`, or the file
            can't be written.
    """
    check_plot_path(path)
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(layout="constrained")
        {1: _lines, 2: _maps, 3: _slices}[len(kernel.grid)](figure, kernel)
        width = figure.get_figwidth()
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
        lines = textwrap.wrap(caption, int(width * 17))
        figure.set_figheight(figure.get_figheight() + 0.14 * len(lines))
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7, color="0.3")
        save(figure, path)


def _grid_of(figure: Any, rows: int, columns: int, aspect: float = 1.0) -> Any:
    """Axes [rows, columns], as large as PANEL each."""
    figure.set_size_inches(
        max(columns * PANEL + MARGIN + 0.3, 4.6), rows * (PANEL * aspect + 0.25) + MARGIN
    )
    return figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)


def _head(kernel: ScoreMap, head: int, query: int | None = None) -> str:
    """What a panel shows, where it is not all there is: ``head 2, query at 3, 3``."""
    parts = []
    if kernel.place != "embed":
        parts.append("every head" if kernel.values.shape[1] == 1 else f"head {head}")
    if query is not None and not kernel.relative:
        parts.append(f"query at {', '.join(map(str, kernel.references[query]))}")
    return ", ".join(parts)


def _lines(figure: Any, kernel: ScoreMap) -> None:
    """One axis: a panel for each head, a line for each query."""
    heads, (extent,) = kernel.values.shape[1], kernel.grid
    columns = min(heads, 4)
    rows = math.ceil(heads / columns)
    panels = _grid_of(figure, rows, columns, aspect=0.8)
    if heads == 1:
        figure.set_size_inches(5.0, 2.9)
    for head, panel in enumerate(panels.flat):
        if head >= heads:
            panel.set_visible(False)
            continue
        panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
        panel.axvline(0, color="0.8", linewidth=0.6, zorder=0)
        for (at,), values, look in zip(
            kernel.references, kernel.values[:, head], LINES, strict=False
        ):
            offsets = np.arange(extent) - at
            panel.plot(offsets, values, linewidth=1, label=f"query at {at}", **look)
        panel.set_title(_head(kernel, head))
    if len(kernel.references) > 1:
        panels[0, 0].legend(fontsize=6, frameon=False, loc="best", handlelength=1.2)
    _name_below(panels, "tokens from query to key")
    for row in panels:
        row[0].set_ylabel(PLOTTED[kernel.place][0])


def _maps(figure: Any, kernel: ScoreMap) -> None:
    """Two axes: a map for each head, and below it one for each further query; queries side by side
    where heads are alike.
    """
    heads, queries = kernel.values.shape[1], len(kernel.references)
    across = min(heads, ACROSS)
    blocks = [range(start, min(start + across, heads)) for start in range(0, heads, across)]
    rows = [[(query, head) for head in block] for block in blocks for query in range(queries)]
    if heads == 1:
        rows = [[(query, 0) for query in range(queries)]]
    panels = _grid_of(figure, len(rows), len(rows[0]), kernel.grid[0] / kernel.grid[1])
    for row, members in zip(panels, rows, strict=True):
        for panel in row[len(members) :]:
            panel.set_visible(False)
        for panel, (query, head) in zip(row, members, strict=False):
            image = _map(panel, kernel, kernel.values[query, head], query)
            panel.set_title(_head(kernel, head, query))
    _name_axes(figure, panels, kernel, image)


def _slices(figure: Any, kernel: ScoreMap) -> None:
    """Three axes: a row for each head, and for each query three planes of keys side by side: that
    of the query, and those a quarter and half of the way to the last.
    """
    heads, queries = kernel.values.shape[1], len(kernel.references)
    panels = _grid_of(figure, heads, 3 * queries, kernel.grid[1] / kernel.grid[2])
    for head, query in np.ndindex(heads, queries):
        first = kernel.references[query][0]
        room = kernel.grid[0] - 1 - first
        steps = sorted({0, math.ceil(room / 4), math.ceil(room / 2)})
        row = panels[head, 3 * query : 3 * query + 3]
        for panel in row[len(steps) :]:
            panel.set_visible(False)
        for panel, step in zip(row, steps, strict=False):
            image = _map(panel, kernel, kernel.values[query, head, first + step], query)
            later = f"{step} frame{'s' if step > 1 else ''} later" if step else "same frame"
            panel.set_title(f"{_head(kernel, head, query)}\n{later}" if not step else later)
    _name_axes(figure, panels, kernel, image)


def _map(panel: Any, kernel: ScoreMap, values: Any, query: int) -> Any:
    """A map over rows and columns, from the query if relative, else over the grid; all maps of a
    picture share their colours.
    """
    at = np.array(kernel.references[query][-2:])
    row, column = -at if kernel.relative else (0, 0)
    high, wide = values.shape
    edges = (column - 0.5, column + wide - 0.5, row + high - 0.5, row - 0.5)
    least, most = float(kernel.values.min()), float(kernel.values.max())
    colours = ONE_SIGN
    if least < 0 < most:
        most = max(-least, most)
        least, colours = -most, BOTH_SIGNS
    image = panel.imshow(
        values, cmap=colours, vmin=least, vmax=most, extent=edges, interpolation="nearest"
    )
    # black on white shows on every colour
    for width, ink in ((2.2, "white"), (0.8, "black")):
        panel.plot(
            column + at[1], row + at[0], marker="+", color=ink, markersize=6, markeredgewidth=width
        )
    for spine in panel.spines.values():
        spine.set_visible(False)
    return image


def _name_below(panels: Any, words: str) -> None:
    """Names the axis below the lowest panel of every column, whatever the last row lacks."""
    for column in panels.T:
        for lowest in [panel for panel in column if panel.get_visible()][-1:]:
            lowest.set_xlabel(words)
            lowest.tick_params(labelbottom=True)


def _name_axes(figure: Any, panels: Any, kernel: ScoreMap, image: Any) -> None:
    words = "{}s from query (tokens)" if kernel.relative else "{} of key (tokens)"
    for panel in panels.flat:
        panel.locator_params(integer=True, nbins=5)
    _name_below(panels, words.format("column"))
    for row in panels:
        row[0].set_ylabel(words.format("row"))
    # as high as two panels, however many there are
    shrink = min(0.8, 2 / len(panels))
    bar = figure.colorbar(image, ax=panels, shrink=shrink, aspect=25, pad=0.02, anchor=(0, 1))
    bar.set_label(PLOTTED[kernel.place][0])
    bar.outline.set_visible(False)
