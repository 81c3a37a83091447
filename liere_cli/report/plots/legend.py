"""Legends: samples of lines with names, in rows above a plot."""

from collections.abc import Mapping, Sequence

from liere_cli.report.plots.colours import Style
from liere_cli.report.plots.scene import SMALL, Dot, Line, Mark, Text, cut, text_width

#: height of a row of a legend in pixels, and length of a sample
HEIGHT, SAMPLE = 18.0, 22.0


def legend(
    styles: Mapping[str, Style], left: float, top: float, right: float
) -> tuple[list[Mark], float]:
    """Marks of a legend between ``left`` and ``right``, and where it ends below ``top``."""
    marks: list[Mark] = []
    x, y = left, top + HEIGHT / 2
    for name, style in styles.items():
        text = cut(name, min(160.0, right - left - SAMPLE - 6), SMALL)
        width = SAMPLE + 6 + text_width(text, SMALL) + 16
        if x > left and x + width - 16 > right:
            x, y = left, y + HEIGHT
        marks.append(Line([(x, y), (x + SAMPLE, y)], style.paint, 2.0, style.dash))
        marks.append(Dot(x + SAMPLE / 2, y, 3.5, style.paint, style.shape))
        shown = "" if text == name else name
        marks.append(Text(x + SAMPLE + 6, y + 4, text, "ink", SMALL, label=shown))
        x += width
    return marks, y + HEIGHT / 2


def shown_looks(names: Sequence[str], styles: Mapping[str, Style]) -> dict[str, Style]:
    """The styles of those names, in their order, each once."""
    return {name: styles[name] for name in names}
