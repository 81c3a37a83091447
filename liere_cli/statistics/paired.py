"""Paired differences over shared seeds: estimate, tests and equivalence.

Shapes: n seeds that both encodings finished.

Which test decides? A difference of mean scores at one seed is an average over many items, so
Student's t test is close to exact. It takes its spread partly from the other encodings (see
:mod:`liere_cli.statistics.spread`). The sign-flip permutation test (Fisher 1935, Pitman 1937) needs
only symmetry, but its two-sided p-value is a multiple of 2**(1 - n): 0.0625 at 5 seeds, 0.002 at
10. It decides where there is no estimate of the noise, as all differences are equal and no other
encoding shows any: models that all fail or all solve a task show such differences, and a few seeds
of them prove little. From 16 seeds on both tests must find a difference, so the larger p-value is
taken where the t test's is at most 5%: seeds of several modes, as 25% or 100%, exceed the t test's
error rate at such numbers.

Where results per test item exist, the test set is a second source of error (see
:mod:`liere_cli.statistics.item_errors`), combined with that of the seeds as in
:mod:`liere_cli.statistics.student`.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from liere_cli.statistics.correction import ALPHA
from liere_cli.statistics.item_errors import ItemError, sources_of
from liere_cli.statistics.samples import Array, paired_differences, standard_deviation
from liere_cli.statistics.spread import Pooled, Spread, spread_of
from liere_cli.statistics.student import CONFIDENCE, Source, combined_p, half_width, one_sided_p

#: seeds up to which every one of the 2**n sign flips is tried, and from which on they must agree
EXACT_SEEDS = 16
#: the fewest seeds at which two encodings can be found equivalent: at 5, a failure of one seed in
#: ten goes unseen in 59% of comparisons
EQUIVALENCE_SEEDS = 10


@dataclass(frozen=True)
class Paired:
    """The mean paired difference over ``n`` shared seeds, in units of the metric.

    Args:
        spread: over seeds; None below 2 of them.
        low, high: ends of the 95% interval of this difference alone; None too if no encoding shows
            any noise.
        p: two-sided, under "the mean difference is zero".
        test_set: the error that the choice of test items adds, where it is known.
    """

    n: int
    difference: float
    spread: Spread | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    test_set: ItemError | None = None

    @property
    def std(self) -> float | None:
        """Standard deviation of the differences, ddof 1."""
        return None if self.spread is None else self.spread.own

    @property
    def seed_error(self) -> float | None:
        """Standard error over seeds, by the spread that the test uses."""
        return None if self.spread is None else self.spread.used / math.sqrt(self.n)

    @property
    def sources(self) -> list[Source]:
        """The sources of error that are above zero."""
        return [] if self.spread is None else _sources(self.spread, self.n, self.test_set)

    def interval(self, level: float) -> tuple[float, float] | None:
        """Ends of the interval that misses the truth at that level; None without any noise."""
        if self.spread is None or self.spread.used == 0:
            return None
        half = half_width(level, self.sources)
        return self.difference - half, self.difference + half


def paired(
    values: ArrayLike,
    baseline: ArrayLike,
    test_set: ItemError | None = None,
    pooled: Pooled | None = None,
) -> Paired | None:
    """Student's paired t test of ``values`` against ``baseline``, both [n], seed by seed.

    ``test_set`` is the error that the choice of test items adds, ``pooled`` what other encodings
    tell about the spread. Returns the difference ``values - baseline`` with its interval and
    two-sided p-value under "the mean difference is zero"; None without any shared seed. Raises
    ValueError if the arrays differ in length or hold a non-finite number.
    """
    differences = paired_differences(values, baseline)
    n = differences.size
    if n == 0:
        return None
    mean = float(differences.mean())
    if n == 1:
        return Paired(1, mean)
    spread = spread_of(standard_deviation(differences) ** 2, n, pooled)
    p = combined_p(mean, _sources(spread, n, test_set))
    if spread.used == 0:
        p = max(p, smallest_sign_flip_p(n))
    elif n >= EXACT_SEEDS and p <= ALPHA:
        p = max(p, _sign_flip_p(differences))
    estimate = Paired(n, mean, spread, None, None, p, test_set)
    low, high = estimate.interval(1 - CONFIDENCE) or (None, None)
    return Paired(n, mean, spread, low, high, p, test_set)


def _sources(spread: Spread, n: int, test_set: ItemError | None) -> list[Source]:
    """The sources of error that are above zero."""
    error, freedom = spread.used / math.sqrt(n), n - 1 + spread.prior
    return ([Source(error, freedom)] if error > 0 else []) + sources_of(test_set)


def own_p(values: ArrayLike, baseline: ArrayLike) -> float | None:
    """The p-value of the paired t test that takes no spread from others, over seeds alone."""
    estimate = paired(values, baseline)
    return None if estimate is None else estimate.p


def sign_flip_p(values: ArrayLike, baseline: ArrayLike) -> float | None:
    """Two-sided p-value of the sign-flip permutation test on paired values, both [n].

    Exact up to 16 seeds: the share of all 2**n sign patterns whose mean difference is at least
    as large, never below 2**(1 - n). Beyond, from 2**16 random patterns of a fixed seed, the
    observed one counted in (Phipson and Smyth 2010), so never zero.
    """
    differences = paired_differences(values, baseline)
    return _sign_flip_p(differences) if differences.size else None


def _sign_flip_p(differences: Array) -> float:
    n = differences.size
    if n == 1 or not differences.any():
        return 1.0
    # sorted, so that the order of seeds changes no random pattern's sum
    sums: Array = np.abs(_signs(n) @ np.sort(np.abs(differences)))
    observed = abs(float(differences.sum()))
    extreme = int(np.sum(sums >= observed - 1e-12 * float(np.abs(differences).sum())))
    if n <= EXACT_SEEDS:
        return extreme / len(sums)
    return (extreme + 1) / (len(sums) + 1)


@lru_cache(maxsize=8)
def _signs(n: int) -> Array:
    """Sign patterns [s, n]: one of each pair of opposite ones, or random ones, always the same."""
    if n > EXACT_SEEDS:
        return np.random.default_rng(0).choice([-1.0, 1.0], (2**EXACT_SEEDS, n))
    bits = np.arange(2 ** (n - 1))[:, None] >> np.arange(n)
    return np.asarray(1.0 - 2 * (bits & 1))


def smallest_sign_flip_p(n: int) -> float:
    """The smallest two-sided p-value that n sign flips can give: 2**(1 - n)."""
    return float(2.0 ** (1 - n))


def equivalence_spread(spread: Spread) -> Spread:
    """The spread that equivalence is tested with: the largest of own, pooled and used."""
    used = max(spread.own, spread.pooled or 0.0, spread.used)
    return Spread(spread.own, spread.pooled, used, spread.prior, spread.far)


def equivalence_p(estimate: Paired, margin: float) -> float | None:
    """Two one-sided t tests (Schuirmann 1987) of "the mean difference is within the margin".

    ``margin`` is the smallest difference that matters, above zero, in units of the metric. Returns
    the larger of both one-sided p-values under "the difference is at least the margin"; None with
    fewer than 10 seeds. No test sees a rare failure that no seed had, so the spread is the largest
    that the data set's encodings suggest, and few seeds give no answer.
    """
    n, spread = estimate.n, estimate.spread
    if spread is None or n < EQUIVALENCE_SEEDS:
        return None
    wide = equivalence_spread(spread)
    p = one_sided_p(margin - abs(estimate.difference), _sources(wide, n, estimate.test_set))
    return p if wide.used > 0 else max(p, smallest_sign_flip_p(n) / 2)
