"""What pairing by seed gains: power with shared and with independent seeds."""

import math
from collections.abc import Callable
from typing import TypedDict

import numpy as np

from liere_cli.bench.verdicts.worlds import correlated
from liere_cli.statistics.correction import ALPHA
from liere_cli.statistics.power import detectable_difference
from liere_cli.statistics.samples import Array
from liere_cli.statistics.student import student_p
from liere_cli.statistics.verdicts import POWER

CORRELATIONS = (0.0, 0.3, 0.6, 0.9)


class PairingRow(TypedDict):
    """One comparison with shared and with independent seeds: power, and seeds for 80% power."""

    correlation: float
    effect: float
    seeds: int
    power_paired: float
    power_unpaired: float
    seeds_paired: int
    seeds_unpaired: int


def pairing_rows(tables: int) -> list[PairingRow]:
    """One comparison at several correlations of two encodings' scores over shared seeds."""
    return [_pairing_row(correlation, tables) for correlation in CORRELATIONS]


def _pairing_row(
    correlation: float, tables: int, seeds: int = 5, effect: float = 1.5
) -> PairingRow:
    """Shared and independent seeds with a true difference of ``effect``, in standard deviations of
    one encoding's score.
    """
    generator = np.random.default_rng(round(1000 * correlation))
    scores = correlated(generator, (tables, 1, 2, 2 * seeds), correlation)[:, 0]
    scores[:, 1] += effect
    mean, error = _estimates(scores[:, 1, :seeds] - scores[:, 0, :seeds])
    paired = float((student_p(mean, error, seeds - 1) <= ALPHA).mean())
    # the baseline's later seeds are independent of the encoding's first ones
    ours, theirs = scores[:, 1, :seeds], scores[:, 0, seeds:]
    pooled = (ours.var(axis=-1, ddof=1) + theirs.var(axis=-1, ddof=1)) / seeds
    difference = ours.mean(axis=-1) - theirs.mean(axis=-1)
    unpaired = float((student_p(difference, np.sqrt(pooled), 2 * seeds - 2) <= ALPHA).mean())
    return {
        "correlation": correlation,
        "effect": effect,
        "seeds": seeds,
        "power_paired": paired,
        "power_unpaired": unpaired,
        "seeds_paired": _seeds_for(effect, math.sqrt(2 * (1 - correlation)), lambda n: n),
        "seeds_unpaired": _seeds_for(effect, math.sqrt(2), lambda n: 2 * n - 1),
    }


def _seeds_for(effect: float, std: float, values: Callable[[int], int]) -> int:
    """Seeds of each encoding that show the effect with 80% power; ``values`` maps seeds to the
    independent values that the spread is estimated from.
    """
    n = 2
    while detectable_difference(std, values(n), ALPHA, POWER) * math.sqrt(values(n) / n) > effect:
        n += 1
    return n


def _estimates(differences: Array) -> tuple[Array, Array]:
    """Mean and standard error over seeds of differences [..., n]."""
    n = differences.shape[-1]
    return differences.mean(axis=-1), differences.std(axis=-1, ddof=1) / math.sqrt(n)
