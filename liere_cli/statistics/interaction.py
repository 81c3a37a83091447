"""The interaction: is an encoding's gain over the baseline larger on one data set than on another?

Metrics differ between data sets, so each gain is divided by the baseline's own gain. The relative
gain of encoding A over baseline B, with a control N that encodes no position (``none``), is

    r = mean(A - B) / mean(B - N),

signed so that above zero A is better. It is undefined where B doesn't clearly beat N (paired t
test at 5%): there position hardly matters, and the ratio has no stable denominator.

The ratio's error is that of its linearisation (the delta method): the seeds' values
``r + ((A - B) - r (B - N)) / mean(B - N)`` have mean r and are compared between data sets by
Welch's t test. Runs of different data sets share nothing but the number of their seed (other data,
other shapes, another order), so they count as independent; their correlation is reported. The test
sets add their errors as in :mod:`liere_cli.statistics.student`.

Shapes: n seeds at which encoding, baseline and control finished.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from liere_cli.statistics.item_errors import ItemDifferences, ItemError, sources_of
from liere_cli.statistics.paired import paired
from liere_cli.statistics.seed_correlation import correlation
from liere_cli.statistics.sequential import InterimAnalyses
from liere_cli.statistics.student import CONFIDENCE, Source, combined_p, half_width, one_sided_p
from liere_cli.statistics.verdicts import ALPHA, Decision, decide

InteractionLabel = Literal["larger", "smaller", "equivalent", "undecided"]


@dataclass(frozen=True)
class Side:
    """An encoding, its baseline and the control on one data set.

    Args:
        seeds: [n] at which all three finished.
        gains: [n] of the encoding over the baseline, in units of the metric; above zero is better.
        baseline_gain: [n] of the baseline over the control, in the same unit.
        items: both gains over the same test items, where runs stored them.
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
        value: r, without unit: 1 is the baseline's own gain over the control; None if undefined.
        values: [n] linearised, with mean ``value``.
        undefined: why there is no value.
    """

    side: Side
    value: float | None = None
    values: tuple[float, ...] = ()
    test_set: ItemError | None = None
    undefined: str | None = None

    @property
    def seed_error(self) -> float | None:
        """Standard error over seeds."""
        n = len(self.values)
        return float(np.std(self.values, ddof=1)) / math.sqrt(n) if n > 1 else None


@dataclass(frozen=True)
class Interaction:
    """One encoding's relative gain on one data set against that on another.

    Args:
        difference: ``on`` minus ``against``; None if one is undefined.
        low, high: ends of its 95% interval.
        p: two-sided, under "both are equal".
        p_holm: corrected over all interactions of the comparison, and for interim analyses.
        p_equivalent: of the two one-sided tests; corrected likewise, where there is a margin.
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
    label: InteractionLabel | None = None
    correlation: float | None = None

    @property
    def undefined(self) -> str | None:
        """Why there is no difference."""
        return self.on.undefined or self.against.undefined


def relative_gain(side: Side) -> RelativeGain:
    if side.missing is not None:
        return RelativeGain(side, undefined=side.missing)
    if len(side.seeds) < 2:
        return RelativeGain(side, undefined=f"fewer than 2 shared seeds on {side.title}")
    test = paired(side.baseline_gain, np.zeros(len(side.baseline_gain)))
    assert test is not None
    if test.difference <= 0 or test.p is None or test.p > ALPHA:
        return RelativeGain(
            side, undefined=f"{side.baseline} doesn't clearly beat the control on {side.title}"
        )
    gains, baseline_gain = np.array(side.gains), np.array(side.baseline_gain)
    unit = float(baseline_gain.mean())
    value = float(gains.mean()) / unit
    values = value + (gains - value * baseline_gain) / unit
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
        margin: the smallest difference that matters, in relative gains.
        interim: of a comparison that adds seeds until it is settled; an analysis of n and m seeds
            then spends the product of both shares of the error rate.
    """
    tested = [_tested(interaction, margin) for interaction in interactions]
    shares = np.array([_error_share(interaction, interim) for interaction in tested])
    p = np.array([interaction.p for interaction in tested], dtype=np.float64)
    p_equivalent = np.array([test.p_equivalent for test in tested], dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        decision = decide(np.minimum(p / shares, 1.0), np.minimum(p_equivalent / shares, 1.0))
    return [_judged(test, decision, index) for index, test in enumerate(tested)]


def _judged(test: Interaction, decision: Decision, index: int) -> Interaction:
    if test.p is None or test.difference is None:
        return test
    label: InteractionLabel = "undecided"
    if decision.equals[index]:
        label = "equivalent"
    elif decision.differs[index]:
        label = "larger" if test.difference > 0 else "smaller"
    equivalent = None if test.p_equivalent is None else float(decision.p_equivalent[index])
    p_holm = float(decision.p_holm[index])
    return replace(test, p_holm=p_holm, p_equivalent=equivalent, label=label)


def _tested(interaction: Interaction, margin: float | None) -> Interaction:
    """The interaction with its interval and p-values before any correction."""
    on, against = interaction.on, interaction.against
    if on.value is None or against.value is None:
        return interaction
    difference = on.value - against.value
    sources = _sources(on, against)
    tested = replace(interaction, difference=difference, correlation=_correlation(on, against))
    if not sources:
        return tested
    half, p = half_width(1 - CONFIDENCE, sources), combined_p(difference, sources)
    equivalent = None if margin is None else one_sided_p(margin - abs(difference), sources)
    low, high = difference - half, difference + half
    return replace(tested, low=low, high=high, p=p, p_equivalent=equivalent)


def _sources(on: RelativeGain, against: RelativeGain) -> list[Source]:
    """The seeds of both sides as one source (Welch 1947), and each side's test set.

    Empty if the seeds of neither side show any spread: the test set alone doesn't measure how
    other seeds would differ.
    """
    sides = (on, against)
    variances = [(side.seed_error or 0.0) ** 2 for side in sides]
    total = sum(variances)
    if total == 0:
        return []
    freedoms = [len(side.values) - 1 for side in sides]
    parts = [variance**2 / freedom for variance, freedom in zip(variances, freedoms, strict=True)]
    seeds = Source(math.sqrt(total), total**2 / sum(parts))
    return [seeds, *(source for side in sides for source in sources_of(side.test_set))]


def _error_share(interaction: Interaction, interim: InterimAnalyses | None) -> float:
    """The share of the error rate that an analysis of both sides' seeds spends."""
    if interim is None:
        return 1.0
    sizes = [len(side.values) for side in (interaction.on, interaction.against)]
    if not all(size in interim.sizes for size in sizes):
        return 0.0
    return math.prod(map(interim.share, sizes))


def _correlation(on: RelativeGain, against: RelativeGain) -> float | None:
    ours = dict(zip(on.side.seeds, on.values, strict=True))
    theirs = dict(zip(against.side.seeds, against.values, strict=True))
    shared = sorted(ours.keys() & theirs.keys())
    return correlation([ours[seed] for seed in shared], [theirs[seed] for seed in shared])
