"""The interaction: is an encoding's gain over the baseline larger on one data set than on another?

Metrics differ, so each gain is measured by what position is worth there: the gain of encoding A
over baseline B as a share of B's own gain over the floor N (``none``),

    r = mean(A - B) / mean(B - N),

signed so that above zero A is better. It is undefined where B doesn't clearly beat N (paired t
test at 5%): position is worth nothing there that one could share in.

The ratio's error is that of its linearisation (the delta method): the seeds' values
``r + ((A - B) - r (B - N)) / mean(B - N)`` have mean r and are compared between data sets by
Welch's t test. Seeds of one number share nothing but that number across data sets (other data,
other shapes, another order), so they count as independent; their correlation is reported. The test
sets add their errors as in :mod:`liere_cli.statistics.paired`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from liere_cli.statistics.paired import (
    CONFIDENCE,
    ItemError,
    Source,
    combined_p,
    half_width,
    one_sided_p,
    paired,
)
from liere_cli.statistics.seed_correlation import correlation
from liere_cli.statistics.sequential import InterimAnalyses
from liere_cli.statistics.test_items import ItemDifferences
from liere_cli.statistics.verdicts import ALPHA, decide

VerdictLabel = Literal["larger", "smaller", "equivalent", "undecided"]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Side:
    """An encoding, its baseline and the floor on one data set.

    Args:
        title, modality: of the data set.
        baseline: label of B.
        seeds: [n] at which all three finished.
        gains: [n] of the encoding over the baseline; above zero it is better.
        worth: [n] of the baseline over the floor, in the same unit.
        items: both over the test items, where runs stored them; of one layout.
        missing: why there is nothing to compare.
    """

    title: str
    modality: str
    baseline: str
    seeds: tuple[int, ...] = ()
    gains: tuple[float, ...] = ()
    baseline_gain: tuple[float, ...] = ()
    items: tuple[ItemDifferences, ItemDifferences] | None = None
    missing: str | None = None


@dataclass(frozen=True)
class RelativeGain:
    """A relative gain.

    Args:
        side: what it was computed from.
        value: r, 1 is the baseline's own gain over the floor; None where it is undefined.
        values: [n] linearised, with mean ``value``.
        test_set: what the choice of test items adds.
        undefined: why it is.
    """

    side: Side
    value: float | None = None
    values: tuple[float, ...] = ()
    test_set: ItemError | None = None
    undefined: str | None = None

    @property
    def seed_error(self) -> float | None:
        """Standard error over seeds."""
        if len(self.values) < 2:
            return None
        return float(np.std(self.values, ddof=1)) / math.sqrt(len(self.values))


@dataclass(frozen=True)
class Interaction:
    """One encoding's relative gain on one data set against that on another.

    Args:
        difference: of both, None where one is undefined.
        low, high: of its 95% interval.
        p: two-sided, under "both are equal".
        p_holm: corrected over all interactions of the comparison, and for its looks.
        correlation: of both sides' values over shared seeds, a check; None below 3.
    """

    encoding: str
    control: str
    on: RelativeGain
    against: RelativeGain
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    p_equivalent: float | None = None
    label: VerdictLabel | None = None
    correlation: float | None = None

    @property
    def undefined(self) -> str | None:
        """Why there is no difference."""
        return self.on.undefined or self.against.undefined


def relative_gain(side: Side) -> RelativeGain:
    """The relative gain on one data set, or why it has none."""
    if side.missing is not None:
        return RelativeGain(side, undefined=side.missing)
    if len(side.seeds) < 2:
        return RelativeGain(side, undefined=f"fewer than 2 shared seeds on {side.title}")
    baseline_gain = paired(side.baseline_gain, np.zeros(len(side.baseline_gain)))
    assert baseline_gain is not None
    if baseline_gain.difference <= 0 or baseline_gain.p is None or baseline_gain.p > ALPHA:
        return RelativeGain(
            side, undefined=f"{side.baseline} doesn't clearly beat the floor on {side.title}"
        )
    gains, controls = np.array(side.gains), np.array(side.baseline_gain)
    unit = float(controls.mean())
    value = float(gains.mean()) / unit
    values = value + (gains - value * controls) / unit
    error = None
    if side.items is not None:
        ours, theirs = side.items
        linear = ItemDifferences((ours.sums - value * theirs.sums) / unit, ours.weights)
        error = linear.test_set(len(side.seeds))
    return RelativeGain(side, value, tuple(values.tolist()), error)


def judge_interactions(
    interactions: Sequence[Interaction],
    margin: float | None = None,
    interim: InterimAnalyses | None = None,
) -> list[Interaction]:
    """Judges all interactions of a comparison together, Holm-corrected over them.

    Args:
        interactions: with both shares.
        margin: the smallest difference worth caring about.
        looks: the comparison added seeds until it was settled: a look at n and m seeds then may
            spend the product of both shares of the error rate.
    """
    tested = [_tested(one, margin) for one in interactions]
    spending = np.array([_spending(one, interim) for one in tested])
    p = np.array([one.p for one in tested], dtype=np.float64)
    equal = np.array([one.p_equivalent for one in tested], dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        decision = decide(np.minimum(p / spending, 1.0), np.minimum(equal / spending, 1.0))
    judged = []
    for index, one in enumerate(tested):
        if one.p is None or one.difference is None:
            judged.append(one)
            continue
        label: VerdictLabel = "undecided"
        if decision.equals[index]:
            label = "equivalent"
        elif decision.differs[index]:
            label = "larger" if one.difference > 0 else "smaller"
        equivalent = None if one.p_equivalent is None else float(decision.p_equivalent[index])
        judged.append(
            replace(one, p_holm=float(decision.p_holm[index]), p_equivalent=equivalent, label=label)
        )
    return judged


def _tested(one: Interaction, margin: float | None) -> Interaction:
    """With interval and p-values before any correction."""
    on, against = one.on, one.against
    if on.value is None or against.value is None:
        return one
    difference = on.value - against.value
    sources = _sources(on, against)
    changed = replace(one, difference=difference, correlation=_correlation(on, against))
    if not sources:
        # no noise at all to judge by
        return changed
    half = half_width(1 - CONFIDENCE, sources)
    return replace(
        changed,
        low=difference - half,
        high=difference + half,
        p=combined_p(difference, sources),
        p_equivalent=None if margin is None else one_sided_p(margin - abs(difference), sources),
    )


def _sources(on: RelativeGain, against: RelativeGain) -> list[Source]:
    """The seeds of both sides in one (Welch 1947), and each side's test set.

    Empty where the seeds of neither side show any spread: the test set alone can't say what other
    seeds would give.
    """
    variances = [(side.seed_error or 0.0) ** 2 for side in (on, against)]
    total = sum(variances)
    if total == 0:
        return []
    parts = [
        variance**2 / (len(side.values) - 1)
        for variance, side in zip(variances, (on, against), strict=True)
    ]
    sources = [Source(math.sqrt(total), total**2 / sum(parts))]
    for side in (on, against):
        if side.test_set is not None and side.test_set.error > 0:
            sources.append(Source(side.test_set.error, side.test_set.clusters - 1))
    return sources


def _spending(one: Interaction, interim: InterimAnalyses | None) -> float:
    if interim is None:
        return 1.0
    sizes = [len(side.values) for side in (one.on, one.against)]
    if not all(size in interim.sizes for size in sizes):
        return 0.0
    return math.prod(map(interim.share, sizes))


def _correlation(on: RelativeGain, against: RelativeGain) -> float | None:
    ours = dict(zip(on.side.seeds, on.values, strict=True))
    theirs = dict(zip(against.side.seeds, against.values, strict=True))
    shared = sorted(ours.keys() & theirs.keys())
    return correlation([ours[seed] for seed in shared], [theirs[seed] for seed in shared])
