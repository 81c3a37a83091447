"""Corrections for the number of comparisons, and the intervals that agree with them.

Shapes: p-values [..., m] of m comparisons; NaN marks a comparison without a test, which stays NaN
and is not counted.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from liere_cli.statistics.samples import Array

#: chance of any wrong ``better`` or ``worse`` in a family of comparisons
ALPHA = 0.05


def holm(p_values: ArrayLike, tests: int = 0) -> Array:
    """Holm's step-down correction (1979): [..., m], for any dependence.

    If corrected values at or below 5% are rejected, the chance of any false rejection in a table
    is at most 5%. ``tests`` is the number of comparisons to correct for where it is larger than m.
    """
    p, order, ranks = _ranked(p_values)
    steps = np.maximum(np.maximum(_tests(p), tests) - ranks, 1)
    stepped = np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * steps, axis=-1)
    return _in_place(stepped, order)


def benjamini_hochberg(p_values: ArrayLike, tests: int = 0) -> Array:
    """The step-up correction of Benjamini and Hochberg (1995): [..., m].

    If corrected values at or below 5% are rejected, the expected share of false ones among the
    rejections is at most 5%, for independent or positively dependent comparisons.
    """
    p, order, ranks = _ranked(p_values)
    steps = np.maximum(_tests(p), tests) / (ranks + 1)
    scaled = np.take_along_axis(p, order, axis=-1) * steps
    stepped = np.fmin.accumulate(scaled[..., ::-1], axis=-1)[..., ::-1]
    return _in_place(np.where(np.isnan(scaled), np.nan, stepped), order)


def _holm_levels(p_values: ArrayLike, corrected: Array, tests: int) -> Array:
    """The level of the step of Holm's procedure that decided each comparison.

    Comparisons of equal p-values were decided by the first of their steps.
    """
    p, order, ranks = _ranked(p_values)
    ordered = np.take_along_axis(p, order, axis=-1)
    new = np.diff(ordered, axis=-1, prepend=-1) != 0
    ranks = np.maximum.accumulate(np.where(new, ranks, 0), axis=-1)
    rejected = (corrected <= ALPHA).sum(axis=-1, keepdims=True)
    left = np.maximum(np.maximum(_tests(p), tests) - np.minimum(ranks, rejected), 1)
    return _placed(np.broadcast_to(ALPHA / left, p.shape), order)


def _false_discovery_levels(p_values: ArrayLike, corrected: Array, tests: int) -> Array:
    """Levels at which intervals of selected comparisons miss 5% (Benjamini and Yekutieli 2005)."""
    rejected = (corrected <= ALPHA).sum(axis=-1, keepdims=True)
    count = np.maximum(np.maximum(_tests(corrected), tests), 1)
    return np.asarray(np.broadcast_to(ALPHA * np.maximum(rejected, 1) / count, corrected.shape))


@dataclass(frozen=True)
class Correction:
    """A correction for many comparisons.

    Args:
        name: in signatures.
        label: in sentences.
        correct: p-values and the number of comparisons to corrected p-values.
        levels: p-values, corrected ones and the number of comparisons to the level of each
            comparison's interval, which excludes zero exactly where the corrected p-value is at
            most 5%.
    """

    name: str
    label: str
    correct: Callable[[ArrayLike, int], Array]
    levels: Callable[[ArrayLike, Array, int], Array]


HOLM = Correction("holm", "Holm", holm, _holm_levels)
FALSE_DISCOVERY_RATE = Correction(
    "bh", "Benjamini-Hochberg", benjamini_hochberg, _false_discovery_levels
)


def _ranked(p_values: ArrayLike) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """P-values, the order that sorts them with NaN last, and ranks 0, 1, ..., m - 1."""
    p = np.atleast_1d(np.asarray(p_values, dtype=np.float64))
    return p, np.argsort(p, axis=-1, kind="stable"), np.arange(p.shape[-1])


def _tests(p: Array) -> NDArray[np.int64]:
    return np.asarray((~np.isnan(p)).sum(axis=-1, keepdims=True))


def _in_place(ordered: Array, order: NDArray[np.int64]) -> Array:
    """Corrected p-values at the places of their comparisons, at most 1."""
    return _placed(np.minimum(ordered, 1.0), order)


def _placed(ordered: Array, order: NDArray[np.int64]) -> Array:
    placed = np.empty(ordered.shape)
    np.put_along_axis(placed, order, ordered, axis=-1)
    return placed
