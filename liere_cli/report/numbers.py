"""Numbers as text; a table has one unit and number of decimals for its metric."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

    from liere_cli.comparison.tables.table import DatasetTable

NONE = "–"  # noqa: RUF001 - an en dash for "no number"


@dataclass(frozen=True)
class Unit:
    """How a metric is shown.

    Args:
        header: name of the metric with its unit.
        difference: unit of a difference between two values.
        scale: factor from stored to shown values.
    """

    header: str
    difference: str
    scale: float
    decimals: int

    @classmethod
    def of(cls, dataset: DatasetTable) -> Self:
        """Percent for top1; one more decimal than usual where the spread is that small."""
        shares = all(row.mean is None or abs(row.mean) <= 1 for row in dataset.rows)
        if dataset.metric == "top1" and shares:
            header, difference, scale, decimals = "top-1 %", "points", 100.0, 1
        else:
            names = {"bits_per_byte": "bits/byte", "bits_per_token": "bits/token"}
            name = names.get(dataset.metric, dataset.metric)
            header, difference, scale, decimals = name, name, 1.0, 4
        spreads = [row.std * scale for row in dataset.rows if row.std]
        needed = -math.floor(math.log10(min(spreads))) if spreads else decimals
        return cls(header, difference, scale, min(max(needed, decimals), decimals + 1))

    def value(self, value: float | None) -> str:
        return NONE if value is None else f"{value * self.scale:.{self.decimals}f}"

    def signed(self, value: float | None) -> str:
        if value is None:
            return NONE
        # a rounded -0.0 has no sign
        shown = round(value * self.scale, self.decimals) or 0.0
        return f"{shown:+.{self.decimals}f}" if shown else f"{shown:.{self.decimals}f}"

    def spread(self, mean: float | None, std: float | None) -> str:
        """``31.2 ± 0.4``"""
        if mean is None or std is None:
            return self.value(mean)
        return f"{self.value(mean)} ± {self.value(std)}"

    def interval(self, low: float | None, high: float | None) -> str:
        """``[-0.4, +1.2]``"""
        if low is None or high is None:
            return NONE
        return f"[{self.signed(low)}, {self.signed(high)}]"

    def values(self, values: Iterable[float]) -> str:
        return " ".join(self.value(value) for value in values) or NONE


def percent(value: float | None, signed: bool = True) -> str:
    """``+12.3%``"""
    if value is None:
        return NONE
    shown = round(100 * value, 1) or 0.0
    return f"{shown:+.1f}%" if signed and shown else f"{shown:.1f}%"


def probability(p: float | None) -> str:
    """Two significant digits, ``<0.001`` below that."""
    if p is None:
        return NONE
    if p < 0.001:
        return "<0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def count(value: float | None) -> str:
    """``812k``, ``85.6M``"""
    if value is None:
        return NONE
    for limit, factor, suffix in ((999.5, 1, ""), (999.5e3, 1e3, "k"), (999.5e6, 1e6, "M")):
        if value < limit:
            return f"{value / factor:.{0 if value / factor >= 99.95 or not suffix else 1}f}{suffix}"
    return f"{value / 1e9:.1f}G"


def duration(seconds: float | None) -> str:
    """``8.2 s``, ``3m 05s``, ``2h 10m``"""
    if seconds is None:
        return NONE
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m {rest:02d}s" if minutes < 60 else f"{minutes // 60}h {minutes % 60:02d}m"


def throughput(value: float | None, unit: str | None) -> str:
    """``2.6k ex/s``"""
    if value is None:
        return NONE
    short = (unit or "").replace("examples", "ex").replace("tokens", "tok")
    return f"{count(value)} {short}".strip()


def size(count: int) -> str:
    """Bytes as ``312 B``, ``4.5 kB``, ``1.2 GB``"""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"


def age(seconds: float) -> str:
    """``now``, ``5m``, ``3h``, ``12d``"""
    for factor, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= factor:
            return f"{seconds / factor:.0f}{unit}"
    return "now"
