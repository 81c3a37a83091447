"""Plots of score maps: lines for one axis, maps for two, slices for three."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liere_cli.encodings.score_map import PLOTTED, ScoreMap
from liere_cli.report.plots.axes import Axes
from liere_cli.report.plots.colours import BOTH_SIGNS, ONE_SIGN, coloured
from liere_cli.report.plots.scale import Scale, tick_texts
from liere_cli.report.plots.scene import (
    SMALL,
    TEXT,
    Dot,
    Figure,
    Image,
    Line,
    Mark,
    Paint,
    Text,
    cut,
)

#: panels in a row, before further heads begin another row
ACROSS = 6
#: longer side of a map, and the space around it, in pixels
PANEL, LEFT, HEAD, FOOT, GAP = 118.0, 44.0, 34.0, 40.0, 14.0
#: width of the scale of colours with its numbers
BAR = 72.0
#: dash of each query's line
_DASHES: tuple[tuple[float, ...], ...] = ((), (5.0, 3.0))


@dataclass(frozen=True)
class _Map:
    """One panel: values [rows, columns], where the first of them lies, the query, and a title."""

    values: NDArray[np.float32]
    first: tuple[int, int]
    query: tuple[int, int]
    title: str


def score_map_figure(
    score_map: ScoreMap,
    *,
    title: str,
    caption: str = "",
    heads: int | None = None,
    paint: Paint = "series0",
    headed: bool = True,
) -> Figure:
    """The plot of a score map, with a caption below.

    Args:
        heads: how many to show; None: all.
        paint: of lines, where there is one axis.
        headed: whether the title is part of the plot.
    """
    shown = min(score_map.values.shape[1], heads or score_map.values.shape[1])
    top = HEAD if headed else 14.0
    if len(score_map.grid) == 1:
        marks, width, bottom = _lines(score_map, shown, top, paint)
    else:
        if len(score_map.grid) == 2:
            rows, labels = _maps(score_map, shown), []
        else:
            rows = _slices(score_map, shown)
            labels = [f"{_head(score_map, head)}, " for head in range(shown)]
        marks, width, bottom = _draw_maps(score_map, rows, top, labels)
    width = max(width, 300.0)
    if headed:
        marks.append(Text(8, 18, cut(title, width - 16, TEXT + 1), size=TEXT + 1, bold=True))
    for line in _wrapped(caption, width - 16):
        bottom += 14
        marks.append(Text(8, bottom, line, "muted", SMALL))
    description = f"{PLOTTED[score_map.place][0]} by position. {caption}"
    return Figure(width, bottom + 10, tuple(marks), title, description)


def _wrapped(text: str, width: float) -> list[str]:
    import textwrap

    return textwrap.wrap(text, int(width / (0.55 * SMALL)))


def _head(score_map: ScoreMap, head: int) -> str:
    if score_map.place == "embed":
        return ""
    return "every head" if score_map.values.shape[1] == 1 else f"head {head}"


def _query(score_map: ScoreMap, query: int) -> str:
    return f"query at {', '.join(map(str, score_map.references[query]))}"


def _lines(
    score_map: ScoreMap, heads: int, top: float, paint: Paint
) -> tuple[list[Mark], float, float]:
    """One axis: a panel for each head, a line for each query."""
    (extent,) = score_map.grid
    across = min(heads, 2)
    wide, high = (340.0, 150.0) if heads == 1 else (160.0, 104.0)
    values = score_map.values[:, :heads]
    y = Scale.over([float(values.min()), float(values.max()), 0.0], 0, 1)
    offsets = [float(k - at) for (at,) in score_map.references for k in (0, extent - 1)]
    x = Scale.over(offsets, 0, 1, padding=0.0)
    marks: list[Mark] = []
    bottom = top
    for head in range(heads):
        column, row = head % across, head // across
        left = LEFT + column * (wide + 40)
        start = top + 34 + row * (high + HEAD + FOOT)
        axes = Axes(
            Scale(x.low, x.high, left, left + wide), Scale(y.low, y.high, start + high, start)
        )
        axes.y_axis("")
        axes.x_axis("tokens from query to key")
        axes.marks.append(Text(left, start - 10, _head(score_map, head), "ink", SMALL))
        for (at,), line, dash in zip(score_map.references, values[:, head], _DASHES, strict=False):
            axes.line(((k - at, float(v)) for k, v in enumerate(line)), paint, 1.4, dash)
        marks += axes.marks
        bottom = start + high + FOOT
    label = PLOTTED[score_map.place][0]
    marks.append(Text(8, top, label, "muted", SMALL))
    if len(score_map.references) > 1:
        place = 20 + 6.5 * len(label)
        for (at,), dash in zip(score_map.references, _DASHES, strict=False):
            marks.append(Line([(place, top - 4), (place + 20, top - 4)], paint, 1.4, dash))
            marks.append(Text(place + 25, top, f"query at {at}", "muted", SMALL))
            place += 110
    return marks, LEFT + across * (wide + 40), bottom


def _maps(score_map: ScoreMap, heads: int) -> list[list[_Map]]:
    """Two axes: a map per head, further queries below it, or in one row where heads are equal."""
    queries = range(len(score_map.references))
    if heads == 1:
        return [[_map_of(score_map, query, 0) for query in queries]]
    blocks = [range(start, min(start + ACROSS, heads)) for start in range(0, heads, ACROSS)]
    return [
        [_map_of(score_map, query, head) for head in block] for block in blocks for query in queries
    ]


def _map_of(score_map: ScoreMap, query: int, head: int) -> _Map:
    lines = [_head(score_map, head)]
    if not score_map.relative:
        lines.append(_query(score_map, query))
    title = "\n".join(lines)
    return _panel(score_map, score_map.values[query, head], query, title)


def _slices(score_map: ScoreMap, heads: int) -> list[list[_Map]]:
    """Three axes: a row per head; planes of keys at each query, and 1/4 and 1/2 of the way on.

    Near the end of the first axis some of them are one plane, which has one panel.
    """
    rows = []
    for head in range(heads):
        row = []
        for query in range(len(score_map.references)):
            first = score_map.references[query][0]
            rest = score_map.grid[0] - 1 - first
            for step in sorted({0, math.ceil(rest / 4), math.ceil(rest / 2)}):
                plane = score_map.values[query, head, first + step]
                later = f"{step} frame{'s' if step > 1 else ''} later" if step else "same frame"
                reference = "" if score_map.relative else _query(score_map, query)
                title = f"{'' if step else reference}\n{later}"
                row.append(_panel(score_map, plane, query, title))
        rows.append(row)
    return rows


def _panel(score_map: ScoreMap, values: NDArray[np.float32], query: int, title: str) -> _Map:
    """A map from the query if scores are relative."""
    row, column = score_map.references[query][-2:]
    first = (-row, -column) if score_map.relative else (0, 0)
    return _Map(values, first, (row, column), title)


def _draw_maps(
    score_map: ScoreMap, rows: Sequence[Sequence[_Map]], top: float, labels: Sequence[str]
) -> tuple[list[Mark], float, float]:
    """Panels in rows, labels at the outer ones, and one scale of colours for all of them."""
    shown = np.concatenate([panel.values.ravel() for row in rows for panel in row])
    low, high = float(shown.min()), float(shown.max())
    stops: tuple[str, ...] = ONE_SIGN
    if low < 0 < high:
        high = max(-low, high)
        low, stops = -high, BOTH_SIGNS
    tall, wide = score_map.grid[-2:]
    unit = PANEL / max(tall, wide)
    size = (unit * wide, unit * tall)
    marks: list[Mark] = []
    label = "{}s from query" if score_map.relative else "{} of key"
    heads = 34.0 if any("\n" in panel.title for row in rows for panel in row) else 20.0
    y, right = top, 0.0
    for index, row in enumerate(rows):
        y += heads
        prefix = labels[index].lstrip(", ") if labels else ""
        for column, panel in enumerate(row):
            x = LEFT + column * (max(size[0], 84.0) + GAP)
            marks += _draw_map(panel, (x, y, *size), coloured(panel.values, low, high, stops))
            right = max(right, x + size[0])
            last = index == len(rows) - 1
            marks += _map_ticks(panel, (x, y, *size), left=not column, below=last)
        marks.append(Text(12, y + size[1] / 2, prefix + label.format("row"), "muted", SMALL,
                          "middle", turned=True))  # fmt: skip
        y += size[1] + 4
    marks.append(Text(LEFT + size[0] / 2, y + 28, label.format("column"), "muted", SMALL, "middle"))
    bar = (right + 22, top + heads, 10.0, min(size[1], PANEL))
    marks += _colour_bar(bar, low, high, stops, PLOTTED[score_map.place][0])
    return marks, right + 22 + BAR, y + 36


def _draw_map(
    panel: _Map, box: tuple[float, float, float, float], pixels: NDArray[np.uint8]
) -> list[Mark]:
    x, y, width, height = box
    rows, columns = panel.values.shape
    marks: list[Mark] = [Image(x, y, width, height, pixels)]
    at = (
        x + (panel.query[1] + 0.5) * width / columns,
        y + (panel.query[0] + 0.5) * height / rows,
    )
    # a hollow ring is visible on every colour
    marks.append(Dot(*at, 4.0, "ink", filled=False))
    for index, line in enumerate(panel.title.split("\n")):
        lift = 7 + 13 * (panel.title.count("\n") - index)
        marks.append(Text(x, y - lift, line, "ink" if not index else "muted", SMALL))
    return marks


def _map_ticks(
    panel: _Map, box: tuple[float, float, float, float], *, left: bool, below: bool
) -> list[Mark]:
    """Numbers of tokens at the ends and at the middle of the outer axes."""
    x, y, width, height = box
    marks: list[Mark] = []
    rows, columns = panel.values.shape
    for index in sorted({0, columns // 2, columns - 1}) if below else ():
        at = x + (index + 0.5) * width / columns
        marks.append(Text(at, y + height + 14, str(panel.first[1] + index), "muted", SMALL,
                          "middle"))  # fmt: skip
    for index in sorted({0, rows // 2, rows - 1}) if left else ():
        at = y + (index + 0.5) * height / rows + 4
        marks.append(Text(x - 4, at, str(panel.first[0] + index), "muted", SMALL, "end"))
    return marks


def _colour_bar(
    box: tuple[float, float, float, float],
    low: float,
    high: float,
    stops: tuple[str, ...],
    label: str,
) -> list[Mark]:
    x, y, width, height = box
    ramp = coloured(np.linspace(high, low, 64)[:, None], low, high, stops)
    marks: list[Mark] = [Image(x, y, width, height, ramp)]
    scale = (
        Scale(low, high, y + height, y) if high > low else Scale(low - 1, low + 1, y + height, y)
    )
    ticks = scale.ticks(4)
    for tick, text in zip(ticks, tick_texts(ticks), strict=True):
        marks.append(Text(x + width + 4, scale(tick) + 4, text, "muted", SMALL))
    marks.append(Text(x + width + BAR - 30, y + height / 2, label, "muted", SMALL, "middle",
                      turned=True))  # fmt: skip
    return marks
