"""A label for every comparison of a table, at an error rate that holds for the whole table.

:func:`judge` judges one table of runs. It uses :func:`decide`, which takes arrays of whole tables,
so that simulations of many tables test the code that judges runs.

Shapes: n seeds that both encodings finished, m comparisons of a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from liere_cli.statistics import paired, power, seed_correlation
from liere_cli.statistics.item_errors import ItemDifferences, ItemError, StoredItemError
from liere_cli.statistics.paired import Paired
from liere_cli.statistics.samples import Array
from liere_cli.statistics.seed_correlation import Pairing
from liere_cli.statistics.sequential import SETTLED_CONFIDENCE, InterimAnalyses
from liere_cli.statistics.student import holm

VerdictLabel = Literal["better", "worse", "equivalent", "undecided"]
#: chance of any wrong ``better`` or ``worse`` in a table
ALPHA = 0.05
#: power at which detectable differences and needed seeds are stated
POWER = 0.8


@dataclass(frozen=True)
class Pair:
    """Scores of an encoding and its baseline.

    Args:
        values, baseline: [n] at the same seeds, in units of the metric.
        margin: the smallest difference that matters, in units of the metric.
        items: differences over the test items at the same seeds, where runs stored them.
    """

    values: ArrayLike
    baseline: ArrayLike
    higher_is_better: bool
    margin: float | None = None
    items: ItemDifferences | StoredItemError | None = None

    def test_set(self, n: int) -> ItemError | None:
        """The error that the choice of test items adds to the first n seeds."""
        return None if self.items is None else self.items.test_set(n)


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
        estimate: the paired difference, None without a shared seed.
        p_holm: ``estimate.p``, or the sequential p-value, corrected over the table.
        p_equivalent: of the two one-sided tests, corrected over the table's margins.
        label: None with fewer than 2 shared seeds.
        detectable: the true difference that n seeds show with 80% power, in units of the metric.
        seeds_needed: seeds that would show the observed difference with 80% power, where the
            label is ``undecided``; None above 1000, or if no spread was seen.
        interim: analyses so far, in a comparison that adds seeds until it is settled.
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
        """Uncorrected p-value of the permutation test: a check on the t test, computed on use."""
        return paired.sign_flip_p(self.pair.values, self.pair.baseline)

    @cached_property
    def seed_correlation(self) -> float | None:
        """As :func:`liere_cli.statistics.seed_correlation.correlation`."""
        return seed_correlation.correlation(self.pair.values, self.pair.baseline)

    @cached_property
    def pairing(self) -> Pairing | None:
        """As :func:`liere_cli.statistics.seed_correlation.pairing`."""
        return seed_correlation.pairing(self.pair.values, self.pair.baseline)


@dataclass(frozen=True)
class Decision:
    """Decisions on the comparisons of tables, all [..., m].

    Args:
        p_holm, p_equivalent: Holm-corrected over the last axis; NaN where there is no test.
        differs, equals: these are at or below 5%; ``equals`` takes precedence.
    """

    p_holm: Array
    p_equivalent: Array
    differs: NDArray[np.bool_]
    equals: NDArray[np.bool_]


def decide(p: Array, p_equivalent: Array) -> Decision:
    """Corrects the p-values [..., m] of whole tables, NaN without a test, and decides at 5%."""
    differing, equal = holm(p), holm(p_equivalent)
    return Decision(differing, equal, differing <= ALPHA, equal <= ALPHA)


def judge(pairs: Sequence[Pair], interim: InterimAnalyses | None = None) -> list[Verdict]:
    """Judges all comparisons of a table together.

    ``better`` and ``worse`` are paired t tests, Holm-corrected over the table, at 5%: the chance
    of any wrong one is at most 5%. ``equivalent`` is the two one-sided tests, Holm-corrected over
    the comparisons that have a margin. If both hold, the difference is real but too small to
    matter, and the label is ``equivalent``.

    ``interim`` is of a comparison that adds seeds until it is settled; both kinds of p-value are
    then corrected for the interim analyses, too.
    """
    tested = [_sequential(pair, interim) if interim else _at(pair) for pair in pairs]
    decision = decide(
        np.array([test.p for test in tested], dtype=np.float64),
        np.array([test.p_equivalent for test in tested], dtype=np.float64),
    )
    comparisons = int((~np.isnan(decision.p_holm)).sum())
    return [
        _verdict(pair, test, decision, index, ALPHA / max(comparisons, 1))
        for index, (pair, test) in enumerate(zip(pairs, tested, strict=True))
    ]


@dataclass(frozen=True)
class _Tested:
    """A comparison before the table's correction; p-values are None where there is no test."""

    estimate: Paired | None
    p: float | None = None
    p_equivalent: float | None = None
    interim: tuple[InterimAnalysis, ...] = ()


def _at(pair: Pair, n: int | None = None) -> _Tested:
    """The tests on the first n seeds of a pair; None: on all."""
    values, baseline = np.atleast_1d(pair.values)[:n], np.atleast_1d(pair.baseline)[:n]
    test_set = pair.test_set(len(values))
    estimate = paired.paired(values, baseline, test_set)
    p_equivalent = None
    if pair.margin is not None:
        p_equivalent = paired.equivalence_p(values, baseline, pair.margin, test_set)
    return _Tested(estimate, estimate.p if estimate else None, p_equivalent)


def _sequential(pair: Pair, interim: InterimAnalyses) -> _Tested:
    """The estimate on all seeds, with the sequential p-values of the interim analyses."""
    whole = _at(pair)
    if whole.p is None:
        return whole
    p, p_equivalent, analyses = 1.0, None if whole.p_equivalent is None else 1.0, []
    for n in interim.sizes:
        if n > np.size(pair.values):
            break
        now = _at(pair, n)
        if now.p is not None:
            p = min(p, float(interim.corrected(np.array(now.p), n)))
            analyses.append(InterimAnalysis(n, now.p, p))
        if now.p_equivalent is not None and p_equivalent is not None:
            corrected = interim.corrected(np.array(now.p_equivalent), n)
            p_equivalent = min(p_equivalent, float(corrected))
    return _Tested(whole.estimate, p, p_equivalent, tuple(analyses))


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
        std, level = estimate.std, (alpha, POWER, estimate.test_set)
        detectable = power.detectable_difference(std, estimate.n, *level)
        if label == "undecided":
            needed = power.seeds_needed(estimate.difference, std, *level)
    return Verdict(pair, estimate, p_holm, p_equivalent, label, detectable, needed, tested.interim)
