"""Intervals of differences as bars of characters, all of a data set on one scale."""

from collections.abc import Iterable
from dataclasses import dataclass

from liere_cli.comparison.tables.table import DatasetTable, Row
from liere_cli.report.formats.glyphs import Glyphs


@dataclass(frozen=True)
class Scale:
    """A scale of ``width`` characters.

    Args:
        low, high: differences at its first and last character.
        margin: the smallest difference that matters, which is marked on both sides of zero.
    """

    low: float
    high: float
    width: int
    margin: float | None = None

    @classmethod
    def of(cls, dataset: DatasetTable, width: int) -> "Scale | None":
        """A scale with zero, the margin and all intervals of a data set; None without any."""
        ends = [end for row in dataset.rows for end in _ends(row)]
        if not ends or width < 3:
            return None
        margins = [] if dataset.margin is None else [dataset.margin, -dataset.margin]
        low, high = min(0.0, *ends, *margins), max(0.0, *ends, *margins)
        if high - low == 0:
            low, high = -1.0, 1.0
        return cls(low, high, width, dataset.margin)

    def column(self, difference: float) -> int:
        share = (difference - self.low) / (self.high - self.low)
        return min(max(round(share * (self.width - 1)), 0), self.width - 1)

    def bar(self, row: Row, glyphs: Glyphs) -> str:
        """The interval of a row's difference, its mean, and zero; only the scale without one."""
        cells = [" "] * self.width
        ends = [self.column(end) for end in _ends(row)]
        if ends:
            cells[min(ends) : max(ends) + 1] = glyphs.line * (max(ends) - min(ends) + 1)
        if self.margin is not None:
            for margin in (-self.margin, self.margin):
                cells[self.column(margin)] = glyphs.margin
        zero = self.column(0.0)
        inside = ends and min(ends) <= zero <= max(ends) and min(ends) < max(ends)
        cells[zero] = glyphs.crossing if inside else glyphs.zero
        if row.estimate is not None:
            cells[self.column(row.estimate.difference)] = glyphs.point
        return "".join(cells)


def _ends(row: Row) -> Iterable[float]:
    """The ends of a row's interval and its difference, where it has them."""
    if row.verdict is None or row.estimate is None:
        return ()
    ends = (row.verdict.low, row.estimate.difference, row.verdict.high)
    return tuple(end for end in ends if end is not None)
