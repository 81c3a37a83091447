"""Whether intervals hold where more than seeds is uncertain: test sets, and ratios of gains.

Both go through the code that judges runs: :func:`liere_cli.statistics.paired.paired` with
:class:`liere_cli.statistics.test_items.ItemDifferences`, and
:func:`liere_cli.statistics.interaction.judge_interactions`.
"""

import math
from typing import Any

import numpy as np

from liere_cli.statistics.interaction import Interaction, Side, judge_interactions, relative_gain
from liere_cli.statistics.paired import paired
from liere_cli.statistics.test_items import ItemDifferences

SEEDS = (3, 5, 10)
#: independent groups of items in a test set
CLUSTERS = 100
#: standard deviations of a difference over seeds, from the test set, in units of the latter
SEED_SPREADS = (0.0, 1.0, 3.0)


def item_figures(comparisons: int) -> list[dict[str, Any]]:
    """Coverage of intervals over new seeds and new test items.

    Args:
        comparisons: simulated for each figure.

    Returns:
        For numbers of seeds and spreads over seeds (in units of the test set's own standard
        error): the coverage of the table's intervals, and of intervals over seeds alone.
    """
    figures = []
    for seeds in SEEDS:
        for spread in SEED_SPREADS:
            generator = np.random.default_rng([seeds, round(10 * spread)])
            both, alone = 0, 0
            for _ in range(comparisons):
                # items that differ at every seed, and as much noise of each seed's own
                items = generator.standard_normal(CLUSTERS)
                noise = generator.standard_normal((seeds, CLUSTERS))
                shift = spread / math.sqrt(CLUSTERS) * generator.standard_normal((seeds, 1))
                sums = items + noise + shift
                differences = ItemDifferences(sums, np.ones(CLUSTERS))
                scores, zeros = sums.mean(axis=1), np.zeros(seeds)
                both += _covers(scores, zeros, differences)
                alone += _covers(scores, zeros, None)
            figures.append(
                {
                    "seeds": seeds,
                    "spread": spread,
                    "coverage": both / comparisons,
                    "coverage_seeds_alone": alone / comparisons,
                }
            )
    return figures


def interaction_figures(comparisons: int) -> list[dict[str, Any]]:
    """Errors of interactions between two data sets whose relative gains are equal.

    Args:
        comparisons: simulated for each figure.

    Returns:
        For numbers of seeds and what position is worth (the baseline's gain over the floor, in
        standard deviations of a score): the share of wrong ``larger`` or ``smaller``, the
        coverage, and the share that was undefined.
    """
    figures = []
    for seeds in SEEDS:
        for baseline_gain in (10.0, 30.0):
            generator = np.random.default_rng([seeds, round(baseline_gain)])
            wrong, covered, defined = 0, 0, 0
            for _ in range(comparisons):
                on, against = (
                    relative_gain(_side(generator, seeds, baseline_gain)) for _ in range(2)
                )
                one = Interaction("encoding", "floor", on, against)
                judged = judge_interactions([one])[0]
                if judged.low is None or judged.high is None:
                    continue
                defined += 1
                wrong += judged.label in ("larger", "smaller")
                covered += judged.low <= 0 <= judged.high
            figures.append(
                {
                    "seeds": seeds,
                    "worth": baseline_gain,
                    "wrong_rate": wrong / max(defined, 1),
                    "coverage": covered / max(defined, 1),
                    "undefined": 1 - defined / comparisons,
                }
            )
    return figures


def _covers(scores: Any, zeros: Any, items: ItemDifferences | None) -> bool:
    result = paired(scores, zeros, items.test_set(len(scores)) if items else None)
    assert result is not None
    assert result.low is not None
    assert result.high is not None
    return result.low <= 0 <= result.high


def _side(generator: np.random.Generator, seeds: int, baseline_gain: float) -> Side:
    """Encoding, baseline and floor with noise of their own; the relative gain is a fifth."""
    encoding, baseline, control = generator.standard_normal((3, seeds))
    return Side(
        "data",
        "modality",
        "baseline",
        tuple(range(seeds)),
        tuple((encoding - baseline + 0.2 * baseline_gain).tolist()),
        tuple((baseline - control + baseline_gain).tolist()),
    )
