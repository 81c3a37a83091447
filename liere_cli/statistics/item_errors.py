"""The finite test set as a source of error: results per item, paired and summed by cluster.

Shapes: n seeds that both encodings finished, N items, G clusters. Clips of one recording, or
windows of one file where a data set defines them so, form a cluster and don't count as independent.

The score of a seed is the mean over items, so a difference varies with the seeds and with the
items that were drawn. What is drawn anew for every seed *and* item is already in the spread over
seeds. The test set adds the part that is the same at every seed: items on which one encoding does
better whatever the seed. It is the clustered variance of the differences averaged over seeds, less
the interaction's share of it (the variance components of a two-way layout without replication;
two-way clustering subtracts the same term: Cameron, Gelbach and Miller 2011).

Few or unequal clusters make the plain clustered variance too small, and G - 1 too many degrees of
freedom. With h_g the cluster's share of the total weight and s the sum of their squares, the
squared deviation of a cluster's mean from the overall mean is divided by its expectation, in units
of the variance of a cluster's mean, 1 - 2 h_g + s (the bias-reduced linearisation CR2 of Bell and
McCaffrey 2002, for a mean), and the degrees of freedom are Satterthwaite's, of the same quadratic
form. Both have the working model that means of clusters have one variance. Degrees of freedom are
limited to those of a variance of G values with the tails of a Laplace distribution.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liere_cli.statistics.samples import Array
from liere_cli.statistics.student import Source

#: fewest clusters from which the interaction of seeds and clusters is subtracted; with fewer its
#: estimate is so noisy that intervals would cover too rarely
MIN_CLUSTERS_SUBTRACTED = 30
#: excess kurtosis of clusters' differences that intervals allow for: Laplace's. The tails of few
#: clusters can't be seen in them, and quantiles for normal ones cover skewed effects too rarely
EXCESS_KURTOSIS = 3.0


@dataclass(frozen=True)
class ItemError:
    """How far the choice of test items could move a mean difference.

    Args:
        error: standard error, in units of the metric.
        clusters: independent groups of items, at least 2.
        freedom: degrees of freedom of the error, as of :func:`degrees_of_freedom`.
    """

    error: float
    clusters: int
    freedom: float


def sources_of(test_set: ItemError | None) -> list[Source]:
    """The test set as a source of error, where it has an error above zero."""
    if test_set is None or test_set.error <= 0:
        return []
    return [Source(test_set.error, test_set.freedom)]


@dataclass(frozen=True)
class ItemResults:
    """One run's results over the items of its test set.

    Args:
        scores: [N] float64, summed over an item's weight, in units of the metric.
        weights: [N] float64; bytes of a window, 1 for a classified item.
        groups: [N] int64; items with equal numbers form a cluster.
    """

    scores: Array
    weights: Array
    groups: NDArray[np.int64]


@dataclass(frozen=True)
class ItemDifferences:
    """Differences between two encodings by seed and cluster.

    Args:
        sums: [n, G] summed over a cluster's items, in units of the metric.
        weights: [G]; the difference of a seed is ``sums[seed].sum() / weights.sum()``.
    """

    sums: Array
    weights: Array

    def times(self, factor: float) -> "ItemDifferences":
        """The same differences in another unit or direction."""
        return ItemDifferences(factor * self.sums, self.weights)

    def test_set(self, n: int) -> ItemError | None:
        """The error of the first ``n`` seeds; None with fewer than 2 seeds or 2 clusters."""
        variance = self.covariance(self, n)
        if variance is None:
            return None
        shares = self.weights / self.weights.sum()
        error = math.sqrt(max(variance, 0.0))
        return ItemError(error, shares.size, degrees_of_freedom(shares))

    def covariance(self, other: "ItemDifferences", n: int) -> float | None:
        """The test set's covariance of this mean difference and another one over the same items.

        Of the first ``n`` seeds; None with fewer than 2 seeds or 2 clusters. It may be negative,
        also with itself, as the interaction is subtracted.
        """
        clusters = self.weights.size
        if min(n, len(self.sums)) < 2 or clusters < 2:
            return None
        shares = self.weights / self.weights.sum()
        correction = _leverage_correction(shares)
        ours, theirs = self._parts(n, shares), other._parts(n, shares)
        covariance = float(np.sum(correction * ours.mean(axis=0) * theirs.mean(axis=0)))
        if clusters >= MIN_CLUSTERS_SUBTRACTED:
            crossed = (ours - ours.mean(axis=0)) * (theirs - theirs.mean(axis=0))
            over_seeds = crossed.sum(axis=0) / (len(ours) - 1)
            covariance -= float(np.sum(correction * over_seeds)) / len(ours)
        return covariance

    def _parts(self, n: int, shares: Array) -> Array:
        """Each cluster's part of the deviation from the mean at each of ``n`` seeds, [n, G]."""
        differences = self.sums[:n] / self.weights
        return np.asarray(shares * (differences - (differences @ shares)[:, None]))


@dataclass(frozen=True)
class StoredItemError:
    """The result of :meth:`ItemDifferences.test_set` for ``n`` seeds, computed earlier."""

    n: int
    error: ItemError | None

    def test_set(self, n: int) -> ItemError | None:
        """The stored error; raises ValueError if it was computed for another number of seeds."""
        if n != self.n:
            raise ValueError(f"{n} seeds, but the error is that of {self.n}")
        return self.error


def _leverage_correction(shares: Array) -> Array:
    """Factors [G] that make each cluster's squared residual unbiased, of shares [G] of weight."""
    # as a sum of squares, which a cluster with nearly all of the weight leaves above zero
    others = np.maximum(np.sum(shares**2) - shares**2, 0.0)
    return np.asarray(1 / ((1 - shares) ** 2 + others))


def satterthwaite_freedom(shares: Array) -> float:
    """Degrees of freedom of the variance of a weighted mean, with weights [G] that sum to 1.

    The variance is a quadratic form e'Qe of the clusters' means; it has the mean and variance of a
    chi-squared variable of tr(Q)^2 / tr(Q^2) degrees of freedom (Satterthwaite 1946). G - 1 for
    equal weights. In closed form, as Q has G x G entries: Q = M'DM with M = I - 1h' and D diagonal,
    and entries of MM' are those of I plus u_i + u_j.
    """
    d = shares**2 * _leverage_correction(shares)
    u = np.sum(shares**2) / 2 - shares
    crossed = 2 * np.sum(d * u**2) * np.sum(d) + 2 * np.sum(d * u) ** 2
    freedom = float(np.sum(shares**2) ** 2 / (crossed + np.sum(d**2 * (1 + 4 * u))))
    return min(max(freedom, 1.0), shares.size - 1.0)  # beyond by rounding alone


def degrees_of_freedom(shares: Array) -> float:
    """Of the variance of a weighted mean, with weights [G] that sum to 1; at least 1.

    The smaller of :func:`satterthwaite_freedom`, and of the same for equal weights and values with
    an excess kurtosis k, whose variance has a squared coefficient of variation 2 / (G - 1) + k / G.
    """
    clusters = shares.size
    with_tails = 2 / (2 / (clusters - 1) + EXCESS_KURTOSIS / clusters)
    return max(min(satterthwaite_freedom(shares), with_tails), 1.0)


def adjacent_blocks(windows: int) -> NDArray[np.int64]:
    """Numbers of blocks of adjacent windows [windows], of nearly equal size.

    Windows of one text depend on their neighbours (+.2 to +.26 between those of ``stdlib``), and
    blocks hardly do. A block has about 2 N^(1/3) of N windows, of the order that minimises the
    error of a variance by batch means (Carlstein 1986): longer blocks would be too few.
    """
    blocks = max(round(windows ** (2 / 3) / 2), min(windows, 2))
    return np.asarray(np.arange(windows) * blocks // max(windows, 1), dtype=np.int64)


def item_differences(
    values: Sequence[ItemResults | None], baseline: Sequence[ItemResults | None]
) -> ItemDifferences | None:
    """Differences between [n] runs each at the same seeds; None if items are missing or differ."""
    first = values[0] if values else None
    if first is None:
        return None
    _, index = np.unique(first.groups, return_inverse=True)
    sums = []
    for ours, theirs in zip(values, baseline, strict=True):
        if ours is None or theirs is None:
            return None
        for name in ("groups", "weights"):
            expected = getattr(first, name)
            if not all(np.array_equal(getattr(run, name), expected) for run in (ours, theirs)):
                return None
        sums.append(np.bincount(index, weights=ours.scores - theirs.scores))
    weights = np.bincount(index, weights=first.weights).astype(np.float64)
    return ItemDifferences(np.stack(sums).astype(np.float64), weights)
