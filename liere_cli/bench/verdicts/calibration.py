"""Error rates, coverage and power of verdicts, on simulated comparisons with a known truth.

Shapes: S tables, D data sets, E encodings (the first is the baseline), n seeds; a table has
m = D (E - 1) comparisons.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from liere_cli.bench.verdicts.interactions import InteractionRow, interaction_rows
from liere_cli.bench.verdicts.items import ClusterRow, WindowRow, cluster_rows, window_rows
from liere_cli.bench.verdicts.judging import any_of, judge_tables, moderated_tests, paired_t_differs
from liere_cli.bench.verdicts.pairing import PairingRow, pairing_rows
from liere_cli.bench.verdicts.ratios import RatioRow, ratio_rows
from liere_cli.bench.verdicts.worlds import WORLDS, Equal, World, correlated
from liere_cli.statistics.correction import HOLM
from liere_cli.statistics.samples import Array
from liere_cli.statistics.scores import Bools, Pair, Scores
from liere_cli.statistics.sequential import InterimAnalyses
from liere_cli.statistics.verdicts import MIN_SEEDS, Looks, decide, judge

DATA_SETS = 3
ENCODINGS = 5
#: correlation of two encodings' scores over shared seeds, in tables with true differences
CORRELATION = 0.5
#: true differences, in standard deviations of the paired difference over seeds
EFFECTS = (1.0, 1.5, 2.0, 3.0, 4.0)
#: default number of tables of the cheapest design: a Monte Carlo error of 0.07%
TABLES = 100_000
#: the least of a full simulation
MIN_TABLES = 5_000
#: tables that are simulated at a time, which bounds memory
BATCH = 1_000


@dataclass(frozen=True)
class Design:
    """Seeds of a comparison: a fixed number, or at most that many with interim analyses.

    Args:
        cost: of a table, in tables of five seeds.
    """

    name: str
    seeds: int
    cost: int = 1
    interim: InterimAnalyses | None = None


DESIGNS = (
    Design("5 seeds", 5),
    Design("10 seeds", 10, 2),
    Design("20 seeds", 20, 10),
    Design("until settled, 5 to 20", 20, 20, InterimAnalyses(MIN_SEEDS, 20)),
)


class WorldRow(TypedDict):
    """One world and design: the share of tables with any wrong ``better`` or ``worse``, its Monte
    Carlo error, that of paired t tests with Holm's correction, and coverage of intervals.
    """

    world: str
    equal: Equal
    encodings: int
    data_sets: int
    design: str
    tables: int
    wrong_rate: float
    mc_error: float
    wrong_rate_paired: float | None
    coverage: float
    seeds: float


class PowerRow(TypedDict):
    """The share of tables that find one true difference, beside that of paired t tests."""

    design: str
    effect: float
    tables: int
    power: float
    power_paired: float
    mc_error: float
    coverage: float
    seeds: float


class LooksRow(TypedDict):
    """Tables at 5, 10 and 20 seeds on the same runs: shares with any wrong word in any of them."""

    habit: str
    tables: int
    wrong_rate: float
    wrong_rate_uncorrected: float


class EquivalenceRow(TypedDict):
    """Shares of tables with a wrong ``equivalent`` where one seed in ten is 30 points worse."""

    seeds: int
    failing: str
    tables: int
    wrong_rate: float


class Calibration(TypedDict):
    """Results of all simulations."""

    worlds: list[WorldRow]
    shapes: list[WorldRow]
    power: list[PowerRow]
    looks: list[LooksRow]
    equivalence: list[EquivalenceRow]
    ratios: list[RatioRow]
    interactions: list[InteractionRow]
    clusters: list[ClusterRow]
    windows: list[WindowRow]
    pairing: list[PairingRow]


def simulate_verdicts(
    tables: int = TABLES, on_progress: Callable[[str], None] = lambda name: None
) -> Calibration:
    """Error rates, coverage and power of verdicts in simulated worlds.

    Args:
        tables: simulated for the cheapest design; costly ones get fewer.
        on_progress: called with a description of each simulation before it starts.
    """
    worlds = world_rows(tables=tables, on_progress=on_progress)
    on_progress("numbers of encodings and data sets")
    shapes = shape_rows(tables)
    power = power_rows(tables, on_progress)
    on_progress("repeated tables and equivalence")
    looks, equivalence = looks_rows(tables), equivalence_rows(tables)
    few = min(tables, MIN_TABLES)
    on_progress("ratios of learning curves and fractions")
    ratios = ratio_rows(few)
    on_progress("interactions, clusters and windows")
    return {
        "worlds": worlds,
        "shapes": shapes,
        "power": power,
        "looks": looks,
        "equivalence": equivalence,
        "ratios": ratios,
        "interactions": interaction_rows(few),
        "clusters": cluster_rows(few),
        "windows": window_rows(few),
        "pairing": pairing_rows(few),
    }


def world_rows(
    worlds: Sequence[World] = WORLDS,
    tables: int = TABLES,
    encodings: int = ENCODINGS,
    data_sets: int = DATA_SETS,
    designs: Sequence[Design] = DESIGNS,
    on_progress: Callable[[str], None] = lambda name: None,
) -> list[WorldRow]:
    """Error rates in each world and design; ``tables`` are those of the cheapest design."""
    rows: list[WorldRow] = []
    for number, world in enumerate(worlds):
        for design in designs:
            on_progress(f"{world.name}, {design.name}")
            # judged one by one
            cost = design.cost * (10 if world.failed else 1)
            count = tables_of(tables, cost)
            generator = np.random.default_rng([number, design.seeds, encodings, data_sets])
            shape = (data_sets, encodings, design.seeds)
            judged, old = [], []
            for size in batches(count):
                scores = world.draw(generator, (size, *shape))
                failed = None if world.failed is None else world.failed(scores)
                judged.append(judge_tables(scores, design.interim, failed=failed))
                if failed is None and design.interim is None:
                    old.append(any_of(paired_t_differs(scores)))
            wrong = mean([part.any_differs for part in judged])
            rows.append(
                {
                    "world": world.name,
                    "equal": world.equal,
                    "encodings": encodings,
                    "data_sets": data_sets,
                    "design": design.name,
                    "tables": count,
                    "wrong_rate": wrong,
                    "mc_error": monte_carlo_error(wrong, count),
                    "wrong_rate_paired": mean(old) if old else None,
                    "coverage": mean([part.covered for part in judged]),
                    "seeds": mean([part.seeds for part in judged]),
                }
            )
    return rows


def shape_rows(tables: int = TABLES) -> list[WorldRow]:
    """Error rates with 2 to 30 encodings, 1 to 4 data sets, and a table of 88 comparisons."""
    worlds = [world for world in WORLDS if world.name in ("normal, correlation 0", "lognormal")]
    few = max(tables // 5, min(tables, MIN_TABLES))
    rows = []
    for encodings, data_sets in ((2, 1), (3, 1), (3, 4), (4, 2), (10, 1), (30, 1), (23, 4)):
        rows += world_rows(worlds, few, encodings, data_sets, DESIGNS[:2])
    return rows


def power_rows(
    tables: int = TABLES, on_progress: Callable[[str], None] = lambda name: None
) -> list[PowerRow]:
    """Power to find the true difference of one comparison in a table of twelve."""
    rows: list[PowerRow] = []
    for design in DESIGNS:
        for effect in EFFECTS:
            on_progress(f"{design.name}, a difference of {effect:g}")
            count = tables_of(tables // 5, design.cost)
            generator = np.random.default_rng([design.seeds, round(1000 * effect)])
            truth = np.zeros(DATA_SETS * (ENCODINGS - 1))
            truth[0] = effect
            judged, old = [], []
            for size in batches(count):
                shape = (size, DATA_SETS, ENCODINGS, design.seeds)
                # in units of a paired difference's standard deviation
                scores = correlated(generator, shape, CORRELATION)
                scores /= math.sqrt(2 * (1 - CORRELATION))
                scores[:, 0, 1] += effect
                part = judge_tables(scores, design.interim, truth)
                judged.append((part.differs & (part.difference > 0), part.covered, part.seeds))
                old.append(paired_t_differs(scores)[:, 0])
            power = mean([found[:, 0] for found, _, _ in judged])
            rows.append(
                {
                    "design": design.name,
                    "effect": effect,
                    "tables": count,
                    "power": power,
                    "power_paired": mean(old),
                    "mc_error": monte_carlo_error(power, count),
                    "coverage": mean([covered for _, covered, _ in judged]),
                    "seeds": mean([seeds[:, 0] for _, _, seeds in judged]),
                }
            )
    return rows


def looks_rows(tables: int = TABLES) -> list[LooksRow]:
    """Repeated tables at 5, 10 and 20 seeds on the same runs, all rows or the best one alone."""
    count = tables_of(tables, 10)
    rows: list[LooksRow] = []
    for habit, best_alone in (
        ("tables at 5, 10 and 20 seeds", False),
        ("the best row at 5 seeds, judged alone at 10 and 20", True),
    ):
        generator = np.random.default_rng(0)
        wrong = {True: [], False: []}  # type: dict[bool, list[Bools]]
        for size in batches(count):
            scores = correlated(generator, (size, DATA_SETS, ENCODINGS, 20), CORRELATION)
            for corrected, by_table in wrong.items():
                by_table.append(_any_wrong(scores, best_alone, corrected))
        rows.append(
            {
                "habit": habit,
                "tables": count,
                "wrong_rate": mean(wrong[True]),
                "wrong_rate_uncorrected": mean(wrong[False]),
            }
        )
    return rows


def _any_wrong(scores: Array, best_alone: bool, corrected: bool) -> Bools:
    """Whether any of three tables on the same runs finds a difference, [S]."""
    wrong = np.zeros(len(scores), dtype=bool)
    _, first = moderated_tests(scores[..., :5])
    best = np.argmin(first, axis=1)[:, None]
    for table, n in enumerate((5, 10, 20)):
        _, p = moderated_tests(scores[..., :n])
        looks = Looks(table, p.shape[1]) if corrected else Looks()
        if best_alone and table:
            p = np.take_along_axis(p, best, axis=1)
        p = np.minimum(looks.factor * p, 1.0)
        decision = decide(p, np.full(p.shape, np.nan), HOLM, looks.comparisons)
        wrong |= decision.differs.any(axis=1)
    return wrong


def equivalence_rows(tables: int = TABLES) -> list[EquivalenceRow]:
    """Wrong ``equivalent`` with a margin of 1, where a rare bad seed makes a difference of -3."""
    rows: list[EquivalenceRow] = []
    count = min(tables, MIN_TABLES)
    for failing, name in ((ENCODINGS, "every encoding but the baseline"), (2, "one encoding")):
        for n in (5, 10, 20):
            generator = np.random.default_rng([n, failing])
            wrong = 0
            for _ in range(count):
                scores = 0.2 * generator.standard_normal((DATA_SETS, ENCODINGS, n))
                bad = generator.random(scores.shape) < 0.1
                bad[:, 0] = bad[:, failing:] = False
                scores -= 30 * bad
                pairs = [
                    Pair(Scores(part, np.zeros(part.shape, dtype=bool), True), row, 0, 1.0)
                    for part in scores
                    for row in range(1, failing)
                ]
                wrong += any(verdict.label == "equivalent" for verdict in judge(pairs))
            rows.append({"seeds": n, "failing": name, "tables": count, "wrong_rate": wrong / count})
    return rows


def tables_of(tables: int, cost: float) -> int:
    """Fewer tables of a costly design, but not fewer than 5,000 in a full simulation."""
    return max(round(tables / cost), min(tables, MIN_TABLES))


def batches(tables: int) -> Iterator[int]:
    """Sizes of batches that make up that many tables."""
    for start in range(0, tables, BATCH):
        yield min(BATCH, tables - start)


def mean(parts: Sequence[Array | Bools | NDArray[np.int64]]) -> float:
    return float(np.concatenate(parts).mean())


def monte_carlo_error(share: float, count: int) -> float:
    return math.sqrt(share * (1 - share) / count)
