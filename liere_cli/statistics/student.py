"""Student's t distribution with one or several sources of error.

Standard errors of independent sources, such as seeds and test items, are combined by Howe's
approximation (1974; MOVER of Zou and Donner 2008): the half-width of an interval is the root of
the sum of the squared half-widths, each with its own Student quantile. So the combined p-value is
never below that of one source alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from liere_cli.statistics.samples import Array

CONFIDENCE = 0.95
#: p-values below are taken from the widest source alone
SMALLEST_P = 1e-200


@dataclass(frozen=True)
class Source:
    """A source of uncertainty: a standard error and the degrees of freedom of its estimate."""

    error: float
    freedom: float


def student_p(mean: ArrayLike, error: ArrayLike, freedom: float) -> Array:
    """Two-sided p-value of Student's t test under "the mean is zero", elementwise.

    ``error`` are standard errors above zero, ``freedom`` their degrees of freedom.
    """
    ratio = np.abs(np.asarray(mean)) / np.asarray(error)
    return np.asarray(2 * special.stdtr(freedom, -ratio), dtype=np.float64)


def student_quantile(alpha: ArrayLike, freedom: ArrayLike) -> Array:
    """The ratio of mean to error that is significant at a two-sided level, elementwise."""
    # from the lower tail, where small levels keep their digits
    return np.asarray(
        -special.stdtrit(np.asarray(freedom), np.asarray(alpha) / 2), dtype=np.float64
    )


def half_width(alpha: float, sources: Sequence[Source]) -> float:
    """Half-width of the interval at confidence ``1 - alpha`` (Howe 1974)."""
    return math.hypot(
        *(float(student_quantile(alpha, source.freedom)) * source.error for source in sources)
    )


def combined_p(mean: float, sources: Sequence[Source]) -> float:
    """Two-sided p-value: the level whose interval around ``mean`` ends at zero.

    Errors of the sources are above zero; without any, every mean but zero is certain.
    """
    if mean == 0 or not sources:
        return float(mean == 0)
    # every source alone has a narrower interval, so the level lies above that of each
    lower = max(float(student_p(mean, source.error, source.freedom)) for source in sources)
    if len(sources) == 1 or lower < SMALLEST_P:
        return lower

    def excess(log_p: float) -> float:
        return half_width(math.exp(log_p), sources) - abs(mean)

    if excess(math.log(lower)) <= 0:
        return lower
    if excess(0.0) >= 0:  # a mean of rounding errors: no level's interval is that narrow
        return 1.0
    return math.exp(float(optimize.brentq(excess, math.log(lower), 0.0)))


def one_sided_p(distance: float, sources: Sequence[Source]) -> float:
    """One-sided p-value for ``distance <= 0``: :func:`combined_p`, halved if it is above zero."""
    half = combined_p(distance, sources) / 2
    return half if distance > 0 else 1 - half
