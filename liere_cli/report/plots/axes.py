"""A pair of axes: frame, ticks, labels, and marks in the axes' own numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from liere_cli.report.plots.scale import Scale, tick_texts
from liere_cli.report.plots.scene import SMALL, Area, Dot, Line, Mark, Paint, Shape, Text

#: pixels between an axis and the text of its ticks
GAP = 5.0


@dataclass
class Axes:
    """Collects marks; ``x`` and ``y`` are scales in pixels, y from bottom to top."""

    x: Scale
    y: Scale
    marks: list[Mark] = field(default_factory=list)

    @property
    def left(self) -> float:
        return min(self.x.start, self.x.end)

    @property
    def right(self) -> float:
        return max(self.x.start, self.x.end)

    @property
    def top(self) -> float:
        return min(self.y.start, self.y.end)

    @property
    def bottom(self) -> float:
        return max(self.y.start, self.y.end)

    def x_axis(
        self,
        label: str,
        *,
        ticks: Sequence[float] | None = None,
        texts: Sequence[str] | None = None,
        signed: bool = False,
        grid: bool = False,
    ) -> None:
        """Ticks that don't overlap, and a label in the middle below them."""
        ticks = self.x.ticks(5) if ticks is None else ticks
        shown = texts or tick_texts(ticks, signed)
        last = float("-inf")
        for tick, text in zip(ticks, shown, strict=True):
            x = self.x(tick)
            if grid:
                self.marks.append(Line([(x, self.top), (x, self.bottom)], "grid"))
            else:
                self.marks.append(Line([(x, self.bottom), (x, self.bottom + 3)], "muted"))
            half = 3.3 * len(text)
            if x - half > last:
                place = (x, self.bottom + GAP + SMALL)
                self.marks.append(Text(*place, text, "muted", SMALL, "middle"))
                last = x + half + 4
        middle = (self.left + self.right) / 2
        self.marks.append(
            Text(middle, self.bottom + GAP + 2.5 * SMALL, label, "muted", SMALL, "middle")
        )

    def y_axis(self, label: str) -> None:
        """Horizontal grid lines with their numbers, and a label above the first."""
        ticks = self.y.ticks(5)
        for tick, text in zip(ticks, tick_texts(ticks), strict=True):
            y = self.y(tick)
            self.marks.append(Line([(self.left, y), (self.right, y)], "grid"))
            self.marks.append(Text(self.left - GAP, y + 4, text, "muted", SMALL, "end"))
        if label:
            self.marks.append(Text(self.left, self.top - 8, label, "muted", SMALL))

    def baseline(self) -> None:
        """The line below the plot."""
        self.marks.append(Line([(self.left, self.bottom), (self.right, self.bottom)], "muted"))

    def line(
        self,
        points: Iterable[tuple[float, float]],
        paint: Paint,
        width: float = 1.0,
        dash: tuple[float, ...] = (),
        opacity: float = 1.0,
    ) -> None:
        placed = [(self.x(x), self.y(y)) for x, y in points]
        self.marks.append(Line(placed, paint, width, dash, opacity))

    def band(
        self,
        x: Sequence[float],
        low: Sequence[float],
        high: Sequence[float],
        paint: Paint,
        opacity: float = 0.15,
    ) -> None:
        upper = [(self.x(at), self.y(value)) for at, value in zip(x, high, strict=True)]
        lower = [(self.x(at), self.y(value)) for at, value in zip(x, low, strict=True)]
        self.marks.append(Area([*upper, *reversed(lower)], paint, opacity))

    def dot(
        self, x: float, y: float, radius: float, paint: Paint, shape: Shape = "circle",
        *, filled: bool = True, opacity: float = 1.0, label: str = "",
    ) -> None:  # fmt: skip
        self.marks.append(Dot(self.x(x), self.y(y), radius, paint, shape, filled, opacity, label))
