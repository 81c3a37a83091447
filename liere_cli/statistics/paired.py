"""Estimates, tests and corrections on plain arrays.

Shapes: n seeds that both encodings finished, m comparisons of a table.

Which test decides? Differences of mean scores over shared seeds are averages over many items, so
Student's paired t test is close to exact at any n of 2 or more, and it decides. The sign-flip
permutation test (Fisher 1935, Pitman 1937) needs only symmetry, but its two-sided p-value is a
multiple of 2**(1 - n): 0.25 at 3 seeds, 0.0625 at 5, 0.002 at 10. At 3 or 5 seeds it can't reach
5% whatever the data, so it stands beside the t test as a check, and takes over only where the
t test has no estimate of the noise: differences that are the same at every seed, zero or not.
Models that all fail or all solve a task show such differences, and few seeds of them prove little.

Where results per test item are at hand, the test set is a second sample. Its standard error (see
:mod:`liere_cli.statistics.test_items`) and that of the seeds are combined by Howe's approximation
(1974; MOVER of Zou and Donner 2008): the half-width of an interval is the root of the sum of
squares of both half-widths, each with its own Student quantile. So the combined p-value is never
below that of the seeds alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

CONFIDENCE = 0.95
#: seeds up to which every one of the 2**n sign flips is tried
EXACT_SEEDS = 16
#: p-values below are taken from the widest source alone
SMALLEST_P = 1e-200

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ItemError:
    """How far the choice of test items could move a mean difference.

    Args:
        error: standard error in units of the metric.
        clusters: independent groups of items, at least 2.
    """

    error: float
    clusters: int


@dataclass(frozen=True)
class Source:
    """A source of uncertainty: its standard error, and the degrees of freedom of that."""

    error: float
    freedom: float


@dataclass(frozen=True)
class Paired:
    """The mean paired difference over ``n`` shared seeds, in units of the metric.

    ``std`` (ddof 1), the ends of the 95% interval and ``p`` need 2 seeds and are None below. The
    interval is None too where all differences are equal, as they show no noise. Interval and
    p-value combine the seeds with the test set where there is one.
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


def mean_and_std(values: ArrayLike) -> tuple[float | None, float | None]:
    """Mean and standard deviation (ddof 1) of values [n]; None where too few are given."""
    array = _vector(values)
    mean = float(array.mean()) if array.size else None
    return mean, _std(array) if array.size > 1 else None


def paired(
    values: ArrayLike,
    baseline: ArrayLike,
    test_set: ItemError | None = None,
    confidence: float = CONFIDENCE,
) -> Paired | None:
    """Student's paired t test of ``values`` against ``baseline``, both [n], seed by seed.

    Args:
        test_set: what the choice of test items adds; None: the test set is taken as it is.
        confidence: of the interval.

    Returns:
        The difference ``values - baseline`` with its interval and two-sided p-value under
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
    sources = _sources(std, n, test_set)
    p = combined_p(mean, sources)
    if std == 0:
        return Paired(n, mean, 0.0, None, None, max(p, smallest_sign_flip_p(n)), test_set)
    half = half_width(1 - confidence, sources)
    return Paired(n, mean, std, mean - half, mean + half, p, test_set)


def student_p(mean: ArrayLike, error: ArrayLike, freedom: float) -> Array:
    """Two-sided p-value of Student's t test, elementwise: the mean is zero.

    Args:
        mean, error: estimates and their standard errors above zero, in one unit.
        freedom: degrees of freedom.
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
    """Of the interval at confidence ``1 - alpha`` (Howe 1974)."""
    return math.hypot(
        *(float(student_quantile(alpha, source.freedom)) * source.error for source in sources)
    )


def combined_p(mean: float, sources: Sequence[Source]) -> float:
    """Two-sided p-value: the level whose interval around ``mean`` ends at zero.

    Args:
        sources: with standard errors above zero; without any, every mean but zero is certain.
    """
    if mean == 0 or not sources:
        return float(mean == 0)
    # every source alone has a narrower interval, so the level lies above that of each
    floor = max(float(student_p(mean, source.error, source.freedom)) for source in sources)
    if len(sources) == 1 or floor < SMALLEST_P:
        return floor

    def excess(log_p: float) -> float:
        return half_width(math.exp(log_p), sources) - abs(mean)

    if excess(math.log(floor)) <= 0:
        return floor
    if excess(0.0) >= 0:  # a mean of rounding errors: no level's interval is that narrow
        return 1.0
    return math.exp(float(optimize.brentq(excess, math.log(floor), 0.0)))


def _sources(std: float, n: int, test_set: ItemError | None) -> list[Source]:
    """What there is of seeds and test set."""
    sources = [Source(std / math.sqrt(n), n - 1)] if std > 0 else []
    if test_set is not None and test_set.error > 0:
        sources.append(Source(test_set.error, test_set.clusters - 1))
    return sources


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


def equivalence_p(
    values: ArrayLike, baseline: ArrayLike, margin: float, test_set: ItemError | None = None
) -> float | None:
    """Two one-sided t tests (Schuirmann 1987) of "the mean difference is within the margin".

    Args:
        values, baseline: [n], seed by seed.
        margin: the smallest difference worth caring about, above zero, in units of the metric.
        test_set: as in :func:`paired`.

    Returns:
        The larger of both one-sided p-values under "the difference is at least the margin";
        None with fewer than 2 seeds.
    """
    differences = _differences(values, baseline)
    n = differences.size
    if n < 2:
        return None
    std = _std(differences)
    p = one_sided_p(margin - abs(float(differences.mean())), _sources(std, n, test_set))
    return p if std > 0 else max(p, smallest_sign_flip_p(n) / 2)


def one_sided_p(room: float, sources: Sequence[Source]) -> float:
    """P-value of "there is no room": half of :func:`combined_p` where ``room`` is above zero."""
    half = combined_p(room, sources) / 2
    return half if room > 0 else 1 - half


def holm(p_values: ArrayLike) -> Array:
    """Holm's step-down correction (1979) of p-values [..., m]: [..., m], for any dependence.

    A corrected value at or below 5% keeps the chance of any false rejection in the table at 5%.
    NaN stands for a comparison without a test; it stays NaN and counts for nothing.
    """
    p = np.atleast_1d(np.asarray(p_values, dtype=np.float64))
    order = np.argsort(p, axis=-1, kind="stable")  # NaN comes last
    known = (~np.isnan(p)).sum(axis=-1, keepdims=True)
    steps = np.maximum(known - np.arange(p.shape[-1]), 1)
    stepped = np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * steps, axis=-1)
    corrected = np.empty_like(p)
    np.put_along_axis(corrected, order, np.minimum(stepped, 1.0), axis=-1)
    return corrected


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
