"""Error rates of interactions between two data sets whose relative gains are equal.

Uses the code that judges runs, :func:`liere_cli.statistics.ratios.interaction.judge_interactions`.
"""

from typing import TypedDict

import numpy as np

from liere_cli.statistics.ratios.interaction import (
    Interaction,
    Side,
    judge_interactions,
    relative_gain,
)

SEEDS = (5, 10, 20)
#: the baseline's gains over the control, in standard deviations of a score
BASELINE_GAINS = (1.5, 2.5, 10.0, 30.0)
#: true relative gains on both data sets
RELATIVE_GAINS = (0.2, 1.0)


class InteractionRow(TypedDict):
    """Tables of one interaction.

    Args:
        baseline_gain: on the first data set, in standard deviations of a score; twice as much on
            the second one, whose noise is twice as large, too.
        relative_gain: true one, on both data sets.
        wrong_rate: share of all tables with ``larger`` or ``smaller``.
        coverage: share of all tables whose interval holds the truth, also by having no ends.
        bounded_coverage: the same among tables whose interval has ends; 1 if there are none.
        undefined: share of tables without an interval.
    """

    seeds: int
    baseline_gain: float
    relative_gain: float
    wrong_rate: float
    coverage: float
    bounded_coverage: float
    undefined: float


def interaction_rows(tables: int) -> list[InteractionRow]:
    """A row for every number of seeds, baseline gain and relative gain."""
    return [
        _row(seeds, baseline_gain, true_gain, tables)
        for seeds in SEEDS
        for baseline_gain in BASELINE_GAINS
        for true_gain in RELATIVE_GAINS
    ]


def _row(seeds: int, baseline_gain: float, true_gain: float, tables: int) -> InteractionRow:
    generator = np.random.default_rng([seeds, round(10 * baseline_gain), round(10 * true_gain)])
    wrong, covered, bounded = 0, 0, 0
    for _ in range(tables):
        on, against = (
            relative_gain(_side(generator, seeds, baseline_gain, true_gain, noise))
            for noise in (1.0, 2.0)
        )
        judged = judge_interactions([Interaction("encoding", "control", on, against)])[0]
        if judged.low is None or judged.high is None:
            continue
        bounded += 1
        wrong += judged.label in ("larger", "smaller")
        covered += judged.low <= 0 <= judged.high
    return {
        "seeds": seeds,
        "baseline_gain": baseline_gain,
        "relative_gain": true_gain,
        "wrong_rate": wrong / tables,
        "coverage": 1 - (bounded - covered) / tables,
        "bounded_coverage": covered / bounded if bounded else 1.0,
        "undefined": 1 - bounded / tables,
    }


def _side(
    generator: np.random.Generator,
    seeds: int,
    baseline_gain: float,
    true_gain: float,
    noise: float,
) -> Side:
    """Encoding, baseline and control with independent noise of that standard deviation."""
    encoding, baseline, control = noise * generator.standard_normal((3, seeds))
    gain = noise * baseline_gain
    return Side(
        "data",
        "modality",
        "baseline",
        tuple(range(seeds)),
        tuple((encoding - baseline + true_gain * gain).tolist()),
        tuple((baseline - control + gain).tolist()),
    )
