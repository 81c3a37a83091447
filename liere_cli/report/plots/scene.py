"""What a plot consists of: marks at coordinates, which every output format draws alike.

Plots are laid out once, in pixels, as a list of marks. :mod:`liere_cli.report.plots.svg` writes
them as SVG, :mod:`liere_cli.report.plots.files` as PNG and PDF too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: pixels of an inch on paper: a plot of 420 pixels is as wide as a column, its text 7 points high
PIXELS_PER_INCH = 128
#: width of a plot that fits a column of a paper or a phone's screen
COLUMN = 420.0
#: font sizes in pixels
TEXT, SMALL = 12.0, 11.0

#: an entry of a palette: ``ink``, ``muted``, ``grid``, ``surface``, or ``series0`` and so on
Paint: TypeAlias = str
Point: TypeAlias = tuple[float, float]
Shape: TypeAlias = Literal["circle", "square", "diamond", "triangle", "cross", "plus"]


@dataclass(frozen=True)
class Line:
    """A polyline; ``dash`` holds lengths of strokes and gaps in pixels."""

    points: Sequence[Point]
    paint: Paint
    width: float = 1.0
    dash: tuple[float, ...] = ()
    opacity: float = 1.0


@dataclass(frozen=True)
class Area:
    """A filled polygon."""

    points: Sequence[Point]
    paint: Paint
    opacity: float = 1.0


@dataclass(frozen=True)
class Dot:
    """A marker of ``radius`` pixels; ``label`` is shown where a reader points at it."""

    x: float
    y: float
    radius: float
    paint: Paint
    shape: Shape = "circle"
    filled: bool = True
    opacity: float = 1.0
    label: str = ""


@dataclass(frozen=True)
class Text:
    """A line of text; ``y`` is its baseline, ``turned`` reads upwards; ``label`` as of a dot."""

    x: float
    y: float
    text: str
    paint: Paint = "ink"
    size: float = TEXT
    anchor: Literal["start", "middle", "end"] = "start"
    bold: bool = False
    turned: bool = False
    label: str = ""


@dataclass(frozen=True)
class Image:
    """Pixels [rows, columns, 3] uint8, drawn without smoothing into a rectangle."""

    x: float
    y: float
    width: float
    height: float
    pixels: NDArray[np.uint8]


Mark: TypeAlias = Line | Area | Dot | Text | Image


@dataclass(frozen=True)
class Figure:
    """A plot.

    Args:
        width, height: in pixels.
        title: what is plotted, for a heading or a list.
        description: what it shows, for readers who do not see it.
        note: how to read it, below the plot.
    """

    width: float
    height: float
    marks: tuple[Mark, ...]
    title: str
    description: str
    note: str = ""


def text_width(text: str, size: float = TEXT) -> float:
    """The estimated width of a line of sans-serif text, in pixels; fonts differ by some percent."""
    return size * sum(map(_units, text))


def _units(char: str) -> float:
    """The width of a character in DejaVu Sans, which is wide, in units of the font's size."""
    if char in "iljI.,:;'|![]()/ ":
        return 0.36
    if char in "mwMW%@<>=+~#^" or ord(char) > 0x2E80:
        return 1.0 if char in "mMW%@" or ord(char) > 0x2E80 else 0.84
    return 0.72 if char.isupper() else 0.64


def cut(text: str, width: float, size: float = TEXT) -> str:
    """The text, or its beginning with an ellipsis, so that it fits the width in pixels."""
    if text_width(text[:1000], size) <= width:
        return text
    kept = text[:1000]
    while kept and text_width(kept + "…", size) > width:
        kept = kept[:-1]
    return kept + "…"
