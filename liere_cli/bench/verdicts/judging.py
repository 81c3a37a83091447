"""Many simulated tables at once, judged by the code that judges runs.

Where no run fails, that is its array form: :mod:`liere_cli.statistics.spread`,
:mod:`liere_cli.statistics.sequential` and :func:`liere_cli.statistics.verdicts.decide`; where runs
fail, each table by :func:`liere_cli.statistics.verdicts.judge`. Tests compare both.

Shapes: S tables, D data sets, E encodings (the first is the baseline), n seeds; a table has
m = D (E - 1) comparisons.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liere_cli.statistics import paired
from liere_cli.statistics.correction import ALPHA
from liere_cli.statistics.samples import Array
from liere_cli.statistics.scores import Bools, Pair, Scores
from liere_cli.statistics.sequential import InterimAnalyses
from liere_cli.statistics.spread import far_runs, moderated, pooled_variance, prior_freedom
from liere_cli.statistics.student import student_p, student_quantile
from liere_cli.statistics.verdicts import Verdict, decide, judge


@dataclass(frozen=True)
class JudgedTables:
    """Verdicts on simulated tables, all [S, m].

    Args:
        differs: whether the verdict is ``better`` or ``worse``.
        difference: estimated, in units of the scores.
        covered: whether the corrected interval contains the true difference.
        seeds: used by each comparison.
    """

    differs: Bools
    difference: Array
    covered: Bools
    seeds: NDArray[np.int64]

    @property
    def any_differs(self) -> Bools:
        """[S]"""
        return any_of(self.differs)


def judge_tables(
    scores: Array,
    interim: InterimAnalyses | None = None,
    truth: Array | float = 0.0,
    failed: Bools | None = None,
) -> JudgedTables:
    """The verdicts on tables of scores [S, D, E, n], in the order in which seeds run.

    Args:
        truth: true differences, broadcast to [m].
        failed: runs without a score [S, D, E, n].
    """
    if failed is not None:
        return _judged_one_by_one(scores, failed, interim, truth)
    n = scores.shape[-1]
    comparisons = scores.shape[1] * (scores.shape[2] - 1)
    shape = (len(scores), comparisons)
    going, p = np.ones(shape, dtype=bool), np.ones(shape)
    difference, seeds = np.zeros(shape), np.zeros(shape, dtype=np.int64)
    low, high = np.full(shape, -np.inf), np.full(shape, np.inf)
    none = np.full(shape, np.nan)
    estimates = []
    for size in interim.sizes if interim else (n,):
        share = interim.share(size) if interim else 1.0
        estimate, p_now = moderated_tests(scores[..., :size], ALPHA * share)
        difference = np.where(going, estimate.difference, difference)
        seeds = np.where(going, size, seeds)
        p = np.where(going, np.minimum(p, np.minimum(p_now / share, 1.0)), p)
        estimates.append((estimate, share, going))
        decision = decide(p, none)
        if interim:
            prior = estimate.freedom - (size - 1)
            futile = interim.futile(
                difference, estimate.error, seeds, ALPHA / comparisons, none, 0.0, prior
            )
            going = going & ~decision.differs & ~futile
    for estimate, share, used in estimates:
        half = student_quantile(decision.levels * share, estimate.freedom) * estimate.error
        low = np.where(used, np.maximum(low, estimate.difference - half), low)
        high = np.where(used, np.minimum(high, estimate.difference + half), high)
    # where sign flips withhold a verdict, the interval holds zero
    low = np.minimum(np.where(decision.differs, low, np.minimum(low, 0.0)), difference)
    high = np.maximum(np.where(decision.differs, high, np.maximum(high, 0.0)), difference)
    covered = (low <= truth) & (truth <= high)
    return JudgedTables(decision.differs, difference, np.asarray(covered), seeds)


@dataclass(frozen=True)
class Estimates:
    """Differences to the baseline, their standard errors, all [S, m], and degrees of freedom."""

    difference: Array
    error: Array
    freedom: float


def moderated_tests(scores: Array, level: float = ALPHA) -> tuple[Estimates, Array]:
    """The tests of :func:`liere_cli.statistics.paired.paired` on scores [S, D, E, n]: p [S, m].

    P-values above ``level``, which find nothing anyway, are not confirmed by sign flips.
    """
    encodings, n = scores.shape[-2:]
    differences = scores[:, :, 1:] - scores[:, :, :1]
    own = differences.var(axis=-1, ddof=1)
    prior = prior_freedom((encodings - 1) * (n - 1), n) if encodings > 2 else 0.0
    variance = own
    if prior:
        pooled = pooled_variance(scores)[..., None]
        far = np.asarray(np.any(far_runs(scores), axis=(-1, -2)))[..., None]
        variance = moderated(own, pooled, n, prior, far)
    shape = (len(scores), -1)
    mean_difference = differences.mean(axis=-1).reshape(shape)
    error = np.sqrt(variance / n).reshape(shape)
    p = student_p(mean_difference, error, n - 1 + prior)
    if n >= paired.EXACT_SEEDS:
        flat = differences.reshape(*p.shape, n)
        for index in zip(*np.nonzero(p <= level), strict=True):
            flipped = paired.sign_flip_p(flat[index], np.zeros(n))
            p[index] = max(p[index], flipped or 0.0)
    return Estimates(mean_difference, error, n - 1 + prior), p


def any_of(flags: Bools) -> Bools:
    """Which tables have any flag set, [S], of [S, m]."""
    return np.asarray(np.any(flags, axis=1))


def paired_t_differs(scores: Array) -> Bools:
    """Which comparisons [S, m] paired t tests with Holm's correction find, on the same scores."""
    differences = scores[:, :, 1:] - scores[:, :, :1]
    n = scores.shape[-1]
    error = differences.std(axis=-1, ddof=1) / math.sqrt(n)
    p = student_p(differences.mean(axis=-1), error, n - 1).reshape(len(scores), -1)
    return np.asarray(decide(p, np.full(p.shape, np.nan)).differs)


def _judged_one_by_one(
    scores: Array, failed: Bools, interim: InterimAnalyses | None, truth: Array | float
) -> JudgedTables:
    """The same by :func:`liere_cli.statistics.verdicts.judge`, with all seeds at once."""
    labels, differences, covered, seeds = [], [], [], []
    for table, lost in zip(np.where(failed, np.nan, scores), failed, strict=True):
        of_data_sets = [Scores(*part, True) for part in zip(table, lost, strict=True)]
        pairs = [Pair(part, row, 0) for part in of_data_sets for row in range(1, len(part.values))]
        verdicts = judge(pairs, interim)
        labels.append([verdict.label in ("better", "worse") for verdict in verdicts])
        true = np.broadcast_to(truth, len(verdicts))
        covered.append([_covers(one, value) for one, value in zip(verdicts, true, strict=True)])
        differences.append([v.estimate.difference if v.estimate else 0.0 for v in verdicts])
        seeds.append([v.estimate.n if v.estimate else 0 for v in verdicts])
    return JudgedTables(np.array(labels), np.array(differences), np.array(covered), np.array(seeds))


def _covers(verdict: Verdict, truth: float) -> bool:
    """Whether an interval contains the truth; without one there is nothing that could be wrong."""
    if verdict.low is None or verdict.high is None:
        return True
    return verdict.low <= truth <= verdict.high
