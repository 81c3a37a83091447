"""Plots as files: .svg without further packages, .png and .pdf by matplotlib.

Equal plots are equal files: none holds the time of day.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liere_cli.errors import LiereError, UsageError
from liere_cli.report.escape import plain
from liere_cli.report.plots.colours import PAPER
from liere_cli.report.plots.scene import (
    PIXELS_PER_INCH,
    Area,
    Dot,
    Figure,
    Image,
    Line,
    Mark,
    Point,
    Text,
)
from liere_cli.report.plots.svg import outline, standalone_svg
from liere_cli.utils.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: metadata that would name the time of day, by suffix
FORMATS: dict[str, dict[str, None]] = {".png": {}, ".svg": {}, ".pdf": {"CreationDate": None}}
#: text stays text, in a font that the file embeds; Any: matplotlib's types differ by version
_STYLE: Any = {
    "pdf.fonttype": 42, "savefig.dpi": 300, "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"], "text.parse_math": False,
}  # fmt: skip
#: points of a pixel on paper
_POINTS = 72 / PIXELS_PER_INCH


def check_plot_path(path: Path) -> None:
    """Raises UsageError for a suffix of no known format, LiereError without matplotlib."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        described = f"ends in '{path.suffix}'" if path.suffix else "has no suffix"
        raise UsageError(f"--plot {path} {described}; allowed are {', '.join(FORMATS)}")
    if suffix == ".svg":
        return
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise LiereError(
            f"{path} needs matplotlib to be drawn: pip install 'liere[report]' (.svg does not)"
        ) from None


def save(figure: Figure, path: Path) -> None:
    """Writes a plot atomically, in the format of the suffix; LiereError if it can't be."""
    check_plot_path(path)
    if path.suffix.lower() == ".svg":
        write_atomically(path, standalone_svg(figure))
        return
    write_atomically(path, _by_matplotlib(figure, path.suffix.lower()))


def _by_matplotlib(figure: Figure, suffix: str) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    size = (figure.width / PIXELS_PER_INCH, figure.height / PIXELS_PER_INCH)
    content = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        canvas = Canvas(figsize=size, facecolor=PAPER["surface"])
        axes = canvas.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        for order, mark in enumerate(figure.marks):
            _draw(axes, mark, order)
        axes.set_xlim(0, figure.width)
        axes.set_ylim(figure.height, 0)
        axes.set_aspect("auto")
        canvas.savefig(content, format=suffix[1:], metadata=FORMATS[suffix] or None)
    return content.getvalue()


def _draw(axes: "Axes", mark: Mark, order: int) -> None:
    """Draws a mark above those before it."""
    match mark:
        case Line():
            _stroke(axes, mark.points, mark.paint, mark.width, order, mark.dash, mark.opacity)
        case Area():
            from matplotlib.patches import Polygon

            style: dict[str, Any] = {"alpha": mark.opacity, "linewidth": 0, "zorder": order}
            axes.add_patch(Polygon(mark.points, facecolor=PAPER[mark.paint], **style))
        case Dot():
            _dot(axes, mark, order)
        case Image():
            extent = (mark.x, mark.x + mark.width, mark.y + mark.height, mark.y)
            axes.imshow(mark.pixels, extent=extent, interpolation="nearest", zorder=order)
        case Text():
            axes.text(
                mark.x, mark.y, plain(mark.text), color=PAPER[mark.paint],
                fontsize=mark.size * _POINTS, zorder=order, verticalalignment="baseline",
                horizontalalignment={"start": "left", "middle": "center", "end": "right"}[
                    mark.anchor
                ],
                fontweight="bold" if mark.bold else "normal",
                rotation=90 if mark.turned else 0, rotation_mode="anchor",
            )  # fmt: skip


def _dot(axes: "Axes", dot: Dot, order: int) -> None:
    from matplotlib.patches import Circle, Polygon

    strokes = dot.shape in ("cross", "plus")
    if strokes:
        for points in outline(dot):
            _stroke(axes, points, dot.paint, 1.5, order, (), dot.opacity)
        return
    fill = PAPER[dot.paint if dot.filled else "surface"]
    edge = 0.0 if dot.filled else 1.5 * _POINTS
    style: dict[str, Any] = {
        "facecolor": fill, "edgecolor": PAPER[dot.paint], "linewidth": edge,
        "alpha": dot.opacity, "zorder": order,
    }  # fmt: skip
    if dot.shape == "circle":
        axes.add_patch(Circle((dot.x, dot.y), dot.radius, **style))
    else:
        axes.add_patch(Polygon(outline(dot)[0], **style))


def _stroke(
    axes: "Axes",
    points: Sequence[Point],
    paint: str,
    width: float,
    order: int,
    dash: tuple[float, ...],
    opacity: float,
) -> None:
    from matplotlib.lines import Line2D

    x, y = zip(*points, strict=True)
    line = Line2D(
        x, y, color=PAPER[paint], linewidth=width * _POINTS, alpha=opacity, zorder=order,
        solid_capstyle="butt",
    )  # fmt: skip
    if dash:
        line.set_dashes([length / width for length in dash])
    axes.add_artist(line)
