"""Scores of all encodings of one data set by seed, pairs of them, and the failures among them.

Shapes: E encodings, S seeds.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from liere_cli.statistics import paired
from liere_cli.statistics.item_errors import ItemDifferences, StoredItemError
from liere_cli.statistics.paired import Paired
from liere_cli.statistics.samples import Array
from liere_cli.statistics.spread import Pooled, pooled_spread

Bools = NDArray[np.bool_]
Columns = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of the encodings of one data set.

    Args:
        values: [E, S] in units of the metric; NaN where a run has no score.
        failed: [E, S] where a run ended without a score: it diverged or failed.
        higher_is_better: the metric's direction.
    """

    values: Array
    failed: Bools
    higher_is_better: bool
    _pooled: dict[Columns, Pooled | None] = field(default_factory=dict, repr=False)

    @classmethod
    def of_pair(
        cls, values: ArrayLike, baseline: ArrayLike, higher_is_better: bool = True
    ) -> "Scores":
        """Scores of two encodings alone, both [n]: row 0 is the first, row 1 its baseline."""
        both = np.stack([np.atleast_1d(values), np.atleast_1d(baseline)]).astype(np.float64)
        return cls(both, np.zeros(both.shape, dtype=bool), higher_is_better)

    @cached_property
    def finished(self) -> Bools:
        """[E, S] where a run has a score."""
        return np.isfinite(self.values)

    def pooled(self, columns: Columns) -> Pooled | None:
        """What all encodings' scores at some seeds tell about the spread of a difference."""
        if columns not in self._pooled:
            self._pooled[columns] = pooled_spread(self.values[:, columns])
        return self._pooled[columns]

    @cached_property
    def failures_ranked_worst(self) -> "Scores":
        """The same with the worst score of any encoding in the place of every failure."""
        finite = self.values[self.finished]
        if not finite.size:
            return self
        worst = finite.min() if self.higher_is_better else finite.max()
        values = np.where(self.failed, worst, self.values)
        return Scores(values, np.zeros_like(self.failed), self.higher_is_better)


@dataclass(frozen=True)
class Pair:
    """An encoding and its baseline on one data set.

    Args:
        scores: of all encodings of the data set.
        encoding, baseline: their rows in ``scores``.
        margin: the smallest difference that matters, in units of the metric.
        items: differences over the test items at the shared seeds, where runs stored them.
        seeds: columns of ``scores`` that may be used; None: all.
    """

    scores: Scores
    encoding: int
    baseline: int
    margin: float | None = None
    items: ItemDifferences | StoredItemError | None = None
    seeds: Columns | None = None

    @cached_property
    def shared(self) -> Columns:
        """Columns of seeds that both finished."""
        rows = [self.encoding, self.baseline]
        return self._columns(np.all(self.scores.finished[rows], axis=0))

    @cached_property
    def failed(self) -> Columns:
        """Columns of seeds at which one of both failed."""
        rows = [self.encoding, self.baseline]
        failed = self.scores.failed[rows]
        ended = np.all(self.scores.finished[rows] | failed, axis=0)
        return self._columns(np.asarray(ended & np.any(failed, axis=0)))

    def values(self, columns: Columns | None = None) -> Array:
        """The encoding's scores, [n], at the shared seeds or some others."""
        return self.scores.values[self.encoding, self.shared if columns is None else columns]

    def baseline_values(self, columns: Columns | None = None) -> Array:
        """The baseline's scores, [n]."""
        return self.scores.values[self.baseline, self.shared if columns is None else columns]

    def estimate(self, n: int | None = None) -> Paired | None:
        """The paired difference over the first n shared seeds; None: over all."""
        columns = self.shared[:n]
        test_set = None if self.items is None else self.items.test_set(len(columns))
        pooled = self.scores.pooled(columns) if len(columns) > 1 else None
        values, baseline = self.values(columns), self.baseline_values(columns)
        return paired.paired(values, baseline, test_set, pooled)

    def _columns(self, chosen: ArrayLike) -> Columns:
        columns = np.flatnonzero(chosen).tolist()
        if self.seeds is None:
            return tuple(columns)
        return tuple(column for column in self.seeds if column in columns)


def pair_of(
    values: ArrayLike,
    baseline: ArrayLike,
    higher_is_better: bool = True,
    margin: float | None = None,
    items: ItemDifferences | StoredItemError | None = None,
) -> Pair:
    """Scores of two encodings alone, both [n] at the same seeds."""
    return Pair(Scores.of_pair(values, baseline, higher_is_better), 0, 1, margin, items)


def highest_failure_rate(failed: int, runs: int, confidence: float = 0.95) -> float:
    """Upper bound on the chance that a run fails, of which ``failed`` of ``runs`` did.

    One-sided and exact (Clopper and Pearson 1934): 45% where none of 5 failed.
    """
    if failed >= runs:
        return 1.0
    return float(special.betaincinv(failed + 1, runs - failed, confidence))
