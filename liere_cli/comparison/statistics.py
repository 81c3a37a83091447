"""Estimates, tests and corrections on plain arrays.

Shapes: n seeds that both encodings finished, m comparisons of a table, N items of a test set.

Which test decides? Differences of mean scores over shared seeds are averages over many items, so
Student's paired t test is close to exact at any n of 2 or more, and it decides. The sign-flip
permutation test (Fisher 1935, Pitman 1937) needs only symmetry, but its two-sided p-value is a
multiple of 2**(1 - n): 0.25 at 3 seeds, 0.0625 at 5, 0.002 at 10. At 3 or 5 seeds it can't reach
5% whatever the data, so it stands beside the t test as a check, and takes over only where the
t test has no estimate of the noise: differences that are equal and not zero.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

CONFIDENCE = 0.95
#: seeds up to which every one of the 2**n sign flips is tried
EXACT_SEEDS = 16
MAX_SEEDS = 1000

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Paired:
    """The mean paired difference over ``n`` shared seeds, in units of the metric.

    ``std`` (ddof 1), the ends of the 95% interval and ``p`` need 2 seeds and are None below.
    The interval is None too where all differences are equal and not zero: they show no noise.
    """

    n: int
    difference: float
    std: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class Clustered:
    """The mean paired difference over the items of one test set, with clusters of items.

    ``standard_error`` and what follows from it need 2 clusters and are None below.
    """

    items: int
    clusters: int
    difference: float
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


def mean_and_std(values: ArrayLike) -> tuple[float | None, float | None]:
    """Mean and standard deviation (ddof 1) of values [n]; None where too few are given."""
    array = _vector(values)
    mean = float(array.mean()) if array.size else None
    return mean, _std(array) if array.size > 1 else None


def paired(values: ArrayLike, baseline: ArrayLike) -> Paired | None:
    """Student's paired t test of ``values`` against ``baseline``, both [n], seed by seed.

    Returns:
        The difference ``values - baseline`` with its 95% interval and two-sided p-value under
        "the mean difference is zero"; None without any shared seed.

    Raises:
        ValueError: the arrays differ in length or hold a non-finite number.
    """
    differences = _differences(values, baseline)
    n = differences.size
    if n == 0:
        return None
    mean = float(differences.mean())
    if n == 1:
        return Paired(1, mean)
    std = _std(differences)
    if std == 0:
        end = 0.0 if mean == 0 else None
        return Paired(n, mean, 0.0, end, end, sign_flip_p(values, baseline))
    low, high, p = _student(mean, std / math.sqrt(n), n - 1)
    return Paired(n, mean, std, low, high, p)


def sign_flip_p(values: ArrayLike, baseline: ArrayLike) -> float | None:
    """Two-sided p-value of the sign-flip permutation test on paired values, both [n].

    Exact up to 16 seeds: the share of all 2**n sign patterns whose mean difference is at least
    as large, never below 2**(1 - n). Beyond, from 2**16 random patterns of a fixed seed, the
    observed one counted in (Phipson and Smyth 2010), so never zero.
    """
    differences = _differences(values, baseline)
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


def equivalence_p(values: ArrayLike, baseline: ArrayLike, margin: float) -> float | None:
    """Two one-sided t tests (Schuirmann 1987) of "the mean difference is within the margin".

    Args:
        values, baseline: [n], seed by seed.
        margin: the smallest difference worth caring about, above zero, in units of the metric.

    Returns:
        The larger of both one-sided p-values under "the difference is at least the margin";
        None with fewer than 2 seeds.
    """
    differences = _differences(values, baseline)
    n = differences.size
    if n < 2:
        return None
    mean, std = float(differences.mean()), _std(differences)
    room = margin - abs(mean)
    if std == 0:
        # equal scores are equivalent; an equal difference leaves no noise to test against
        return 1.0 if room <= 0 else 0.0 if mean == 0 else 2.0**-n
    return float(special.stdtr(n - 1, -room / (std / math.sqrt(n))))


def holm(p_values: ArrayLike) -> Array:
    """Holm's step-down correction (1979) of p-values [m]: [m], valid under any dependence.

    A corrected value at or below 5% keeps the chance of any false rejection in the table at 5%.
    """
    p = _vector(p_values)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def detectable_difference(std: float, n: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """The true difference that n seeds show with that power, by a two-sided paired t test.

    Args:
        std: standard deviation of the paired differences, in units of the metric.
        alpha: level of one comparison; a table of m comparisons puts 0.05 / m here.
    """
    critical = special.stdtrit(n - 1, 1 - alpha / 2)
    # the far tail, a significant result in the wrong direction, adds nothing at such a power
    noncentrality = float(special.nctdtrinc(n - 1, 1 - power, critical))
    return noncentrality * std / math.sqrt(n)


def seeds_needed(
    difference: float, std: float, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """Seeds at which a true difference of that size is shown with that power.

    Returns:
        At least 2; None when more than 1000 would be needed.
    """

    def enough(n: int) -> bool:
        return detectable_difference(std, n, alpha, power) <= abs(difference)

    if not enough(MAX_SEEDS):
        return None
    low, high = 1, MAX_SEEDS  # the detectable difference falls with n, so bisect
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def clustered(values: ArrayLike, baseline: ArrayLike, groups: ArrayLike) -> Clustered | None:
    """The paired difference over test items, where items of one group are not independent.

    The cluster-robust (sandwich) standard error of a mean with the correction G / (G - 1) for G
    clusters and Student's t with G - 1 degrees of freedom (Cameron and Miller 2015). With each
    item in a group of its own this is the paired t test over items.

    Args:
        values, baseline: [N] scores of the same items.
        groups: [N] integers; clips of one recording share a number.

    Raises:
        ValueError: the arrays differ in length or hold a non-finite number.
    """
    differences = _differences(values, baseline)
    labels = np.asarray(groups)
    if labels.shape != differences.shape:
        raise ValueError(f"groups {labels.shape} don't match items {differences.shape}")
    items = differences.size
    if items == 0:
        return None
    mean = float(differences.mean())
    _, index = np.unique(labels, return_inverse=True)
    sums = np.bincount(index, weights=differences - mean)
    clusters = sums.size
    if clusters < 2:
        return Clustered(items, clusters, mean)
    error = float(np.sqrt(clusters / (clusters - 1) * np.sum(sums**2))) / items
    if error == 0:
        end = 0.0 if mean == 0 else None
        p = 1.0 if mean == 0 else smallest_sign_flip_p(clusters)
        return Clustered(items, clusters, mean, 0.0, end, end, p)
    return Clustered(items, clusters, mean, error, *_student(mean, error, clusters - 1))


def _student(mean: float, error: float, freedom: int) -> tuple[float, float, float]:
    """Ends of the 95% interval and two-sided p-value under "the mean is zero"."""
    half = float(special.stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
    p = 2 * float(special.stdtr(freedom, -abs(mean) / error))
    return mean - half, mean + half, p


def _std(array: Array) -> float:
    """Standard deviation, ddof 1; what rounding alone could cause counts as zero."""
    std = float(array.std(ddof=1))
    return 0.0 if std <= 4 * np.finfo(np.float64).eps * np.abs(array).max() else std


def _differences(values: ArrayLike, baseline: ArrayLike) -> Array:
    first, second = _vector(values), _vector(baseline)
    if first.shape != second.shape:
        raise ValueError(f"{first.size} values can't be paired with {second.size}")
    differences = first - second
    if first.size:
        # 0.31 - 0.30 and 0.41 - 0.40 differ in their last digits only: no noise over seeds
        grain = 8 * np.finfo(np.float64).eps * max(np.abs(first).max(), np.abs(second).max())
        if np.ptp(differences) <= grain:
            differences[:] = differences.mean() if abs(differences.mean()) > grain else 0.0
    return differences


def _vector(values: ArrayLike) -> Array:
    array = np.atleast_1d(np.array(values, dtype=np.float64))
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError("expected a vector of finite numbers")
    return array
