"""One colour and marker per encoding, in every plot, on light and on dark ground.

The first eight colours differ for readers with protanopia, deuteranopia and tritanopia too, and all
have a contrast of about 3 : 1 or more to the ground. Markers repeat what colours say.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liere_cli.report.plots.scene import Paint, Shape

#: text, lines and ground of paper and of a light page
PAPER: Mapping[Paint, str] = {
    "ink": "#1b1f24", "muted": "#59636e", "grid": "#e2e6ea", "surface": "#ffffff",
    "series0": "#0a66c8", "series1": "#c23b00", "series2": "#14ae7a", "series3": "#db6ab8",
    "series4": "#be9200", "series5": "#0b2e63", "series6": "#6a6a6a", "series7": "#4a1500",
    "series8": "#4b3fa8", "series9": "#7a8c00",
}  # fmt: skip
#: the same on a dark page
DARK: Mapping[Paint, str] = {
    "ink": "#e8eaed", "muted": "#9aa4b0", "grid": "#2b323b", "surface": "#14171c",
    "series0": "#4b8dff", "series1": "#ff8436", "series2": "#2fc08a", "series3": "#d965ba",
    "series4": "#ffe27a", "series5": "#4ecbff", "series6": "#b9bdc4", "series7": "#946a45",
    "series8": "#9a8cff", "series9": "#c3dd5a",
}  # fmt: skip
#: number of colours before they repeat
SERIES = 10
#: the colours of encodings that many comparisons have, so that they are the same in all of them
_USUAL = {
    "rope": 0, "liere": 1, "rope-mixed": 2, "absolute": 3, "alibi": 4, "axial": 5, "none": 6,
    "sinusoidal": 7,
}  # fmt: skip
_SHAPES: tuple[Shape, ...] = ("circle", "square", "diamond", "triangle")
_DASHES: tuple[tuple[float, ...], ...] = ((), (6.0, 3.0), (2.0, 2.0), (8.0, 2.0, 2.0, 2.0))


@dataclass(frozen=True)
class Style:
    """How an encoding is drawn."""

    paint: Paint
    shape: Shape
    dash: tuple[float, ...]


def styles(encodings: Iterable[str]) -> dict[str, Style]:
    """The colour, marker and dash of each encoding of a comparison, in the order of its tables.

    An encoding that many comparisons have keeps its colour in all of them; where only variants of
    it are compared, the first does. Others take the free colours in order; after ten, colours
    repeat with another marker and dash.
    """
    names = list(dict.fromkeys(encodings))
    numbers = {name: _USUAL[name] for name in names if name in _USUAL}
    for name in names:
        number = _USUAL.get(name.partition(":")[0])
        if number is not None and name not in numbers and number not in numbers.values():
            numbers[name] = number
    free = (number for number in range(SERIES + len(names)) if number not in numbers.values())
    taken = dict(numbers)
    for name in names:
        if name not in taken:
            taken[name] = next(free)
    return {name: _look(taken[name]) for name in names}


def _look(number: int) -> Style:
    again = number // SERIES
    shape = _SHAPES[(number + again) % len(_SHAPES)]
    return Style(f"series{number % SERIES}", shape, _DASHES[again % len(_DASHES)])


#: ColorBrewer's RdBu (Brewer 2003), white at zero, and matplotlib's cividis (Nuñez et al. 2018)
BOTH_SIGNS = (
    "#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7", "#fddbc7", "#f4a582",
    "#d6604d", "#b2182b", "#67001f",
)  # fmt: skip
ONE_SIGN = (
    "#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369",
    "#e1cc55", "#fee838",
)  # fmt: skip


def coloured(
    values: NDArray[np.floating], low: float, high: float, stops: tuple[str, ...]
) -> NDArray[np.uint8]:
    """Values as pixels [..., 3], interpolated between evenly spaced colours over [low, high]."""
    table = np.array(
        [[int(stop[index : index + 2], 16) for index in (1, 3, 5)] for stop in stops], dtype=float
    )
    spread = (high - low) or 1.0
    at = np.clip((np.asarray(values, dtype=np.float64) - low) / spread, 0, 1) * (len(stops) - 1)
    channels = [np.interp(at, np.arange(len(stops)), table[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)
