"""Paired differences over shared seeds: estimate, tests and equivalence.

Shapes: n seeds that both encodings finished.

Which test decides? A difference of mean scores at one seed is an average over many items, so
Student's paired t test is close to exact at any n of 2 or more, and it decides. The sign-flip
permutation test (Fisher 1935, Pitman 1937) needs only symmetry, but its two-sided p-value is a
multiple of 2**(1 - n): 0.25 at 3 seeds, 0.0625 at 5, 0.002 at 10. With 3 or 5 seeds it can't reach
5% on any data, so it is reported as a check, and decides only where the t test has no estimate of
the noise: if all differences are equal, zero or not. Models that all fail or all solve a task show
such differences, and a few seeds of them prove little.

Where results per test item exist, the test set is a second source of error (see
:mod:`liere_cli.statistics.item_errors`), combined with that of the seeds as in
:mod:`liere_cli.statistics.student`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from liere_cli.statistics.item_errors import ItemError, sources_of
from liere_cli.statistics.samples import paired_differences, standard_deviation
from liere_cli.statistics.student import CONFIDENCE, Source, combined_p, half_width, one_sided_p

#: seeds up to which every one of the 2**n sign flips is tried
EXACT_SEEDS = 16


@dataclass(frozen=True)
class Paired:
    """The mean paired difference over ``n`` shared seeds, in units of the metric.

    ``std`` (ddof 1), the ends of the 95% interval and ``p`` need 2 seeds and are None below. The
    interval is None too if all differences are equal, as they show no noise. Interval and p-value
    combine the errors of seeds and test set, where ``test_set`` is given.
    """

    n: int
    difference: float
    std: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    test_set: ItemError | None = None

    @property
    def seed_error(self) -> float | None:
        """Standard error over seeds."""
        return None if self.std is None else self.std / math.sqrt(self.n)


def paired(
    values: ArrayLike,
    baseline: ArrayLike,
    test_set: ItemError | None = None,
    confidence: float = CONFIDENCE,
) -> Paired | None:
    """Student's paired t test of ``values`` against ``baseline``, both [n], seed by seed.

    ``test_set`` is the error that the choice of test items adds. Returns the difference ``values -
    baseline`` with its interval and two-sided p-value under "the mean difference is zero"; None
    without any shared seed. Raises ValueError if the arrays differ in length or hold a non-finite
    number.
    """
    differences = paired_differences(values, baseline)
    n = differences.size
    if n == 0:
        return None
    mean = float(differences.mean())
    if n == 1:
        return Paired(1, mean)
    std = standard_deviation(differences)
    sources = _sources(std, n, test_set)
    p = combined_p(mean, sources)
    if std == 0:
        return Paired(n, mean, 0.0, None, None, max(p, smallest_sign_flip_p(n)), test_set)
    half = half_width(1 - confidence, sources)
    return Paired(n, mean, std, mean - half, mean + half, p, test_set)


def _sources(std: float, n: int, test_set: ItemError | None) -> list[Source]:
    """The sources of error that are above zero."""
    seeds = [Source(std / math.sqrt(n), n - 1)] if std > 0 else []
    return seeds + sources_of(test_set)


def sign_flip_p(values: ArrayLike, baseline: ArrayLike) -> float | None:
    """Two-sided p-value of the sign-flip permutation test on paired values, both [n].

    Exact up to 16 seeds: the share of all 2**n sign patterns whose mean difference is at least
    as large, never below 2**(1 - n). Beyond, from 2**16 random patterns of a fixed seed, the
    observed one counted in (Phipson and Smyth 2010), so never zero.
    """
    differences = paired_differences(values, baseline)
    if differences.size == 0:
        return None
    if differences.size == 1 or not differences.any():
        return 1.0
    result = stats.permutation_test(
        (differences,),
        lambda data, axis: np.abs(np.mean(data, axis=axis)),
        permutation_type="samples",
        alternative="greater",
        n_resamples=2 ** min(differences.size, EXACT_SEEDS),
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def smallest_sign_flip_p(n: int) -> float:
    """The smallest two-sided p-value that n sign flips can give: 2**(1 - n)."""
    return float(2.0 ** (1 - n))


def equivalence_p(
    values: ArrayLike, baseline: ArrayLike, margin: float, test_set: ItemError | None = None
) -> float | None:
    """Two one-sided t tests (Schuirmann 1987) of "the mean difference is within the margin".

    ``margin`` is the smallest difference that matters, above zero, in units of the metric. Returns
    the larger of both one-sided p-values under "the difference is at least the margin"; None with
    fewer than 2 seeds.
    """
    differences = paired_differences(values, baseline)
    n = differences.size
    if n < 2:
        return None
    std = standard_deviation(differences)
    p = one_sided_p(margin - abs(float(differences.mean())), _sources(std, n, test_set))
    return p if std > 0 else max(p, smallest_sign_flip_p(n) / 2)
