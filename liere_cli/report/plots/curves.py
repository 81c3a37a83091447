"""Plots of curves over one axis: learning curves, scores over length, resolution or data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from liere_cli.report.plots.axes import Axes
from liere_cli.report.plots.colours import Style
from liere_cli.report.plots.legend import legend, shown_looks
from liere_cli.report.plots.scale import Scale, tick_texts
from liere_cli.report.plots.scene import COLUMN, SMALL, Figure, Mark, text_width
from liere_cli.statistics.samples import Array

#: height of the axes, and of what is above and below them, in pixels
PLOT, ABOVE, BELOW = 188.0, 24.0, 46.0
#: points of a mean and its band, and markers on the mean
POINTS, MARKERS = 60, 4


@dataclass(frozen=True)
class Curve:
    """One run: ``x`` and ``y`` [k], x increasing; ``diverged`` marks its end with a cross."""

    encoding: str
    seed: int
    x: Array
    y: Array
    diverged: bool = False


def learning_curves(
    curves: Sequence[Curve],
    styles: Mapping[str, Style],
    *,
    title: str,
    x_label: str,
    y_label: str,
    description: str,
    width: float = COLUMN,
) -> Figure:
    """A thin line per run; per encoding a thick one for the mean, and a band over all its runs.

    The scale is that of the runs that did not diverge; curves beyond it run along its edge.
    """
    shown = [curve for curve in curves if curve.x.size]
    names = list(dict.fromkeys(curve.encoding for curve in shown))
    marks, top = legend(shown_looks(names, styles), 8.0, 2.0, width - 8)
    scaled = [curve for curve in shown if not curve.diverged] or shown
    values = np.concatenate([curve.y for curve in scaled])
    axes = _axes(
        Scale.over([float(value) for curve in shown for value in curve.x[[0, -1]]], 0, 1,
                   padding=0.0),
        Scale.over([float(values.min()), float(values.max())], 0, 1, padding=0.04),
        top, width,
    )  # fmt: skip
    axes.y_axis(y_label)
    axes.x_axis(x_label)
    axes.baseline()
    by_name = {name: [curve for curve in shown if curve.encoding == name] for name in names}
    means = {name: _mean([c for c in members if not c.diverged], axes.x.high - axes.x.low)
             for name, members in by_name.items()}  # fmt: skip
    for name, mean in means.items():
        if mean is not None and mean.runs > 1:
            axes.band(mean.x, mean.low, mean.high, styles[name].paint, 0.1)
    faint = max(0.12, min(0.5, 3 / max(map(len, by_name.values()))))
    for curve in shown:
        paint = styles[curve.encoding].paint
        axes.line(zip(curve.x, curve.y, strict=True), paint, 0.8, opacity=faint)
        if curve.diverged:
            end = (float(curve.x[-1]), float(curve.y[-1]))
            axes.dot(*end, 4, paint, "cross",
                     label=f"{curve.encoding}, seed {curve.seed}: diverged")  # fmt: skip
    for name, mean in means.items():
        if mean is not None:
            style = styles[name]
            axes.line(zip(mean.x, mean.mean, strict=True), style.paint, 2.0, style.dash)
            shift = (names.index(name) + 0.5) / (len(names) * MARKERS)
            for marker in range(MARKERS):
                part = marker / MARKERS + shift
                at = mean.x[0] + part * (mean.x[-1] - mean.x[0])
                height = float(np.interp(at, mean.x, mean.mean))
                axes.dot(at, height, 3.5, style.paint, style.shape)
    return _figure(axes, marks, title, description, width)


@dataclass(frozen=True)
class _Mean:
    """Mean, lowest and highest value of several runs at the same places."""

    runs: int
    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def _mean(curves: Sequence[Curve], extent: float) -> _Mean | None:
    """Over the range that all runs have; None where that is empty."""
    if not curves:
        return None
    first, last = max(curve.x[0] for curve in curves), min(curve.x[-1] for curve in curves)
    if last < first:
        return None
    count = max(2, round(POINTS * (last - first) / extent)) if extent > 0 else 2
    longest = max(curve.x.size for curve in curves)
    same = all(np.array_equal(curve.x, curves[0].x) for curve in curves)
    x = curves[0].x if same and longest <= 2 * POINTS else np.linspace(first, last, count)
    values = np.stack([np.interp(x, curve.x, curve.y) for curve in curves])
    return _Mean(
        len(curves), x.tolist(), values.mean(axis=0).tolist(), values.min(axis=0).tolist(),
        values.max(axis=0).tolist(),
    )  # fmt: skip


@dataclass(frozen=True)
class Series:
    """Scores of one encoding over an axis: at each place the values of all seeds."""

    label: str
    style: Style
    points: Sequence[tuple[float, Sequence[float]]]


def over_places(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    description: str,
    ticks: Sequence[tuple[float, str]],
    reference: float | None = None,
    width: float = COLUMN,
) -> Figure:
    """Mean scores over a logarithmic axis, with a band from the lowest to the highest seed.

    ``reference`` is a place that a line marks, such as the grid of training.
    """
    marks, top = legend({part.label: part.style for part in series}, 8.0, 2.0, width - 8)
    values = [value for part in series for _, scores in part.points for value in scores]
    places = [place for place, _ in ticks]
    axes = _axes(
        Scale.over(places, 0, 1, log=True), Scale.over(values, 0, 1, padding=0.06), top, width
    )
    axes.y_axis(y_label)
    if reference is not None:
        axes.line([(reference, axes.y.low), (reference, axes.y.high)], "muted", 1.0, (3, 3))
    axes.x_axis(x_label, ticks=places, texts=[text for _, text in ticks])
    axes.baseline()
    for part in series:
        x = [place for place, _ in part.points]
        if any(len(scores) > 1 for _, scores in part.points):
            low, high = ([end(scores) for _, scores in part.points] for end in (min, max))
            axes.band(x, low, high, part.style.paint, 0.1)
    for part in series:
        means = [(place, sum(scores) / len(scores)) for place, scores in part.points]
        axes.line(means, part.style.paint, 2.0, part.style.dash)
        for place, mean in means:
            axes.dot(place, mean, 3.5, part.style.paint, part.style.shape,
                     label=f"{part.label}, {mean:.6g}")  # fmt: skip
    return _figure(axes, marks, title, description, width)


def _axes(x: Scale, y: Scale, top: float, width: float) -> Axes:
    """The scales placed below a legend that ends at ``top``, beside the numbers of the axis."""
    numbers = tick_texts(y.ticks(5))
    left = 14 + max([text_width(text, SMALL) for text in numbers] or [20.0])
    start = top + ABOVE
    return Axes(
        Scale(x.low, x.high, left, width - 14, x.log), Scale(y.low, y.high, start + PLOT, start)
    )


def _figure(
    axes: Axes, marks: Sequence[Mark], title: str, description: str, width: float
) -> Figure:
    return Figure(width, axes.bottom + BELOW, (*marks, *axes.marks), title, description)
