"""What pairing by seed is worth."""

import itertools
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from liere_cli.statistics.paired import CONFIDENCE, _differences, _std, _vector, student_quantile
from liere_cli.statistics.power import MAX_SEEDS

#: seeds from which on a correlation says something, and permutations that it is held against
PAIRING_SEEDS = 5


PERMUTATIONS = 1000


def correlation(values: ArrayLike, baseline: ArrayLike) -> float | None:
    """Pearson's correlation of values [n] over seeds; None below 3 or without any spread."""
    first, second = _vector(values), _vector(baseline)
    if first.size < 3 or _std(first) == 0 or _std(second) == 0:
        return None
    return float(np.clip(np.corrcoef(first, second)[0, 1], -1.0, 1.0))


@dataclass(frozen=True)
class Pairing:
    """What shared seeds buy a comparison of ``n`` seeds.

    Args:
        correlation: of both encodings over shared seeds (Pearson).
        low, high: of its 95% interval, by Fisher's z.
        unshared_low, unshared_high: the middle 95% of it where seeds are permuted, so that runs of
            unlike seeds are paired.
        p: the share of permutations whose correlation is at least as far from zero.
        paired_std: standard deviation of the differences at shared seeds.
        unpaired_std: what it would be with seeds of their own, from both variances.
        seeds_unshared: of each encoding's own that give an interval as narrow as the paired one.
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
    """Correlation over shared seeds, against permuted ones, and the seeds that it saves.

    Args:
        values, baseline: [n] at the same seeds.

    Returns:
        None below 5 seeds, or where an encoding scores the same at all of them.
    """
    first, second = _vector(values), _vector(baseline)
    n = first.size
    if n < PAIRING_SEEDS or _std(first) == 0 or _std(second) == 0:
        return None
    result = stats.pearsonr(first, second)
    interval = result.confidence_interval(CONFIDENCE)
    standard = stats.zscore(second) / n
    permuted = np.sum(first[_permutations(n)] * standard, axis=1) / first.std()
    # rounding must not make a permutation that changes nothing a smaller one
    far = np.abs(permuted) >= abs(result.statistic) - 1e-12
    ends = np.quantile(permuted, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    paired_std = _std(_differences(first, second))
    unpaired_std = math.hypot(_std(first), _std(second))
    return Pairing(
        n,
        float(result.statistic),
        float(interval.low),
        float(interval.high),
        float(ends[0]),
        float(ends[1]),
        float(far.mean()),
        paired_std,
        unpaired_std,
        _seeds_unshared(n, paired_std, unpaired_std),
    )


@cache
def _permutations(n: int) -> NDArray[np.int64]:
    """[p, n] orders of n seeds: all where they are few, else random ones, always the same."""
    if math.factorial(n) <= PERMUTATIONS:
        return np.array(list(itertools.permutations(range(n))))
    random = np.random.default_rng(0)
    return np.stack([random.permutation(n) for _ in range(PERMUTATIONS)])


def _seeds_unshared(n: int, paired_std: float, unpaired_std: float) -> int | None:
    """Seeds of each encoding whose unpaired interval is at most as wide as n paired ones'."""
    wanted = float(student_quantile(1 - CONFIDENCE, n - 1)) * paired_std / math.sqrt(n)
    counts = np.arange(2, MAX_SEEDS + 1)
    halves = student_quantile(1 - CONFIDENCE, 2 * counts - 2) * unpaired_std / np.sqrt(counts)
    enough = np.flatnonzero(halves <= wanted)
    return int(counts[enough[0]]) if enough.size else None
