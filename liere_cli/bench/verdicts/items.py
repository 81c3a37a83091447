"""Coverage of intervals over new seeds and new test items, where items are not independent.

Uses the code that judges runs: :class:`liere_cli.statistics.item_errors.ItemDifferences`, blocks of
:func:`liere_cli.statistics.item_errors.adjacent_blocks`, and
:func:`liere_cli.statistics.paired.paired`.
"""

import math
from collections.abc import Callable
from typing import TypedDict

import numpy as np

from liere_cli.statistics.item_errors import ItemDifferences, adjacent_blocks
from liere_cli.statistics.paired import paired
from liere_cli.statistics.samples import Array

SEEDS = (5, 10, 20)
CLUSTERS = (2, 3, 4, 8, 12, 25)
#: as runs show it, and a test set that is nearly the only source of error
SPREADS = (1.0, 0.1)
#: windows of a text, and the correlation between neighbours (of a first-order autoregression)
WINDOWS = (100, 1000)
CORRELATIONS = (0.0, 0.25, 0.5)


class ClusterRow(TypedDict):
    """Coverage where items form few clusters.

    Args:
        sizes: ``equal``, or ``unequal``: lognormal with a standard deviation of 1 of the logarithm.
        effects: distribution of a cluster's difference that is common to all seeds.
        spread: standard deviation over seeds, in standard errors of the test set; at 1, clusters
            also differ by seed as much as among each other, and below not at all.
    """

    seeds: int
    clusters: int
    sizes: str
    effects: str
    spread: float
    coverage: float


class WindowRow(TypedDict):
    """Coverage where neighbours among the windows of a text are correlated."""

    seeds: int
    windows: int
    correlation: float
    coverage: float
    coverage_windows: float


def cluster_rows(tables: int) -> list[ClusterRow]:
    """Every number of seeds and clusters, equal and unequal, with each distribution of effects."""
    rows: list[ClusterRow] = []
    for seeds in SEEDS:
        for clusters in CLUSTERS:
            for sizes in ("equal", "unequal"):
                for index, (name, effects) in enumerate(EFFECTS.items()):
                    for spread in SPREADS:
                        entropy = [seeds, clusters, len(sizes), index, round(10 * spread)]
                        generator = np.random.default_rng(entropy)
                        covered = sum(
                            _covers(_clustered(generator, seeds, clusters, sizes, effects, spread))
                            for _ in range(tables)
                        )
                        rows.append(
                            {
                                "seeds": seeds,
                                "clusters": clusters,
                                "sizes": sizes,
                                "effects": name,
                                "spread": spread,
                                "coverage": covered / tables,
                            }
                        )
    return rows


def window_rows(tables: int) -> list[WindowRow]:
    """Coverage with blocks, and with windows as independent items, for every correlation."""
    rows: list[WindowRow] = []
    for seeds in SEEDS:
        for windows in WINDOWS:
            blocks = adjacent_blocks(windows)
            starts = np.flatnonzero(np.diff(blocks, prepend=-1))
            sizes = np.bincount(blocks).astype(np.float64)
            for correlation in CORRELATIONS:
                generator = np.random.default_rng([seeds, windows, round(100 * correlation)])
                covered, alone = 0, 0
                for _ in range(tables):
                    # differences common to all seeds, and further ones by seed of half their size
                    shape = (seeds + 1, windows)
                    common, *own = _autoregression(generator, shape, correlation)
                    sums = common + 0.5 * np.stack(own)
                    sums += generator.standard_normal((seeds, 1)) / math.sqrt(windows)
                    in_blocks = np.add.reduceat(sums, starts, axis=1)
                    covered += _covers(ItemDifferences(in_blocks, sizes))
                    alone += _covers(ItemDifferences(sums, np.ones(windows)))
                rows.append(
                    {
                        "seeds": seeds,
                        "windows": windows,
                        "correlation": correlation,
                        "coverage": covered / tables,
                        "coverage_windows": alone / tables,
                    }
                )
    return rows


def _clustered(
    generator: np.random.Generator,
    seeds: int,
    clusters: int,
    sizes: str,
    effects: Callable[[np.random.Generator, int], Array],
    spread: float,
) -> ItemDifferences:
    """Differences whose mean over new seeds, clusters and sizes is zero."""
    weights = np.ones(clusters)
    if sizes == "unequal":
        weights = np.exp(generator.standard_normal(clusters))
    differences = np.tile(effects(generator, clusters), (seeds, 1))
    differences += spread / math.sqrt(clusters) * generator.standard_normal((seeds, 1))
    if spread >= 1:
        differences += generator.standard_normal((seeds, clusters))
    return ItemDifferences(differences * weights, weights)


def _covers(differences: ItemDifferences) -> bool:
    """Whether the interval of the mean difference holds zero; also where it has no ends."""
    scores = differences.sums.sum(axis=1) / differences.weights.sum()
    result = paired(scores, np.zeros(scores.size), differences.test_set(scores.size))
    assert result is not None
    return result.low is None or result.high is None or result.low <= 0 <= result.high


def _autoregression(
    generator: np.random.Generator, shape: tuple[int, int], correlation: float
) -> Array:
    """Stationary standard normal series [..., windows] with that correlation of neighbours."""
    from scipy.signal import lfilter

    noise = math.sqrt(1 - correlation**2) * generator.standard_normal(shape)
    start = correlation * generator.standard_normal((shape[0], 1))
    return np.asarray(lfilter([1.0], [1.0, -correlation], noise, zi=start)[0], dtype=np.float64)


#: differences [clusters] with mean 0 and variance 1
EFFECTS: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "normal": lambda generator, clusters: generator.standard_normal(clusters),
    "skewed": lambda generator, clusters: generator.standard_exponential(clusters) - 1,
    "lognormal": lambda generator, clusters: (
        (np.exp(generator.standard_normal(clusters)) - math.exp(0.5))
        / math.sqrt(math.e * (math.e - 1))
    ),
}
