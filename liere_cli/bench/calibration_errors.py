"""Coverage of intervals with further sources of error: test sets, and ratios of gains.

Both use the code that judges runs: :func:`liere_cli.statistics.paired.paired` with
:class:`liere_cli.statistics.item_errors.ItemDifferences`, and
:func:`liere_cli.statistics.interaction.judge_interactions`.
"""

import math
from typing import TypedDict

import numpy as np

from liere_cli.statistics.interaction import Interaction, Side, judge_interactions, relative_gain
from liere_cli.statistics.item_errors import ItemDifferences
from liere_cli.statistics.paired import paired
from liere_cli.statistics.samples import Array

SEEDS = (3, 5, 10)
#: independent groups of items in a test set
CLUSTERS = 100
#: standard deviations of a difference over seeds, in units of the test set's standard error
SEED_SPREADS = (0.0, 1.0, 3.0)
#: the baseline's gains over the control, in standard deviations of a score
BASELINE_GAINS = (10.0, 30.0)


class CoverageRow(TypedDict):
    """Coverage by number of seeds and spread over them, in the test set's standard errors."""

    seeds: int
    spread: float
    coverage: float
    coverage_seeds_alone: float


class InteractionRow(TypedDict):
    """Errors by number of seeds and baseline gain, in standard deviations of a score."""

    seeds: int
    baseline_gain: float
    wrong_rate: float
    coverage: float
    undefined: float


def coverage_rows(comparisons: int) -> list[CoverageRow]:
    """Coverage of a table's intervals, over new seeds and new test items, and of intervals over
    seeds alone; ``comparisons`` are simulated for each row.
    """
    rows: list[CoverageRow] = []
    for seeds in SEEDS:
        for spread in SEED_SPREADS:
            generator = np.random.default_rng([seeds, round(10 * spread)])
            combined, alone = 0, 0
            for _ in range(comparisons):
                # a component of items alone, and as much noise by seed and item
                items = generator.standard_normal(CLUSTERS)
                noise = generator.standard_normal((seeds, CLUSTERS))
                shift = spread / math.sqrt(CLUSTERS) * generator.standard_normal((seeds, 1))
                sums = items + noise + shift
                differences = ItemDifferences(sums, np.ones(CLUSTERS))
                scores, zeros = sums.mean(axis=1), np.zeros(seeds)
                combined += _covers(scores, zeros, differences)
                alone += _covers(scores, zeros, None)
            rows.append(
                {
                    "seeds": seeds,
                    "spread": spread,
                    "coverage": combined / comparisons,
                    "coverage_seeds_alone": alone / comparisons,
                }
            )
    return rows


def interaction_rows(comparisons: int) -> list[InteractionRow]:
    """Shares of wrong ``larger`` or ``smaller``, coverage, and shares of undefined interactions
    between two data sets whose relative gains are equal; ``comparisons`` are simulated for each
    row.
    """
    rows: list[InteractionRow] = []
    for seeds in SEEDS:
        for baseline_gain in BASELINE_GAINS:
            generator = np.random.default_rng([seeds, round(baseline_gain)])
            wrong, covered, defined = 0, 0, 0
            for _ in range(comparisons):
                on = relative_gain(_side(generator, seeds, baseline_gain))
                against = relative_gain(_side(generator, seeds, baseline_gain))
                judged = judge_interactions([Interaction("encoding", "control", on, against)])[0]
                if judged.low is None or judged.high is None:
                    continue
                defined += 1
                wrong += judged.label in ("larger", "smaller")
                covered += judged.low <= 0 <= judged.high
            rows.append(
                {
                    "seeds": seeds,
                    "baseline_gain": baseline_gain,
                    "wrong_rate": wrong / max(defined, 1),
                    "coverage": covered / max(defined, 1),
                    "undefined": 1 - defined / comparisons,
                }
            )
    return rows


def _covers(scores: Array, zeros: Array, items: ItemDifferences | None) -> bool:
    result = paired(scores, zeros, items.test_set(len(scores)) if items else None)
    assert result is not None
    assert result.low is not None
    assert result.high is not None
    return result.low <= 0 <= result.high


def _side(generator: np.random.Generator, seeds: int, baseline_gain: float) -> Side:
    """Encoding, baseline and control with independent noise; the relative gain is a fifth."""
    encoding, baseline, control = generator.standard_normal((3, seeds))
    return Side(
        "data",
        "modality",
        "baseline",
        tuple(range(seeds)),
        tuple((encoding - baseline + 0.2 * baseline_gain).tolist()),
        tuple((baseline - control + baseline_gain).tolist()),
    )
