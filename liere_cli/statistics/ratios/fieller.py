"""Ratios of two means with several sources of error, and differences of two such ratios.

Fieller's interval (1954) of a ratio x / y holds all r for which x - r y is not significantly
different from zero. Unlike the delta method it is exact for normal means however uncertain y is.
It is bounded where y is significantly different from zero at that level, and else has no end. The
sources of error, such as seeds and test items, are independent; the squared half-width of the
interval of x - r y is the sum of theirs, each with its own Student quantile (Howe 1974), so the
ends are roots of one quadratic equation.

The difference of two independent ratios has the interval of MOVER (Zou and Donner 2008): the
squared distance of each end to the estimate is the sum of the squared distances of the ends of
both ratios that it depends on.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import optimize

from liere_cli.statistics.samples import Array
from liere_cli.statistics.student import SMALLEST_P, Source, combined_p, student_quantile

#: stands for the infinite half-width of an unbounded interval, in units of the estimate
UNBOUNDED = 1e12


@dataclass(frozen=True)
class CovarianceSource:
    """A source of error of both means: their covariance matrix, and its degrees of freedom."""

    numerator: float
    covariance: float
    denominator: float
    freedom: float

    @classmethod
    def projected(cls, matrix: Array, freedom: float) -> "CovarianceSource":
        """Of a symmetric matrix [2, 2]; negative eigenvalues, from subtraction, become zero."""
        values, vectors = np.linalg.eigh(matrix)
        kept = (vectors * np.maximum(values, 0.0)) @ vectors.T
        return cls(float(kept[0, 0]), float(kept[0, 1]), float(kept[1, 1]), freedom)


@dataclass(frozen=True)
class RatioOfMeans:
    """The ratio of two estimated means.

    Args:
        least_p: p-value of the denominator that is assumed at least, where its sources are too few
            to measure it.
    """

    numerator: float
    denominator: float
    sources: tuple[CovarianceSource, ...]
    least_p: float = 0.0

    @property
    def value(self) -> float:
        return self.numerator / self.denominator

    @cached_property
    def denominator_p(self) -> float:
        """Two-sided, under "the denominator is zero": intervals at smaller levels are unbounded."""
        errors = [
            Source(math.sqrt(source.denominator), source.freedom)
            for source in self.sources
            if source.denominator > 0
        ]
        return max(combined_p(self.denominator, errors), self.least_p)

    def distances(self, alpha: float) -> tuple[float, float] | None:
        """How far the ends of the interval at confidence ``1 - alpha`` lie below and above the
        ratio; None if the interval is unbounded.
        """
        if alpha <= self.denominator_p:
            return None
        squares = [float(student_quantile(alpha, source.freedom)) ** 2 for source in self.sources]
        numerator, covariance, denominator = (
            sum(
                square * float(getattr(source, name))
                for square, source in zip(squares, self.sources, strict=True)
            )
            for name in ("numerator", "covariance", "denominator")
        )
        ratio = self.value
        # as a quadratic in the distance to the ratio, which loses no digits where errors are small
        leading = self.denominator**2 - denominator
        slope = ratio * denominator - covariance
        constant = max(numerator - 2 * ratio * covariance + ratio**2 * denominator, 0.0)
        if leading <= 0:
            return None
        root = math.sqrt(slope**2 + leading * constant)
        return (root - slope) / leading, (root + slope) / leading

    def interval(self, alpha: float) -> tuple[float, float] | None:
        """Fieller's interval at confidence ``1 - alpha``; None if it is unbounded."""
        ends = self.distances(alpha)
        return None if ends is None else (self.value - ends[0], self.value + ends[1])


@dataclass(frozen=True)
class RatioDifference:
    """The difference ``first - second`` of two ratios.

    Args:
        correlation: of their errors; 0 for independent ones.
    """

    first: RatioOfMeans
    second: RatioOfMeans
    correlation: float = 0.0

    @property
    def value(self) -> float:
        return self.first.value - self.second.value

    def distances(self, alpha: float) -> tuple[float, float] | None:
        """As :meth:`RatioOfMeans.distances`, by MOVER (Zou and Donner 2008)."""
        first, second = self.first.distances(alpha), self.second.distances(alpha)
        if first is None or second is None:
            return None
        pairs = ((first[0], second[1]), (first[1], second[0]))
        if not self.correlation:
            low, high = (math.hypot(*pair) for pair in pairs)
            return low, high
        low, high = (
            math.sqrt(max(a * a + b * b - 2 * self.correlation * a * b, 0.0)) for a, b in pairs
        )
        return low, high

    def interval(self, alpha: float) -> tuple[float, float] | None:
        """The interval at confidence ``1 - alpha``; None if it is unbounded."""
        ends = self.distances(alpha)
        return None if ends is None else (self.value - ends[0], self.value + ends[1])

    def p(self, target: float = 0.0) -> float:
        """Two-sided p-value under "the difference is ``target``": the level whose interval ends
        there, and never below the p-value of a denominator.
        """
        distance = self.value - target
        if distance == 0:
            return 1.0
        side = 0 if distance > 0 else 1

        def excess(log_alpha: float) -> float:
            ends = self.distances(math.exp(log_alpha))
            return (UNBOUNDED if ends is None else ends[side] / abs(distance)) - 1

        lowest = max(self.first.denominator_p, self.second.denominator_p, SMALLEST_P)
        # just above the level at which a denominator's interval is unbounded
        return _level(excess, math.log(lowest) + 1e-9)

    def equivalence_p(self, margin: float) -> float:
        """The larger p-value of two one-sided tests of "the difference is within the margin"."""
        halves = [self.p(target) / 2 for target in (-margin, margin)]
        within = (self.value > -margin, self.value < margin)
        return max(
            half if inside else 1 - half for half, inside in zip(halves, within, strict=True)
        )


def _level(excess: Callable[[float], float], lowest: float) -> float:
    """The level at which a falling function of its logarithm crosses zero, between ``lowest`` and
    0, as logarithms.
    """
    if lowest >= 0 or excess(0.0) >= 0:
        return 1.0
    if excess(lowest) <= 0:
        return math.exp(lowest)
    return math.exp(float(optimize.brentq(excess, lowest, 0.0)))
