"""Scales from numbers to pixels, and their ticks."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic map of ``[low, high]`` to pixels ``[start, end]``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def over(
        cls,
        values: Iterable[float],
        start: float,
        end: float,
        *,
        log: bool = False,
        padding: float = 0.05,
    ) -> Self:
        """A scale that covers the finite ones of the values; any if there are none."""
        finite = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
        low, high = (min(finite), max(finite)) if finite else (1.0, 2.0)
        if log:
            low, high = math.log(low), math.log(high)
        if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
            half = abs(low) * 0.05 or 0.5
            low, high = low - half, high + half
        margin = padding * (high - low)
        low, high = low - margin, high + margin
        return (
            cls(math.exp(low), math.exp(high), start, end, log)
            if log
            else cls(low, high, start, end)
        )

    def __call__(self, value: float) -> float:
        """The pixel of a value; values outside the scale lie at its ends."""
        low, high = self.low, self.high
        value = min(max(value, low), high)
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def covers(self, value: float) -> bool:
        return self.low <= value <= self.high

    def ticks(self, most: int = 5) -> list[float]:
        """At most about that many round numbers on the scale."""
        if self.log:
            return self._log_ticks(most)
        step = nice_step((self.high - self.low) / max(most, 1))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def _log_ticks(self, most: int) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        for factors in ((1, 2, 5), (1, 3), (1,)):
            ticks = [
                factor * 10.0**power
                for power in range(first, last + 1)
                for factor in factors
                if self.covers(factor * 10.0**power)
            ]
            if len(ticks) <= most:
                break
        if len(ticks) < 2:  # less than a factor of 2 or so: linear ticks
            return [tick for tick in Scale(self.low, self.high, 0, 1).ticks(most) if tick > 0]
        return ticks[:: math.ceil(len(ticks) / most)]


def nice_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below ``least``."""
    if not (math.isfinite(least) and least > 0):
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def tick_texts(ticks: Sequence[float], signed: bool = False) -> list[str]:
    """The ticks with as many decimals as their distance needs; large ones as ``20k``."""
    steps = [abs(after - before) for before, after in pairwise(ticks)]
    step = min(steps, default=abs(ticks[0]) if ticks and ticks[0] else 1.0)
    largest = max(map(abs, ticks), default=0.0)
    if step <= 0 or not math.isfinite(step):
        step = 1.0
    if not 1e-4 <= largest < 1e13 and largest:
        digits = max(0, math.floor(math.log10(largest)) - math.floor(math.log10(step) + 1e-9))
        return [f"{tick:{'+' if signed and tick else ''}.{digits}e}" for tick in ticks]
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if largest >= limit:
            factor = limit if suffix != "k" else 1e3
            return [_shown(tick / factor, step / factor, signed) + suffix * bool(tick)
                    for tick in ticks]  # fmt: skip
    return [_shown(tick, step, signed) for tick in ticks]


def _shown(tick: float, step: float, signed: bool) -> str:
    decimals = min(max(0, -math.floor(math.log10(step) + 1e-9)), 12)
    value = round(tick, decimals) or 0.0
    text = f"{value:.{decimals}f}"
    return f"+{text}" if signed and value > 0 else text.replace("-", "−")  # noqa: RUF001
