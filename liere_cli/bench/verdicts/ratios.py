"""Error rates of ratios by learning curves and by fractions of the data, with equal laws.

Every encoding is the baseline itself at other random numbers (A/A), so each ratio is 1 in truth,
and each significant one is wrong. Uses the code that judges runs,
:mod:`liere_cli.statistics.ratios.learning_curves`.
"""

from collections.abc import Callable
from typing import TypedDict

import numpy as np

from liere_cli.statistics.correction import ALPHA
from liere_cli.statistics.ratios.learning_curves import (
    Ratio,
    ScoreCurve,
    efficiency,
    judge_efficiency,
    judge_ratios,
    passage_ratio,
)
from liere_cli.statistics.samples import Array

SEEDS = (5, 10, 20)
ENCODINGS = 4
VALIDATIONS = 20
#: fractions of the training data, the last of them all of it
FRACTIONS = (0.1, 0.2, 0.4, 1.0)


class RatioRow(TypedDict):
    """Tables of one shape of curves.

    Args:
        kind: ``steps``: learning curves; ``data``: scores by fraction.
        median: of all ratios.
        wrong_rate: share of tables with a significant result.
        coverage: share of intervals that hold 1.
    """

    kind: str
    shape: str
    seeds: int
    median: float
    wrong_rate: float
    coverage: float


def ratio_rows(tables: int) -> list[RatioRow]:
    """Ratios of learning curves and of fractions, for every shape and number of seeds."""
    rows: list[RatioRow] = []
    for kind, judged in (("steps", step_ratios), ("data", data_ratios)):
        for index, shape in enumerate(SHAPES):
            for seeds in SEEDS:
                generator = np.random.default_rng([len(kind), index, seeds])
                wrong, ratios = 0, []
                for _ in range(tables):
                    significant, of_table = judged(generator, shape, seeds)
                    wrong += significant
                    ratios += of_table
                covered = [
                    ratio.low <= 1 <= ratio.high
                    for ratio in ratios
                    if ratio.low is not None and ratio.high is not None
                ]
                rows.append(
                    {
                        "kind": kind,
                        "shape": shape,
                        "seeds": seeds,
                        "median": float(np.median([ratio.value for ratio in ratios])),
                        "wrong_rate": wrong / tables,
                        "coverage": float(np.mean(covered)) if covered else 1.0,
                    }
                )
    return rows


def step_ratios(generator: np.random.Generator, shape: str, seeds: int) -> tuple[bool, list[Ratio]]:
    """One table of :func:`judge_efficiency`: whether any test is significant, and the ratios."""
    progress = np.arange(1, VALIDATIONS + 1) / VALIDATIONS
    scores = SHAPES[shape](generator, progress, (ENCODINGS + 1, seeds))
    steps = 1000 * progress
    base, *others = ([ScoreCurve(steps, steps, curve) for curve in row] for row in scores)
    rows = judge_efficiency(
        [efficiency("", list(zip(curves, base, strict=True)), True) for curves in others],
        [True] * ENCODINGS,
    )
    p = [
        test
        for row in rows
        for test in (row.p_holm, row.p_steps_holm, row.steps_ratio.p_holm, row.seconds_ratio.p_holm)
    ]
    return _significant(p), [row.steps_ratio for row in rows]


def data_ratios(generator: np.random.Generator, shape: str, seeds: int) -> tuple[bool, list[Ratio]]:
    """The same over fractions, of which the smallest may be sufficient."""
    fractions = np.array(FRACTIONS)
    base, *others = SHAPES[shape](generator, fractions, (ENCODINGS + 1, seeds))
    ratios = judge_ratios(
        [passage_ratio(list(curves), list(base), np.log(fractions)).ratio for curves in others]
    )
    return _significant([ratio.p_holm for ratio in ratios]), ratios


def _significant(p: list[float | None]) -> bool:
    return any(value is not None and value <= ALPHA for value in p)


def _solved(generator: np.random.Generator, progress: Array, shape: tuple[int, int]) -> Array:
    """A sudden rise to 100% at another time at each seed, after which some validations miss it."""
    onset = 0.3 * np.exp(0.3 * generator.standard_normal((*shape, 1)))
    rise = 1 / (1 + np.exp(-(progress - onset) / 0.03))
    return np.asarray(np.minimum(1.02 * rise + 0.01 * _noise(generator, progress, shape), 1.0))


def _instantly_solved(
    generator: np.random.Generator, progress: Array, shape: tuple[int, int]
) -> Array:
    """100% from the first validations on."""
    return np.asarray(np.minimum(1.01 + 0.01 * _noise(generator, progress, shape), 1.0))


def _plateau(generator: np.random.Generator, progress: Array, shape: tuple[int, int]) -> Array:
    """Nearly the final score after a tenth of the budget."""
    level = 0.01 * generator.standard_normal((*shape, 1))
    noise = 0.01 * _noise(generator, progress, shape)
    return np.asarray(0.7 - 0.5 * np.exp(-progress / 0.05) + level + noise)


def _overfitting(generator: np.random.Generator, progress: Array, shape: tuple[int, int]) -> Array:
    """The best score after a third of the budget, and a loss of a few points by the end."""
    level = 0.01 * generator.standard_normal((*shape, 1))
    fall = 0.1 * np.exp(0.3 * generator.standard_normal((*shape, 1)))
    rise = 0.7 - 0.5 * np.exp(-progress / 0.1)
    noise = 0.005 * _noise(generator, progress, shape)
    return np.asarray(rise - fall * np.maximum(progress - 0.3, 0) + level + noise)


def _rising(generator: np.random.Generator, progress: Array, shape: tuple[int, int]) -> Array:
    """A rise until the end that differs in speed between seeds."""
    speed = np.exp(0.1 * generator.standard_normal((*shape, 1)))
    noise = 0.005 * _noise(generator, progress, shape)
    return np.asarray(0.3 + 0.4 * (speed * progress) ** 0.5 + noise)


def _noise(generator: np.random.Generator, progress: Array, shape: tuple[int, int]) -> Array:
    return generator.standard_normal((*shape, progress.size))


#: scores [encodings, seeds, k] at k shares of the budget or of the data
SHAPES: dict[str, Callable[[np.random.Generator, Array, tuple[int, int]], Array]] = {
    "solved": _solved,
    "solved at once": _instantly_solved,
    "plateau": _plateau,
    "overfitting": _overfitting,
    "rising": _rising,
}
