"""A label for every comparison of a table, at an error rate that holds for the whole table.

:func:`judge` judges one table of runs. It uses :func:`decide`, which takes arrays of whole tables,
so that simulations of many tables test the code that judges runs.

Shapes: n seeds that both encodings finished, m comparisons of a table.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from liere_cli.statistics import paired, power, seed_correlation
from liere_cli.statistics.correction import ALPHA, HOLM, Correction
from liere_cli.statistics.paired import Paired
from liere_cli.statistics.samples import Array
from liere_cli.statistics.scores import Pair
from liere_cli.statistics.seed_correlation import Pairing
from liere_cli.statistics.sequential import InterimAnalyses

VerdictLabel = Literal["better", "worse", "equivalent", "undecided"]
#: fewest shared seeds of a verdict: with fewer, seeds of several modes err in 28% of tables
MIN_SEEDS = 5
#: power at which detectable differences and needed seeds are stated
POWER = 0.8


@dataclass(frozen=True)
class Looks:
    """Earlier tables on the same runs, which a later one must be corrected for.

    Args:
        tables: how many.
        comparisons: different comparisons in all tables, with those of the later one.
    """

    tables: int = 0
    comparisons: int = 0

    @property
    def factor(self) -> float:
        """What p-values are multiplied by: twice as much at every further table."""
        return float(2**self.tables)


#: of a table on runs that were not judged before
FIRST_LOOK = Looks()


@dataclass(frozen=True)
class InterimAnalysis:
    """The analysis of the first ``n`` seeds of a comparison.

    Args:
        p: of that analysis alone.
        p_sequential: the smallest so far, each corrected for all interim analyses.
    """

    n: int
    p: float
    p_sequential: float


@dataclass(frozen=True)
class Verdict:
    """The judgement of one comparison.

    Args:
        estimate: the paired difference with its own 95% interval, None without a shared seed.
        low, high: ends of the interval that agrees with the label, as it is corrected as ``p`` is;
            all intervals of a table hold together at 95% where no encoding differs.
        p_corrected: ``estimate.p``, or the sequential p-value, corrected over the table; None
            with fewer than 5 shared seeds.
        p_failures: uncorrected, where failures are ranked worst; None where no run failed.
        p_equivalent: of the two one-sided tests, corrected over the table's margins.
        label: None with fewer than 5 shared seeds.
        detectable: the true difference that n seeds show with 80% power, in units of the metric.
        seeds_needed: seeds that would show the observed difference with 80% power, where the
            label is ``undecided``; None above 1000, or if no spread was seen.
        seeds_range: the same for a spread at the ends of its 80% interval.
        interim: analyses so far, in a comparison that adds seeds until it is settled.
    """

    pair: Pair = field(compare=False, repr=False)
    estimate: Paired | None
    low: float | None = None
    high: float | None = None
    p_corrected: float | None = None
    p_failures: float | None = None
    p_equivalent: float | None = None
    label: VerdictLabel | None = None
    detectable: float | None = None
    seeds_needed: int | None = None
    seeds_range: tuple[int, int | None] | None = None
    interim: tuple[InterimAnalysis, ...] = ()

    @property
    def bound(self) -> float | None:
        """The largest true difference, in either direction, that the interval leaves possible."""
        if self.low is None or self.high is None:
            return None
        return max(abs(self.low), abs(self.high))

    @cached_property
    def p_own(self) -> float | None:
        """Uncorrected p-value of the t test without other encodings' spread, over seeds alone."""
        return paired.own_p(self.pair.values(), self.pair.baseline_values())

    @cached_property
    def p_sign_flip(self) -> float | None:
        """Uncorrected p-value of the permutation test: a check on the t test, computed on use."""
        return paired.sign_flip_p(self.pair.values(), self.pair.baseline_values())

    @cached_property
    def seed_correlation(self) -> float | None:
        """As :func:`liere_cli.statistics.seed_correlation.correlation`."""
        return seed_correlation.correlation(self.pair.values(), self.pair.baseline_values())

    @cached_property
    def pairing(self) -> Pairing | None:
        """As :func:`liere_cli.statistics.seed_correlation.pairing`."""
        return seed_correlation.pairing(self.pair.values(), self.pair.baseline_values())


@dataclass(frozen=True)
class Decision:
    """Decisions on the comparisons of tables, all [..., m].

    Args:
        p_corrected, p_equivalent: over the last axis; NaN where there is no test.
        differs, equals: these are at or below 5%; ``equals`` takes precedence.
        levels, equal_levels: of the intervals that exclude zero, or lie within the margin, exactly
            where that is decided.
    """

    p_corrected: Array
    p_equivalent: Array
    differs: NDArray[np.bool_]
    equals: NDArray[np.bool_]
    levels: Array
    equal_levels: Array


def decide(
    p: Array, p_equivalent: Array, correction: Correction = HOLM, tests: int = 0
) -> Decision:
    """Corrects the p-values [..., m] of whole tables, NaN without a test, and decides at 5%.

    ``tests`` is the number of comparisons to correct for where it is larger than m.
    """
    differing = correction.correct(p, tests)
    equal = correction.correct(p_equivalent, 0)
    return Decision(
        differing,
        equal,
        differing <= ALPHA,
        equal <= ALPHA,
        correction.levels(p, differing, tests),
        correction.levels(p_equivalent, equal, 0),
    )


def count_comparisons(pairs: Iterable[Pair]) -> int:
    """The comparisons that a table is corrected for: those of 5 seeds, failures among them.

    Where only failures are in the way of a test, it would have been one more.
    """
    return sum(len(pair.shared) + len(pair.failed) >= MIN_SEEDS for pair in pairs)


def judge(
    pairs: Sequence[Pair],
    interim: InterimAnalyses | None = None,
    correction: Correction = HOLM,
    looks: Looks = FIRST_LOOK,
) -> list[Verdict]:
    """Judges all comparisons of a table together.

    ``better`` and ``worse`` are moderated paired t tests, corrected over the table, at 5%: by
    Holm's correction, the chance of any wrong one is at most 5%. Where runs failed, both must also
    hold if every failure is given the worst score of the data set. ``equivalent`` is the two
    one-sided tests, corrected over the comparisons that have a margin, where no run failed. If
    both hold, the difference is real but too small to matter, and the label is ``equivalent``.

    ``interim`` is of a comparison that adds seeds until it is settled; both kinds of p-value are
    then corrected for the interim analyses, too. ``looks`` are earlier tables on the same runs.
    """
    tested = [_tested(pair, interim, looks) for pair in pairs]
    tests = max(looks.comparisons, count_comparisons(pairs))
    decision = decide(
        np.array([test.p for test in tested], dtype=np.float64),
        np.array([test.p_equivalent for test in tested], dtype=np.float64),
        correction,
        tests,
    )
    return [_verdict(test, decision, index, tests, looks) for index, test in enumerate(tested)]


@dataclass(frozen=True)
class _Tested:
    """A comparison before the table's correction; p-values are None where there is no test."""

    pair: Pair
    estimate: Paired | None
    p: float | None = None
    p_failures: float | None = None
    p_equivalent: float | None = None
    interim: tuple[InterimAnalysis, ...] = ()
    #: estimates at the interim analyses, with the share of the error rate of each
    analyses: tuple[tuple[Paired, float], ...] = ()


def _tested(pair: Pair, interim: InterimAnalyses | None, looks: Looks) -> _Tested:
    """The estimate on all seeds with its p-values, corrected for analyses and earlier tables."""
    estimate = pair.estimate()
    if estimate is None or estimate.p is None or estimate.n < MIN_SEEDS:
        return _Tested(pair, estimate)
    if interim is None:
        single = ((estimate, 1.0),)
        tested = _Tested(
            pair, estimate, estimate.p, None, _equivalence_p(pair, estimate), (), single
        )
    else:
        tested = _sequential(pair, estimate, interim)
    p, p_equivalent = tested.p, tested.p_equivalent
    p_failures = _failures_p(pair, estimate)
    if p_failures is not None and p is not None:
        # failures withhold a label, and never give one
        p, p_equivalent = max(p, p_failures), None
    return replace(
        tested,
        p=None if p is None else min(p * looks.factor, 1.0),
        p_failures=p_failures,
        p_equivalent=None if p_equivalent is None else min(p_equivalent * looks.factor, 1.0),
    )


def _equivalence_p(pair: Pair, estimate: Paired) -> float | None:
    return None if pair.margin is None else paired.equivalence_p(estimate, pair.margin)


def _sequential(pair: Pair, estimate: Paired, interim: InterimAnalyses) -> _Tested:
    """The sequential p-values of difference and equivalence, by the analyses up to now."""
    p, p_equivalent = 1.0, None
    analyses, records = [], []
    for n in interim.sizes:
        now = pair.estimate(n) if MIN_SEEDS <= n <= len(pair.shared) else None
        if now is None or now.p is None:
            continue
        p = min(p, float(interim.corrected(np.array(now.p), n)))
        analyses.append((now, interim.share(n)))
        records.append(InterimAnalysis(n, now.p, p))
        equal = _equivalence_p(pair, now)
        if equal is not None:
            corrected = float(interim.corrected(np.array(equal), n))
            p_equivalent = corrected if p_equivalent is None else min(p_equivalent, corrected)
    return _Tested(pair, estimate, p, None, p_equivalent, tuple(records), tuple(analyses))


def _failures_p(pair: Pair, estimate: Paired) -> float | None:
    """The p-value with failures ranked worst; 1 where the difference then changes its sign."""
    if not pair.failed:
        return None
    columns = tuple(sorted((*pair.shared, *pair.failed)))
    ranked = Pair(pair.scores.failures_ranked_worst, pair.encoding, pair.baseline, seeds=columns)
    worst = ranked.estimate()
    if worst is None or worst.p is None or worst.difference * estimate.difference <= 0:
        return 1.0
    return worst.p


def _verdict(
    tested: _Tested,
    decision: Decision,
    index: int,
    tests: int,
    looks: Looks,
) -> Verdict:
    pair, estimate = tested.pair, tested.estimate
    if estimate is None or tested.p is None:
        # without a label, the interval is that of this difference alone
        low, high = (None, None) if estimate is None else (estimate.low, estimate.high)
        return Verdict(pair, estimate, low, high)
    if decision.equals[index]:
        label: VerdictLabel = "equivalent"
    elif decision.differs[index]:
        up = estimate.difference > 0
        label = "better" if up == pair.scores.higher_is_better else "worse"
    else:
        label = "undecided"
    low, high = _interval(tested, decision, index, label, looks)
    equivalent = None if tested.p_equivalent is None else float(decision.p_equivalent[index])
    corrected = float(decision.p_corrected[index])
    return Verdict(
        pair,
        estimate,
        low,
        high,
        corrected,
        tested.p_failures,
        equivalent,
        label,
        *_power(estimate, label, ALPHA / (tests * looks.factor)),
        tested.interim,
    )


def _interval(
    tested: _Tested, decision: Decision, index: int, label: VerdictLabel, looks: Looks
) -> tuple[float | None, float | None]:
    """The interval that agrees with the label: all analyses' intervals at once (Jennison and
    Turnbull 1989), each at its share of the level at which the comparison was decided.
    """
    estimate = tested.estimate
    assert estimate is not None
    level = float(decision.levels[index])
    if label == "equivalent":
        level = 2 * float(decision.equal_levels[index])
    ends = []
    for analysis, share in tested.analyses:
        if label == "equivalent" and analysis.spread is not None:
            wide = paired.equivalence_spread(analysis.spread)
            analysis = Paired(analysis.n, analysis.difference, wide, test_set=analysis.test_set)
        ends.append(analysis.interval(level * share / looks.factor))
    known = [end for end in ends if end is not None]
    if not known:
        return None, None
    low, high = max(end[0] for end in known), min(end[1] for end in known)
    if label == "undecided":
        # a sign-flip test or failures withheld the label
        low, high = min(low, 0.0), max(high, 0.0)
    # the analysis of all seeds may have left the interval of an earlier one
    return min(low, estimate.difference), max(high, estimate.difference)


def _power(
    estimate: Paired, label: VerdictLabel, alpha: float
) -> tuple[float | None, int | None, tuple[int, int | None] | None]:
    """Detectable difference, seeds needed, and their range for other spreads.

    ``alpha`` is the level at which the table's first comparison must hold.
    """
    spread = estimate.spread
    if spread is None or spread.used == 0:
        return None, None, None
    level = (alpha, POWER, estimate.test_set, spread.prior)
    detectable = power.detectable_difference(spread.used, estimate.n, *level)
    if label != "undecided":
        return detectable, None, None
    freedom = estimate.n - 1 + spread.prior
    least, most = (
        spread.used * math.sqrt(freedom / float(special.chdtri(freedom, tail)))
        for tail in (0.1, 0.9)
    )
    needed, fewest, largest = (
        power.seeds_needed(estimate.difference, std, *level) for std in (spread.used, least, most)
    )
    return detectable, needed, None if fewest is None else (fewest, largest)
