"""One word for every comparison of a table, at an error rate that holds for the whole table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from numpy.typing import ArrayLike

from liere_cli.comparison import statistics
from liere_cli.comparison.statistics import Paired

Word = Literal["better", "worse", "equivalent", "undecided"]
ALPHA = 0.05
POWER = 0.8


@dataclass(frozen=True)
class Pair:
    """What is known of an encoding and its baseline.

    Args:
        values, baseline: [n] scores at the same seeds, in units of the metric.
        higher_is_better: direction of the metric.
        margin: the smallest difference worth caring about, in units of the metric.
    """

    values: ArrayLike
    baseline: ArrayLike
    higher_is_better: bool
    margin: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The judgement of one comparison.

    Args:
        pair: the scores that it rests on.
        estimate: the paired difference, None without a shared seed.
        p_holm: ``estimate.p`` corrected over the table.
        p_equivalent: of the two one-sided tests, corrected over the table's margins.
        word: None with fewer than 2 shared seeds.
        detectable: the true difference that this many seeds show with 80% power.
        seeds_needed: seeds that would show the observed difference with 80% power, where the
            word is ``undecided``; None when that is more than 1000 or no spread was seen.
    """

    pair: Pair = field(compare=False, repr=False)
    estimate: Paired | None
    p_holm: float | None = None
    p_equivalent: float | None = None
    word: Word | None = None
    detectable: float | None = None
    seeds_needed: int | None = None

    @cached_property
    def p_sign_flip(self) -> float | None:
        """Of the permutation test, uncorrected: a check on the t test, computed when asked for."""
        return statistics.sign_flip_p(self.pair.values, self.pair.baseline)


def judge(pairs: Sequence[Pair]) -> list[Verdict]:
    """Judges all comparisons of a table together.

    ``better`` and ``worse`` are paired t tests, Holm-corrected over the table, at 5%: the chance
    of any wrong one is at most 5%. ``equivalent`` is the two one-sided tests, Holm-corrected over
    the comparisons that have a margin. Where both hold, the difference is real but too small to
    care about, and the word is ``equivalent``.
    """
    estimates = [statistics.paired(pair.values, pair.baseline) for pair in pairs]
    differing = _corrected([None if one is None else one.p for one in estimates])
    equal = _corrected(
        [
            None
            if pair.margin is None
            else statistics.equivalence_p(pair.values, pair.baseline, pair.margin)
            for pair in pairs
        ]
    )
    tested = sum(p is not None for p in differing)
    return [
        _verdict(pair, estimate, p_holm, p_equivalent, ALPHA / max(tested, 1))
        for pair, estimate, p_holm, p_equivalent in zip(
            pairs, estimates, differing, equal, strict=True
        )
    ]


def _verdict(
    pair: Pair,
    estimate: Paired | None,
    p_holm: float | None,
    p_equivalent: float | None,
    alpha: float,
) -> Verdict:
    """``alpha`` is the level at which the table's first comparison must hold (Holm's strictest)."""
    if estimate is None or p_holm is None or estimate.std is None:
        return Verdict(pair, estimate)
    if p_equivalent is not None and p_equivalent <= ALPHA:
        word: Word = "equivalent"
    elif p_holm <= ALPHA:
        word = "better" if (estimate.difference > 0) == pair.higher_is_better else "worse"
    else:
        word = "undecided"
    detectable = needed = None
    if estimate.std > 0:
        detectable = statistics.detectable_difference(estimate.std, estimate.n, alpha, POWER)
        if word == "undecided":
            needed = statistics.seeds_needed(estimate.difference, estimate.std, alpha, POWER)
    return Verdict(pair, estimate, p_holm, p_equivalent, word, detectable, needed)


def _corrected(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction over the p-values that there are."""
    known = [p for p in p_values if p is not None]
    corrected = iter(statistics.holm(known).tolist())
    return [None if p is None else next(corrected) for p in p_values]
