"""Plots as SVG: with a page's colours, which follow its theme, or alone with those of paper."""

import base64
import io
import math
from collections.abc import Callable, Sequence
from html import escape

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
    Paint,
    Point,
    Text,
)

FONT = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif"
Colours = Callable[[Paint], str]


def page_svg(figure: Figure, name: str) -> str:
    """An ``svg`` element for a page; ``name`` is unique in the page.

    Colours are the page's custom properties ``--ink``, ``--series0`` and so on.
    """
    width, height = _number(figure.width), _number(figure.height)
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-labelledby="{name}-title {name}-description">'
        f'<title id="{name}-title">{_text(figure.title)}</title>'
        f'<desc id="{name}-description">{_text(figure.description)}</desc>'
        f"{_marks(figure.marks, lambda paint: f'var(--{paint})')}</svg>"
    )


def standalone_svg(figure: Figure) -> str:
    """A file of its own, in the light colours and in the size that it has on paper."""
    width, height = _number(figure.width), _number(figure.height)
    points = 72 / PIXELS_PER_INCH
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{_number(figure.width * points)}pt" height="{_number(figure.height * points)}pt" '
        f'font-family="{FONT}" role="img">'
        f"<title>{_text(figure.title)}</title><desc>{_text(figure.description)}</desc>"
        f'<rect width="{width}" height="{height}" fill="{PAPER["surface"]}"/>'
        f"{_marks(figure.marks, PAPER.__getitem__)}</svg>\n"
    )


def _marks(marks: Sequence[Mark], colour: Colours) -> str:
    return "".join(_mark(mark, colour) for mark in marks)


def _mark(mark: Mark, colour: Colours) -> str:
    match mark:
        case Line():
            dash = f' stroke-dasharray="{" ".join(map(_number, mark.dash))}"' if mark.dash else ""
            return (
                f'<path d="{_path(mark.points)}" fill="none" stroke="{colour(mark.paint)}" '
                f'stroke-width="{_number(mark.width)}" stroke-linejoin="round"{dash}'
                f"{_opacity(mark.opacity)}/>"
            )
        case Area():
            fill = f'fill="{colour(mark.paint)}"{_opacity(mark.opacity)}'
            return f'<path d="{_path(mark.points)}Z" {fill}/>'
        case Dot():
            return _dot(mark, colour)
        case Image():
            return _image(mark)
        case Text():
            return _line_of_text(mark, colour)


def _dot(dot: Dot, colour: Colours) -> str:
    paint = colour(dot.paint)
    if dot.shape in ("cross", "plus") or not dot.filled:
        fill = "none" if dot.shape in ("cross", "plus") else colour("surface")
        style = f'fill="{fill}" stroke="{paint}" stroke-width="1.5"'
    else:
        style = f'fill="{paint}"'
    style += _opacity(dot.opacity)
    title = f"<title>{_text(dot.label)}</title>" if dot.label else ""
    if dot.shape == "circle":
        place = f'cx="{_number(dot.x)}" cy="{_number(dot.y)}" r="{_number(dot.radius)}"'
        return (
            f"<circle {place} {style}>{title}</circle>" if title else f"<circle {place} {style}/>"
        )
    return f'<path d="{"".join(map(_path_of_strokes, outline(dot)))}" {style}>{title}</path>'


def outline(dot: Dot) -> list[list[Point]]:
    """The strokes of a marker that is no circle; a closed one ends where it begins."""
    x, y, r = dot.x, dot.y, dot.radius
    if dot.shape == "cross":
        return [[(x - r, y - r), (x + r, y + r)], [(x - r, y + r), (x + r, y - r)]]
    if dot.shape == "plus":
        return [[(x - r, y), (x + r, y)], [(x, y - r), (x, y + r)]]
    corners = {"square": (4, math.pi / 4), "diamond": (4, 0.0), "triangle": (3, -math.pi / 2)}
    sides, turn = corners[dot.shape]
    # equal areas style equally large
    reach = r * math.sqrt(2 * math.pi / (sides * math.sin(2 * math.pi / sides)))
    angles = [turn + 2 * math.pi * side / sides for side in range(sides)]
    points = [(x + reach * math.cos(angle), y + reach * math.sin(angle)) for angle in angles]
    return [[*points, points[0]]]


def _image(image: Image) -> str:
    from PIL import Image as Pixels

    content = io.BytesIO()
    Pixels.fromarray(image.pixels).quantize(64, dither=Pixels.Dither.NONE).save(
        content, "png", optimize=True
    )
    place = (
        f'x="{_number(image.x)}" y="{_number(image.y)}" width="{_number(image.width)}" '
        f'height="{_number(image.height)}"'
    )
    data = base64.b64encode(content.getvalue()).decode()
    return (
        f'<image {place} preserveAspectRatio="none" image-rendering="pixelated" '
        f'href="data:image/png;base64,{data}"/>'
    )


def _line_of_text(text: Text, colour: Colours) -> str:
    place = f'x="{_number(text.x)}" y="{_number(text.y)}"'
    turned = f' transform="rotate(-90 {_number(text.x)} {_number(text.y)})"' if text.turned else ""
    anchor = "" if text.anchor == "start" else f' text-anchor="{text.anchor}"'
    bold = ' font-weight="600"' if text.bold else ""
    label = f"<title>{_text(text.label)}</title>" if text.label else ""
    return (
        f'<text {place} font-size="{_number(text.size)}" fill="{colour(text.paint)}"'
        f"{anchor}{bold}{turned}>{label}{_text(text.text)}</text>"
    )


def _path(points: Sequence[Point]) -> str:
    """Absolute coordinates to a tenth of a pixel, without repeated points."""
    shown = [f"{_number(x)} {_number(y)}" for x, y in points]
    kept = [now for before, now in zip(["", *shown], shown, strict=False) if now != before]
    return "M" + "L".join(kept)


def _path_of_strokes(points: Sequence[Point]) -> str:
    return _path(points) + "Z" * (points[0] == points[-1])


def _opacity(opacity: float) -> str:
    return "" if opacity >= 1 else f' opacity="{opacity:g}"'


def _number(value: float) -> str:
    """At most one decimal, without trailing zeros."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def _text(text: str) -> str:
    return escape(plain(text), quote=True)
