"""Detectable differences, and the seeds they take."""

import math
from functools import cache

from scipy import special

from liere_cli.statistics.item_errors import ItemError
from liere_cli.statistics.student import student_quantile

#: seeds beyond which no number is searched for
MAX_SEEDS = 1000


def detectable_difference(
    std: float,
    n: int,
    alpha: float = 0.05,
    power: float = 0.8,
    test_set: ItemError | None = None,
    prior: float = 0.0,
) -> float:
    """The true difference that n seeds show with that power, by a two-sided paired t test.

    Args:
        std: standard deviation of the paired differences, in units of the metric, as the result.
        alpha: level of one comparison; 0.05 / m in a table of m comparisons.
        test_set: error of the test set, which is added in squares.
        prior: degrees of freedom borrowed from other encodings.
    """
    over_seeds = std * _detectable(n - 1 + prior, alpha, power) / math.sqrt(n)
    if test_set is None:
        return over_seeds
    return math.hypot(over_seeds, test_set.error * _detectable(test_set.freedom, alpha, power))


@cache
def _detectable(freedom: float, alpha: float, power: float) -> float:
    """The noncentrality of Student's t with that freedom that is significant with that power."""
    critical = float(student_quantile(alpha, freedom))
    # the far tail, a significant result in the wrong direction, adds nothing at such a power
    return float(special.nctdtrinc(freedom, 1 - power, critical))


def seeds_needed(
    difference: float,
    std: float,
    alpha: float = 0.05,
    power: float = 0.8,
    test_set: ItemError | None = None,
    prior: float = 0.0,
) -> int | None:
    """Seeds at which a true difference of that size, in either direction, is shown.

    At least 2; None when more than 1000 would be needed, or no number on this test set.
    """

    def enough(n: int) -> bool:
        return detectable_difference(std, n, alpha, power, test_set, prior) <= abs(difference)

    if not enough(MAX_SEEDS):
        return None
    low, high = 1, MAX_SEEDS  # the detectable difference falls with n, so bisect
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
