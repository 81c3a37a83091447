"""Plots of one line per encoding: estimates with intervals, and the scores of every seed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from liere_cli.report.plots.axes import Axes
from liere_cli.report.plots.colours import Style
from liere_cli.report.plots.scale import Scale
from liere_cli.report.plots.scene import COLUMN, SMALL, Area, Figure, Line, Text, cut, text_width

#: height of a row, of the head with its labels, and of the axis below, in pixels
ROW, HEAD, FOOT = 30.0, 26.0, 46.0
#: widest label, in pixels
WIDEST = 132.0
#: dots of single seeds are drawn smaller, the more there are
MANY = 12


@dataclass(frozen=True)
class Estimate:
    """One row: an estimate with its interval, in the unit of the axis.

    Args:
        label: at the left.
        value, low, high: None where there is no estimate or interval.
        seeds: the values of single seeds, each with the text that names it.
        words: at the right, such as a verdict.
        faint: drawn as a hollow marker: no verdict distinguishes it from the reference.
    """

    label: str
    value: float | None
    low: float | None
    high: float | None
    style: Style
    seeds: Sequence[tuple[str, float]] = ()
    words: str = ""
    faint: bool = False


def estimates(
    rows: Sequence[Estimate],
    *,
    title: str,
    axis: str,
    description: str,
    reference: float = 0.0,
    sides: tuple[str, str] = ("", ""),
    log: bool = False,
    margin: float | None = None,
    width: float = COLUMN,
) -> Figure:
    """A forest plot: a marker, an interval and a dot for every seed, beside a reference line.

    ``sides`` name the directions to the left and to the right of the reference; differences
    within the ``margin`` around it are shaded.
    """
    left = min(max([text_width(row.label) for row in rows] or [0.0]), WIDEST) + 24
    right = (
        width
        - 12
        - min(
            max([text_width(row.words, SMALL) for row in rows if row.value is not None] or [0.0]),
            96,
        )
    )
    x = Scale.over([reference, *_extent(rows)], left, right, log=log, padding=0.06)
    bottom = HEAD + ROW * len(rows)
    axes = Axes(x, Scale(0, 1, bottom, HEAD))
    axes.x_axis(axis, signed=not log, grid=True)
    at = x(reference)
    if margin is not None:
        low, high = x(reference - margin), x(reference + margin)
        corners = [(low, HEAD), (high, HEAD), (high, bottom), (low, bottom)]
        axes.marks.insert(0, Area(corners, "grid", 0.6))
    axes.marks.append(Line([(at, HEAD - 4), (at, bottom)], "ink", 1.0))
    for text, anchor, place in ((sides[0], "end", at - 8), (sides[1], "start", at + 8)):
        if text and (text_width(text, SMALL) < (at - left if anchor == "end" else width - at)):
            axes.marks.append(Text(place, HEAD - 9, text, "muted", SMALL, anchor))  # type: ignore[arg-type]
    for index, row in enumerate(rows):
        _estimate(axes, row, HEAD + ROW * (index + 0.5), left, right)
    return Figure(width, bottom + FOOT, tuple(axes.marks), title, description)


def _extent(rows: Sequence[Estimate]) -> list[float]:
    ends = [end for row in rows for end in (row.value, row.low, row.high) if end is not None]
    return ends + [value for row in rows for _, value in row.seeds]


def _estimate(axes: Axes, row: Estimate, y: float, left: float, right: float) -> None:
    label = cut(row.label, left - 20)
    axes.marks.append(
        Text(left - 12, y + 4, label, anchor="end", label="" if label == row.label else row.label)
    )
    if row.value is None:
        axes.marks.append(Text(left + 8, y + 4, row.words or "no estimate", "muted", SMALL))
    elif row.words:
        axes.marks.append(Text(right + 8, y + 4, cut(row.words, 98, SMALL), "muted", SMALL))
    axes.y = Scale(y - 1, y + 1, y - 1, y + 1)
    size = 3.0 if len(row.seeds) <= MANY else 2.0
    for name, value in row.seeds:
        axes.dot(value, y + 8, size, row.style.paint, opacity=0.5, label=name)
    if row.value is None:
        return
    line = y - 4 if row.seeds else y
    if row.low is not None and row.high is not None:
        axes.line([(row.low, line), (row.high, line)], row.style.paint, 2.5)
        for end in (row.low, row.high):
            cap = axes.x(end)
            axes.marks.append(Line([(cap, line - 4), (cap, line + 4)], row.style.paint, 1.5))
    axes.dot(
        row.value, line, 4.5, row.style.paint, row.style.shape, filled=not row.faint,
        label=f"{row.label}: {row.words}".rstrip(": "),
    )  # fmt: skip


@dataclass(frozen=True)
class Scores:
    """The scores of one encoding by seed, in the unit of the axis."""

    label: str
    by_seed: Mapping[int, float]
    mean: float | None
    style: Style


def paired_scores(
    rows: Sequence[Scores], *, title: str, axis: str, description: str, width: float = COLUMN
) -> Figure:
    """A dot for the score of every seed; a line joins the scores of one seed."""
    left = min(max([text_width(row.label) for row in rows] or [0.0]), WIDEST) + 24
    values = [value for row in rows for value in row.by_seed.values()]
    x = Scale.over(values, left, width - 16, padding=0.06)
    bottom = HEAD + ROW * len(rows)
    axes = Axes(x, Scale(0, 1, bottom, HEAD))
    axes.x_axis(axis, grid=True)
    middles = [HEAD + ROW * (index + 0.5) for index in range(len(rows))]
    seeds = sorted({seed for row in rows for seed in row.by_seed})
    crowd = max(len(seeds), 1)
    for seed in seeds:
        joined = [
            (x(row.by_seed[seed]), y)
            for row, y in zip(rows, middles, strict=True)
            if seed in row.by_seed
        ]
        if len(joined) > 1:
            opacity = min(0.7, max(0.15, 3 / crowd))
            axes.marks.append(Line(joined, "muted", 0.9, opacity=opacity))
    size = 4.0 if crowd <= MANY else 2.5
    for row, y in zip(rows, middles, strict=True):
        label = cut(row.label, left - 20)
        hidden = "" if label == row.label else row.label
        axes.marks.append(Text(left - 12, y + 4, label, anchor="end", label=hidden))
        axes.y = Scale(y - 1, y + 1, y - 1, y + 1)
        for seed, value in sorted(row.by_seed.items()):
            name = f"{row.label}, seed {seed}: {value:.6g}"
            axes.dot(value, y, size, row.style.paint, opacity=0.85, label=name)
        if row.mean is not None and math.isfinite(row.mean):
            at = x(row.mean)
            axes.marks.append(Line([(at, y - 9), (at, y + 9)], "ink", 2.0))
    return Figure(width, bottom + FOOT, tuple(axes.marks), title, description)


def shares(
    rows: Sequence[tuple[str, float, float, float, Style]],
    *,
    title: str,
    axis: str,
    description: str,
    width: float = COLUMN,
) -> Figure:
    """Bars to the left and to the right of zero: label, share lost, equal and won, and colours."""
    left = min(max([text_width(row[0]) for row in rows] or [0.0]), WIDEST) + 24
    most = max([max(lost, won) for _, lost, _, won, _ in rows] or [0.01])
    x = Scale.over([-most, most, 0.0], left, width - 16, padding=0.16)
    bottom = HEAD + ROW * len(rows)
    axes = Axes(x, Scale(0, 1, bottom, HEAD))
    ticks = x.ticks(5)
    axes.x_axis(axis, ticks=ticks, texts=[f"{abs(tick):.4g}" for tick in ticks], grid=True)
    zero = x(0.0)
    for text, anchor, place in (("lost", "end", zero - 8), ("won", "start", zero + 8)):
        axes.marks.append(Text(place, HEAD - 9, text, "muted", SMALL, anchor))  # type: ignore[arg-type]
    for index, (label, lost, _, won, style) in enumerate(rows):
        y = HEAD + ROW * (index + 0.5)
        shown = cut(label, left - 20)
        axes.marks.append(
            Text(left - 12, y + 4, shown, anchor="end", label="" if shown == label else label)
        )
        for end in (-lost, won):
            tip = x(end)
            axes.marks.append(Line([(zero, y), (tip, y)], style.paint, 12, opacity=0.85))
            side = "end" if end < 0 else "start"
            place = tip - 4 if end < 0 else tip + 4
            axes.marks.append(Text(place, y + 4, f"{abs(end):.1f}", "muted", SMALL, side))  # type: ignore[arg-type]
    axes.marks.append(Line([(zero, HEAD - 4), (zero, bottom)], "ink", 1.0))
    return Figure(width, bottom + FOOT, tuple(axes.marks), title, description)
