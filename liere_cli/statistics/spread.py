"""The spread of differences over seeds, partly borrowed from the other encodings of a data set.

Five seeds estimate a variance from four degrees of freedom, so a paired t test at five seeds finds
little. All encodings of a data set are trained in the same way, and their spreads over seeds are
alike, if not equal. The moderated t test (Smyth 2004, doi:10.2202/1544-6115.1027) uses both: the
variance of a difference is a weighted mean of its own and of a prior one,

    v = (d0 s0**2 + (n - 1) v_own) / (d0 + n - 1),    Student's t on n - 1 + d0,

where s0**2 is twice the residual mean square of the two-way layout encodings x seeds. The
prior's weight d0 is fixed: 2 with five encodings and more, less where fewer of them tell about the
spread, and 0 with two encodings, which is the paired t test. Smyth estimates d0; at the five
encodings of a table, fixed weights err less where spreads differ (``liere bench verdicts``).

Some training setups fail now and then without diverging. Where any encoding has a run far from its
other seeds, others may have had the same at seeds that were not run, so ``s0`` is then the least
spread that any comparison of the data set is judged by.

Shapes: E encodings, n seeds; [...] any number of tables.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from liere_cli.statistics.samples import Array

#: most degrees of freedom that a spread borrows from the other encodings
PRIOR_FREEDOM = 2.0
#: encodings besides the two compared that give the prior its full weight
PRIOR_ENCODINGS = 3
#: distance of a far run from its encoding's median, in normal standard deviations
FAR = 8.0
#: the fewest seeds at which a run can be called far
FAR_SEEDS = 5
#: standard deviations of a normal distribution in its median absolute deviation
MAD_SCALE = 1.4826


@dataclass(frozen=True)
class Pooled:
    """What the scores of all encodings tell about the spread of a difference between two.

    Args:
        variance: of the difference of two encodings at shared seeds, s0**2.
        prior: degrees of freedom that it is weighted with, d0.
        far: whether a run lies far from its encoding's other seeds.
    """

    variance: float
    prior: float
    far: bool


@dataclass(frozen=True)
class Spread:
    """The spread of a paired difference over n seeds, in units of the metric.

    Args:
        own: standard deviation of the differences, ddof 1.
        pooled: of a difference between two encodings of the data set; None with two encodings.
        used: the one that tests and intervals use.
        prior: degrees of freedom borrowed from the other encodings.
        far: whether ``pooled`` is the least spread used, because some run lies far from others.
    """

    own: float
    pooled: float | None
    used: float
    prior: float
    far: bool = False

    @property
    def unusual(self) -> bool:
        """Whether the own spread is above three times the pooled one."""
        return self.pooled is not None and self.own > 3 * self.pooled


def spread_of(variance: float, n: int, pooled: Pooled | None) -> Spread:
    """The spread of n differences with that variance of their own."""
    own = float(np.sqrt(variance))
    if pooled is None or pooled.prior == 0:
        return Spread(own, None, own, 0.0)
    used = float(moderated(variance, pooled.variance, n, pooled.prior, pooled.far))
    return Spread(own, float(np.sqrt(pooled.variance)), used**0.5, pooled.prior, pooled.far)


def moderated(own: ArrayLike, pooled: ArrayLike, n: int, prior: ArrayLike, far: ArrayLike) -> Array:
    """The variance that tests use, elementwise; own variances are of n differences."""
    own, pooled, prior = np.asarray(own), np.asarray(pooled), np.asarray(prior)
    mixed = (prior * pooled + (n - 1) * own) / (prior + n - 1)
    return np.asarray(np.where(far, np.maximum(mixed, pooled), mixed), dtype=np.float64)


def prior_freedom(residual: float, n: int) -> float:
    """Degrees of freedom that a comparison of n seeds borrows from a layout with ``residual`` ones.

    Its own differences hold n - 1 of them; three times as many from others give the full weight.
    """
    others = max(residual / (n - 1) - 1, 0.0)
    return PRIOR_FREEDOM * min(others / PRIOR_ENCODINGS, 1.0)


def pooled_variance(scores: Array) -> Array:
    """s0**2 [...] of complete scores [..., E, n]: twice the layout's residual mean square."""
    encodings, seeds = scores.shape[-2:]
    residuals = (
        scores
        - scores.mean(axis=-1, keepdims=True)
        - scores.mean(axis=-2, keepdims=True)
        + scores.mean(axis=(-1, -2), keepdims=True)
    )
    freedom = (encodings - 1) * (seeds - 1)
    return np.asarray(2 * np.sum(residuals**2, axis=(-1, -2)) / freedom)


def far_runs(scores: Array) -> NDArray[np.bool_]:
    """Which runs [..., E, n] lie far from their encoding's other seeds, by a robust scale.

    That is more than 8 standard deviations from the median, both by the encoding's own median
    absolute deviation and by the median of all encodings'. NaN marks a missing run.
    """
    if scores.shape[-1] < FAR_SEEDS:
        return np.zeros(scores.shape, dtype=bool)
    distance = np.abs(scores - _median(scores, axis=-1))
    own = _median(distance, axis=-1)
    scale = FAR * MAD_SCALE * np.maximum(own, _median(own, axis=-2))
    # distances that rounding alone causes are none
    largest = np.fmax.reduce(np.abs(scores), axis=(-1, -2), keepdims=True)
    grain = 8 * np.finfo(np.float64).eps * largest
    return np.asarray(distance > np.maximum(scale, grain))


def _median(values: Array, axis: int) -> Array:
    """The median along an axis, which is kept, of what is not NaN; faster than numpy's."""
    ordered = np.sort(values, axis=axis)  # NaN comes last
    count = np.sum(~np.isnan(ordered), axis=axis, keepdims=True)
    low, high = (
        np.take_along_axis(ordered, np.maximum(count - 1 + side, 0) // 2, axis=axis)
        for side in (0, 1)
    )
    return np.asarray((low + high) / 2)


def pooled_spread(scores: Array) -> Pooled | None:
    """What scores [E, n] tell about a difference's spread; NaN marks a missing run.

    Encodings with fewer than two of the seeds are left out. None if fewer than three are left.
    """
    scores = scores[np.isfinite(scores).sum(axis=1) >= 2]
    if len(scores) < 3 or scores.shape[1] < 2:
        return None
    encodings, n = scores.shape
    if np.isfinite(scores).all():
        variance, freedom = float(pooled_variance(scores)), (encodings - 1) * (n - 1)
    else:
        variance, freedom = _incomplete(scores)
    return Pooled(variance, prior_freedom(freedom, n), bool(far_runs(scores).any()))


def _incomplete(scores: Array) -> tuple[float, int]:
    """:func:`pooled_variance` and its degrees of freedom where runs are missing.

    Least squares of an additive layout; seeds are eliminated, so that one equation an encoding is
    left (Yates 1933).
    """
    present = np.isfinite(scores)
    present = present[:, present.any(axis=0)]
    mask = present.astype(np.float64)
    values = np.where(present, scores[:, np.isfinite(scores).any(axis=0)], 0.0)
    seeds = mask.sum(axis=0)
    system = np.diag(mask.sum(axis=1)) - (mask / seeds) @ mask.T
    right = values.sum(axis=1) - mask @ (values.sum(axis=0) / seeds)
    effects, _, rank, _ = np.linalg.lstsq(system, right, rcond=1e-10)
    of_seeds = (values.sum(axis=0) - effects @ mask) / seeds
    residuals = mask * (values - effects[:, None] - of_seeds)
    freedom = int(mask.sum()) - seeds.size - int(rank)
    return float(2 * np.sum(residuals**2) / max(freedom, 1)), freedom
