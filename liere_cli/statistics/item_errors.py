"""The finite test set as a source of error: results per item, paired and summed by cluster.

Shapes: n seeds that both encodings finished, N items, G clusters. Clips of one recording, or
windows of one file where a data set defines them so, form a cluster and don't count as independent.

The score of a seed is the mean over items, so a difference varies with the seeds and with the
items that were drawn. What is drawn anew for every seed *and* item is already in the spread over
seeds. The test set adds the part that is the same at every seed: items on which one encoding does
better whatever the seed. It is the clustered variance of the differences averaged over seeds, less
the interaction's share of it (the variance components of a two-way layout without replication;
two-way clustering subtracts the same term: Cameron, Gelbach and Miller 2011).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from liere_cli.statistics.samples import Array
from liere_cli.statistics.student import Source


@dataclass(frozen=True)
class ItemError:
    """How far the choice of test items could move a mean difference.

    Args:
        error: standard error, in units of the metric.
        clusters: independent groups of items, at least 2.
    """

    error: float
    clusters: int


def sources_of(test_set: ItemError | None) -> list[Source]:
    """The test set as a source of error, where it has an error above zero."""
    if test_set is None or test_set.error <= 0:
        return []
    return [Source(test_set.error, test_set.clusters - 1)]


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
        clusters = self.weights.size
        if min(n, len(self.sums)) < 2 or clusters < 2:
            return None
        sums = self.sums[:n]
        averaged = clustered_error(sums.mean(axis=0), self.weights) ** 2
        residuals = _residuals(sums, self.weights)
        crossed = (
            residuals
            - residuals.mean(axis=1, keepdims=True)
            - residuals.mean(axis=0)
            + residuals.mean()
        )
        freedom = (len(sums) - 1) * (clusters - 1)
        interaction = clusters / len(sums) * float(np.sum(crossed**2)) / freedom
        return ItemError(math.sqrt(max(averaged - interaction, 0.0)), clusters)


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


def clustered_error(sums: ArrayLike, weights: ArrayLike) -> float:
    """The cluster-robust standard error of ``sums.sum() / weights.sum()``, both [G].

    The sandwich estimator of a weighted mean with the correction G / (G - 1) for G clusters
    (Cameron and Miller 2015). If every item is its own cluster and weights are equal, it is the
    standard error of a mean.
    """
    residuals = _residuals(np.asarray(sums, dtype=np.float64), np.asarray(weights))
    clusters = residuals.size
    return math.sqrt(clusters / (clusters - 1) * float(np.sum(residuals**2)))


def _residuals(sums: Array, weights: Array) -> Array:
    """Each cluster's share in the deviation from the overall mean, [..., G]."""
    total = weights.sum()
    mean = sums.mean(axis=0).sum() / total if sums.ndim > 1 else sums.sum() / total
    return np.asarray((sums - mean * weights) / total, dtype=np.float64)


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
