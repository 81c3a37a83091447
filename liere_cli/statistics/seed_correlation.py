"""Correlation of two encodings over shared seeds, and the seeds that pairing by seed saves."""

import itertools
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from liere_cli.statistics.power import MAX_SEEDS
from liere_cli.statistics.samples import paired_differences, standard_deviation, vector
from liere_cli.statistics.student import CONFIDENCE, student_quantile

#: the fewest seeds whose correlation is estimated
PAIRING_SEEDS = 5
#: permutations of the seeds that it is compared with
PERMUTATIONS = 1000


def correlation(values: ArrayLike, baseline: ArrayLike) -> float | None:
    """Pearson's correlation over seeds, both [n]; None below 3 seeds or without any spread."""
    first, second = vector(values), vector(baseline)
    if first.size < 3 or standard_deviation(first) == 0 or standard_deviation(second) == 0:
        return None
    return float(np.clip(np.corrcoef(first, second)[0, 1], -1.0, 1.0))


@dataclass(frozen=True)
class Pairing:
    """The effect of pairing a comparison by its ``n`` shared seeds.

    Args:
        correlation: Pearson's, between both encodings over shared seeds.
        low, high: ends of its 95% interval, by Fisher's z.
        unshared_low, unshared_high: the middle 95% of the correlation under permuted seeds.
        p: share of permutations whose correlation is at least as far from zero.
        paired_std: standard deviation of the differences at shared seeds.
        unpaired_std: of a difference between independent runs, from both variances.
        seeds_unshared: independent seeds of each encoding whose interval is as narrow as the
            paired one; None above 1000.
    """

    n: int
    correlation: float
    low: float
    high: float
    unshared_low: float
    unshared_high: float
    p: float
    paired_std: float
    unpaired_std: float
    seeds_unshared: int | None


def pairing(values: ArrayLike, baseline: ArrayLike) -> Pairing | None:
    """Correlation over shared seeds against permuted ones, and the seeds that pairing saves.

    None below 5 seeds, or if an encoding scores the same at all of them.
    """
    first, second = vector(values), vector(baseline)
    n = first.size
    if n < PAIRING_SEEDS or standard_deviation(first) == 0 or standard_deviation(second) == 0:
        return None
    result = stats.pearsonr(first, second)
    interval = result.confidence_interval(CONFIDENCE)
    standard = stats.zscore(second) / n
    permuted = np.sum(first[_permutations(n)] * standard, axis=1) / first.std()
    # the identity permutation must count, whatever rounding does
    extreme = np.abs(permuted) >= abs(result.statistic) - 1e-12
    ends = np.quantile(permuted, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    paired_std = standard_deviation(paired_differences(first, second))
    unpaired_std = math.hypot(standard_deviation(first), standard_deviation(second))
    numbers = (result.statistic, interval.low, interval.high, *ends, extreme.mean())
    correlation, low, high, unshared_low, unshared_high, p = map(float, numbers)
    needed = _seeds_unshared(n, paired_std, unpaired_std)
    return Pairing(
        n, correlation, low, high, unshared_low, unshared_high, p, paired_std, unpaired_std, needed
    )


@cache
def _permutations(n: int) -> NDArray[np.int64]:
    """[p, n] orders of n seeds: all of them up to 1000, else 1000 random ones, always the same."""
    if math.factorial(n) <= PERMUTATIONS:
        return np.array(list(itertools.permutations(range(n))))
    random = np.random.default_rng(0)
    return np.stack([random.permutation(n) for _ in range(PERMUTATIONS)])


def _seeds_unshared(n: int, paired_std: float, unpaired_std: float) -> int | None:
    """Seeds of each encoding whose unpaired interval is at most as wide as that of n pairs."""
    paired_half = float(student_quantile(1 - CONFIDENCE, n - 1)) * paired_std / math.sqrt(n)
    counts = np.arange(2, MAX_SEEDS + 1)
    halves = student_quantile(1 - CONFIDENCE, 2 * counts - 2) * unpaired_std / np.sqrt(counts)
    enough = np.flatnonzero(halves <= paired_half)
    return int(counts[enough[0]]) if enough.size else None
