"""Error rates, coverage and power of verdicts, on simulated comparisons with a known truth.

Whole tables are judged by the code that judges runs: the t tests of
:mod:`liere_cli.statistics.student`, the interim analyses and the futility rule of
:mod:`liere_cli.statistics.sequential` and :func:`liere_cli.statistics.verdicts.decide`.

Scores are normal over seeds and have a component that depends on the seed alone, so that encodings
correlate within seeds; comparisons of one data set also correlate through their baseline.

Shapes: S tables, D data sets, E encodings (the first is the baseline), n seeds; a table has
m = D (E - 1) comparisons.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from liere_cli.bench.calibration_errors import (
    CoverageRow,
    InteractionRow,
    coverage_rows,
    interaction_rows,
)
from liere_cli.statistics.power import detectable_difference
from liere_cli.statistics.samples import Array
from liere_cli.statistics.sequential import SETTLED_CONFIDENCE, InterimAnalyses
from liere_cli.statistics.student import CONFIDENCE, student_p, student_quantile
from liere_cli.statistics.verdicts import ALPHA, POWER, decide

DATA_SETS = 3
ENCODINGS = 5
COMPARISONS = DATA_SETS * (ENCODINGS - 1)
#: correlation of two encodings' scores over shared seeds, in tables
CORRELATION = 0.5
CORRELATIONS = (0.0, 0.3, 0.6, 0.9)
#: true differences, in standard deviations of the paired difference over seeds
EFFECTS = (1.0, 1.5, 2.0, 3.0, 4.0, 8.0)
#: default number of tables without any difference: a Monte Carlo error of 0.07%
TABLES = 100_000
#: most tables for each estimate of power
POWER_TABLES = 4000
#: tables that are simulated at a time, which bounds memory
BATCH = 2500

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Design:
    """Seeds of a comparison: a fixed number, or at most that many with interim analyses."""

    name: str
    seeds: int
    interim: InterimAnalyses | None = None


DESIGNS = (
    Design("fixed-3", 3),
    Design("fixed-5", 5),
    Design("fixed-10", 10),
    Design("until-settled-10", 10, InterimAnalyses(3, 10)),
)


@dataclass(frozen=True)
class JudgedTables:
    """Verdicts on simulated tables, all [S, m]."""

    #: whether the verdict is ``better`` or ``worse``
    differs: Bools
    #: in standard deviations of the paired difference
    difference: Array
    #: whether the 95% interval contains the true difference
    covered: Bools
    seeds: NDArray[np.int64]


class DesignRow(TypedDict):
    """One design without any difference: the share of tables with any wrong ``better`` or ``worse``
    and its Monte Carlo standard error, the coverage of the intervals, and mean seeds.
    """

    design: str
    tables: int
    wrong_table_rate: float
    mc_error: float
    coverage: float
    seeds: float


class PowerRow(TypedDict):
    """The same with one true difference, in standard deviations of the paired difference."""

    design: str
    effect: float
    tables: int
    power: float
    mc_error: float
    coverage: float
    seeds: float


class PairingRow(TypedDict):
    """One comparison with shared and with independent seeds: power, and seeds for 80% power."""

    correlation: float
    effect: float
    seeds: int
    power_paired: float
    power_unpaired: float
    seeds_paired: int
    seeds_unpaired: int


class Calibration(TypedDict):
    """Results of all simulations."""

    encodings: int
    data_sets: int
    correlation: float
    alpha: float
    designs: list[DesignRow]
    power: list[PowerRow]
    pairing: list[PairingRow]
    test_set: list[CoverageRow]
    interaction: list[InteractionRow]


def simulate_verdicts(
    tables: int = TABLES, on_progress: Callable[[str], None] = lambda name: None
) -> Calibration:
    """Error rates, coverage and power of verdicts, and the effect of pairing by seed.

    Args:
        tables: without any difference, simulated for each design.
        on_progress: called with a description of each simulation before it starts.
    """
    # power is shown to two digits
    few = min(tables, POWER_TABLES)
    designs, power = [], []
    for number, design in enumerate(DESIGNS):
        on_progress(f"{design.name}, no difference")
        designs.append(_design_row(design, tables, seed=number))
        for effect in EFFECTS:
            on_progress(f"{design.name}, a difference of {effect:g}")
            power.append(_power_row(design, effect, few, seed=number))
    on_progress("test sets and interactions")
    test_set, interaction = coverage_rows(few), interaction_rows(few)
    on_progress("pairing by seed")
    return {
        "encodings": ENCODINGS,
        "data_sets": DATA_SETS,
        "correlation": CORRELATION,
        "alpha": ALPHA,
        "designs": designs,
        "power": power,
        "pairing": [_pairing_row(correlation, few) for correlation in CORRELATIONS],
        "test_set": test_set,
        "interaction": interaction,
    }


def judge_tables(differences: Array, truth: Array, interim: InterimAnalyses | None) -> JudgedTables:
    """The verdicts on tables of paired differences [S, m, n] by seed, in the order in which seeds
    run, with true means [m]; without ``interim`` all seeds are judged at once.
    """
    shape = differences.shape[:-1]
    going = np.ones(shape, dtype=bool)
    p, mean, error, seeds = np.ones(shape), np.zeros(shape), np.ones(shape), np.zeros(shape, int)
    margins = np.full(shape, np.nan)
    for size in interim.sizes if interim else differences.shape[-1:]:
        now, now_error = _estimates(differences[..., :size])
        mean, error = np.where(going, now, mean), np.where(going, now_error, error)
        seeds = np.where(going, size, seeds)
        p_now = student_p(now, now_error, size - 1)
        corrected = interim.corrected(p_now, size) if interim else p_now
        p = np.where(going, np.minimum(p, corrected), p)
        decision = decide(p, margins)
        if interim:
            futile = interim.futile(mean, error, seeds, ALPHA / shape[-1], margins)
            going &= ~decision.differs & ~futile
    settled = SETTLED_CONFIDENCE if interim else CONFIDENCE
    confidence = np.where(decision.differs, settled, CONFIDENCE)
    covered = _covers(mean - truth, error, seeds, confidence)
    return JudgedTables(decision.differs, mean, covered, seeds)


def _design_row(design: Design, tables: int, seed: int) -> DesignRow:
    judged = list(_simulated(design, 0.0, tables, seed))
    wrong = _mean([np.any(part.differs, axis=1) for part in judged])
    return {
        "design": design.name,
        "tables": tables,
        "wrong_table_rate": wrong,
        "mc_error": _monte_carlo_error(wrong, tables),
        "coverage": _mean([part.covered for part in judged]),
        "seeds": _mean([part.seeds for part in judged]),
    }


def _power_row(design: Design, effect: float, tables: int, seed: int) -> PowerRow:
    judged = list(_simulated(design, effect, tables, seed))
    power = _mean([np.asarray(part.differs[:, 0] & (part.difference[:, 0] > 0)) for part in judged])
    return {
        "design": design.name,
        "effect": effect,
        "tables": tables,
        "power": power,
        "mc_error": _monte_carlo_error(power, tables),
        "coverage": _mean([part.covered[:, 0] for part in judged]),
        "seeds": _mean([part.seeds[:, 0] for part in judged]),
    }


def _simulated(design: Design, effect: float, tables: int, seed: int) -> Iterator[JudgedTables]:
    """Tables whose first comparison has a true difference of ``effect``, batch by batch."""
    generator = np.random.default_rng([seed, round(1000 * effect)])
    truth = np.zeros(COMPARISONS)
    truth[0] = effect
    for start in range(0, tables, BATCH):
        size = (min(BATCH, tables - start), DATA_SETS, ENCODINGS, design.seeds)
        scores = _scores(generator, size, CORRELATION)
        differences = scores[:, :, 1:] - scores[:, :, :1]
        # in units of their own standard deviation
        differences /= math.sqrt(2 * (1 - CORRELATION))
        flat = differences.reshape(size[0], COMPARISONS, design.seeds) + truth[:, None]
        yield judge_tables(flat, truth, design.interim)


def _scores(
    generator: np.random.Generator, size: tuple[int, int, int, int], correlation: float
) -> Array:
    """Scores [S, D, E, n] of variance 1, correlated within a data set and seed."""
    shared = generator.standard_normal((*size[:2], 1, size[3]))
    own = generator.standard_normal(size)
    return np.asarray(math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own)


def _estimates(differences: Array) -> tuple[Array, Array]:
    """Mean and standard error over seeds of differences [..., n]."""
    n = differences.shape[-1]
    return differences.mean(axis=-1), differences.std(axis=-1, ddof=1) / math.sqrt(n)


def _covers(deviation: Array, error: Array, seeds: NDArray[np.int64], confidence: Array) -> Bools:
    """Whether intervals contain the truth, from which their centres deviate that much."""
    return np.asarray(np.abs(deviation) <= student_quantile(1 - confidence, seeds - 1) * error)


def _pairing_row(
    correlation: float, tables: int, seeds: int = 5, effect: float = 1.5
) -> PairingRow:
    """Shared and independent seeds with a true difference of ``effect``, in standard deviations of
    one encoding's score.
    """
    generator = np.random.default_rng(round(1000 * correlation))
    scores = _scores(generator, (tables, 1, 2, 2 * seeds), correlation)[:, 0]
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


def _mean(parts: Sequence[Bools | NDArray[np.int64]]) -> float:
    return float(np.concatenate(parts).mean())


def _monte_carlo_error(share: float, count: int) -> float:
    return math.sqrt(share * (1 - share) / count)
