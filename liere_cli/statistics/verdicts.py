"""One word for every comparison of a table, at an error rate that holds for the whole table.

:func:`decide` works on arrays of whole tables at once, so that simulations of ten thousand tables
go through the very code that judges runs; :func:`judge` is its use on one table of runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from liere_cli.statistics import paired, power
from liere_cli.statistics.paired import ItemError, Paired
from liere_cli.statistics.seed_correlation import Pairing, correlation
from liere_cli.statistics.seed_correlation import pairing as pairing_of
from liere_cli.statistics.sequential import SETTLED_CONFIDENCE, InterimAnalyses
from liere_cli.statistics.test_items import ItemDifferences, KnownItems

VerdictLabel = Literal["better", "worse", "equivalent", "undecided"]
ALPHA = 0.05
POWER = 0.8

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """What is known of an encoding and its baseline.

    Args:
        values, baseline: [n] scores at the same seeds, in units of the metric.
        higher_is_better: direction of the metric.
        margin: the smallest difference worth caring about, in units of the metric.
        items: differences over the test items at the same seeds, where runs stored them.
    """

    values: ArrayLike
    baseline: ArrayLike
    higher_is_better: bool
    margin: float | None = None
    items: ItemDifferences | KnownItems | None = None

    def test_set(self, n: int) -> ItemError | None:
        """What the choice of test items adds to the first n seeds."""
        return None if self.items is None else self.items.test_set(n)


@dataclass(frozen=True)
class InterimAnalysis:
    """One look at the first ``n`` seeds of a comparison.

    Args:
        p: of that look alone.
        spent: the same, corrected for all looks, and the smallest so far.
    """

    n: int
    p: float
    spent: float


@dataclass(frozen=True)
class Verdict:
    """The judgement of one comparison.

    Args:
        pair: the scores that it rests on.
        estimate: the paired difference, None without a shared seed.
        p_holm: ``estimate.p``, or that of the last look, corrected over the table.
        p_equivalent: of the two one-sided tests, corrected over the table's margins.
        word: None with fewer than 2 shared seeds.
        detectable: the true difference that this many seeds show with 80% power.
        seeds_needed: seeds that would show the observed difference with 80% power, where the
            word is ``undecided``; None when that is more than 1000 or no spread was seen.
        looks: that were taken, in a comparison that looks repeatedly.
    """

    pair: Pair = field(compare=False, repr=False)
    estimate: Paired | None
    p_holm: float | None = None
    p_equivalent: float | None = None
    label: VerdictLabel | None = None
    detectable: float | None = None
    seeds_needed: int | None = None
    interim: tuple[InterimAnalysis, ...] = ()

    @cached_property
    def p_sign_flip(self) -> float | None:
        """Of the permutation test, uncorrected: a check on the t test, computed when asked for."""
        return paired.sign_flip_p(self.pair.values, self.pair.baseline)

    @cached_property
    def seed_correlation(self) -> float | None:
        """Of encoding and baseline over shared seeds: what pairing rests on; None below 3 seeds."""
        return correlation(self.pair.values, self.pair.baseline)

    @cached_property
    def pairing(self) -> Pairing | None:
        """What shared seeds buy; None below 5 seeds, which tell too little of a correlation."""
        return pairing_of(self.pair.values, self.pair.baseline)


@dataclass(frozen=True)
class Decision:
    """What a table's p-values decide, all [..., m].

    Args:
        p_holm, p_equivalent: Holm-corrected over the last axis; NaN where there is no test.
        differs: p_holm is at or below 5%.
        equals: p_equivalent is; this outweighs ``differs``.
    """

    p_holm: Array
    p_equivalent: Array
    differs: NDArray[np.bool_]
    equals: NDArray[np.bool_]


def decide(p: Array, p_equivalent: Array) -> Decision:
    """Corrects the p-values of whole tables, and says what they decide.

    Args:
        p, p_equivalent: [..., m] of the comparisons of each table; NaN where there is no test.
    """
    differing, equal = paired.holm(p), paired.holm(p_equivalent)
    return Decision(differing, equal, differing <= ALPHA, equal <= ALPHA)


def judge(pairs: Sequence[Pair], interim: InterimAnalyses | None = None) -> list[Verdict]:
    """Judges all comparisons of a table together.

    ``better`` and ``worse`` are paired t tests, Holm-corrected over the table, at 5%: the chance
    of any wrong one is at most 5%. ``equivalent`` is the two one-sided tests, Holm-corrected over
    the comparisons that have a margin. Where both hold, the difference is real but too small to
    care about, and the word is ``equivalent``.

    Args:
        looks: the comparison adds seeds until it is settled; both kinds of p-value are then
            corrected for the looks, too.
    """
    if interim is None:
        tested = [_fixed(pair) for pair in pairs]
    else:
        tested = [_repeated(pair, interim) for pair in pairs]
    decision = decide(
        np.array([one.p for one in tested], dtype=np.float64),
        np.array([one.p_equivalent for one in tested], dtype=np.float64),
    )
    comparisons = int((~np.isnan(decision.p_holm)).sum())
    return [
        _verdict(pair, one, decision, index, ALPHA / max(comparisons, 1))
        for index, (pair, one) in enumerate(zip(pairs, tested, strict=True))
    ]


@dataclass(frozen=True)
class _Tested:
    """A comparison before the table's correction; p-values are None where there is no test."""

    estimate: Paired | None
    p: float | None = None
    p_equivalent: float | None = None
    interim: tuple[InterimAnalysis, ...] = ()


def _fixed(pair: Pair) -> _Tested:
    values, baseline = np.atleast_1d(pair.values), np.atleast_1d(pair.baseline)
    return _at(pair, values, baseline)


def _at(pair: Pair, values: Array, baseline: Array) -> _Tested:
    """The tests on the first seeds of a pair."""
    test_set = pair.test_set(len(values))
    estimate = paired.paired(values, baseline, test_set)
    equal = None
    if pair.margin is not None:
        equal = paired.equivalence_p(values, baseline, pair.margin, test_set)
    return _Tested(estimate, estimate.p if estimate else None, equal)


def _repeated(pair: Pair, interim: InterimAnalyses) -> _Tested:
    values, baseline = np.atleast_1d(pair.values), np.atleast_1d(pair.baseline)
    whole = _at(pair, values, baseline)
    if whole.p is None:
        return whole
    p, equal, taken = 1.0, None if whole.p_equivalent is None else 1.0, []
    for n in interim.sizes:
        if n > len(values):
            break
        now = _at(pair, values[:n], baseline[:n])
        if now.p is not None:
            p = min(p, float(interim.spent(np.array(now.p), n)))
            taken.append(InterimAnalysis(n, now.p, p))
        if now.p_equivalent is not None and equal is not None:
            equal = min(equal, float(interim.spent(np.array(now.p_equivalent), n)))
    return _Tested(whole.estimate, p, equal, tuple(taken))


def _verdict(pair: Pair, tested: _Tested, decision: Decision, index: int, alpha: float) -> Verdict:
    """``alpha`` is the level at which the table's first comparison must hold (Holm's strictest)."""
    estimate = tested.estimate
    if estimate is None or tested.p is None or estimate.std is None:
        return Verdict(pair, estimate)
    p_holm = float(decision.p_holm[index])
    p_equivalent = None if tested.p_equivalent is None else float(decision.p_equivalent[index])
    if decision.equals[index]:
        label: VerdictLabel = "equivalent"
    elif decision.differs[index]:
        label = "better" if (estimate.difference > 0) == pair.higher_is_better else "worse"
    else:
        label = "undecided"
    if tested.interim and label != "undecided":
        settled = paired.paired(pair.values, pair.baseline, estimate.test_set, SETTLED_CONFIDENCE)
        estimate = settled or estimate
    detectable = needed = None
    if estimate.std:
        detectable = power.detectable_difference(
            estimate.std, estimate.n, alpha, POWER, estimate.test_set
        )
        if label == "undecided":
            needed = power.seeds_needed(
                estimate.difference, estimate.std, alpha, POWER, estimate.test_set
            )
    return Verdict(pair, estimate, p_holm, p_equivalent, label, detectable, needed, tested.interim)
