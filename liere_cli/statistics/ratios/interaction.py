"""The interaction: is an encoding's gain over the baseline larger on one data set than on another?

Metrics differ between data sets, so each gain is divided by the baseline's own gain. The relative
gain of encoding A over baseline B, with a control N that encodes no position (``none``), is

    r = mean(A - B) / mean(B - N),

signed so that above zero A is better. Its interval is Fieller's, over seeds and test sets, and that
of the difference of two relative gains follows from both
(:mod:`liere_cli.statistics.ratios.fieller`). A relative gain is undefined where B doesn't clearly
beat N at 5%: there position hardly matters, and any ratio would be compatible with the data. Runs
of different data sets share nothing but the number of their seed (other data, other shapes, another
order), so they count as independent; their correlation is reported.

Shapes: n seeds at which encoding, baseline and control finished.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from liere_cli.statistics.item_errors import ItemDifferences, degrees_of_freedom
from liere_cli.statistics.paired import smallest_sign_flip_p
from liere_cli.statistics.ratios.fieller import CovarianceSource, RatioDifference, RatioOfMeans
from liere_cli.statistics.samples import Array, standard_deviation
from liere_cli.statistics.seed_correlation import correlation
from liere_cli.statistics.sequential import InterimAnalyses
from liere_cli.statistics.student import CONFIDENCE
from liere_cli.statistics.verdicts import MIN_SEEDS, Decision, decide

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
        setting: what distinguishes it from the other side, where both are one data set.
    """

    title: str
    modality: str
    baseline: str
    seeds: tuple[int, ...] = ()
    gains: tuple[float, ...] = ()
    baseline_gain: tuple[float, ...] = ()
    items: tuple[ItemDifferences, ItemDifferences] | None = None
    missing: str | None = None
    setting: str = ""


@dataclass(frozen=True)
class RelativeGain:
    """A relative gain.

    Args:
        value: r, without unit: 1 is the baseline's own gain over the control; None if undefined.
        low, high: ends of its 95% interval.
        values: [n] linearised, with mean ``value``; for the correlation between data sets.
        seed_error, test_error: standard errors over seeds and over test items, linearised; the
            second is None where runs stored no results per item.
        ratio: the two means with their errors.
        undefined: why there is no value.
    """

    side: Side
    value: float | None = None
    low: float | None = None
    high: float | None = None
    values: tuple[float, ...] = ()
    seed_error: float | None = None
    test_error: float | None = None
    ratio: RatioOfMeans | None = None
    undefined: str | None = None


@dataclass(frozen=True)
class Interaction:
    """One encoding's relative gain on one data set against that on another.

    Args:
        difference: ``on`` minus ``against``; None if one is undefined.
        low, high: ends of its 95% interval.
        p: two-sided, under "both are equal".
        p_holm: corrected over all interactions of the comparison, and for interim analyses.
        p_equivalent: of the two one-sided tests; corrected likewise, where there is a margin.
        label: None below 5 shared seeds on either data set.
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
    """The relative gain of one side, with Fieller's interval; undefined where it has none."""
    if side.missing is not None:
        return RelativeGain(side, undefined=side.missing)
    n = len(side.seeds)
    if n < 2:
        return RelativeGain(side, undefined=f"fewer than 2 shared seeds on {side.title}")
    gains, baseline_gain = np.array(side.gains), np.array(side.baseline_gain)
    over_seeds, over_items = _over_seeds(gains, baseline_gain), _over_items(side)
    ratio = RatioOfMeans(
        float(gains.mean()),
        float(baseline_gain.mean()),
        (over_seeds,) if over_items is None else (over_seeds, over_items),
        # equal values at all seeds measure no noise
        smallest_sign_flip_p(n) if over_seeds.denominator == 0 else 0.0,
    )
    ends = ratio.interval(1 - CONFIDENCE) if ratio.denominator > 0 else None
    if ends is None:
        return RelativeGain(
            side,
            undefined=f"{side.baseline} doesn't clearly beat the control on {side.title}, so the "
            "relative gain has no bounds",
        )
    value = ratio.value
    values = value + (gains - value * baseline_gain) / ratio.denominator
    seed_error, test_error = (
        None if source is None else _linearised_error(ratio, source)
        for source in (over_seeds, over_items)
    )
    return RelativeGain(side, value, *ends, tuple(values.tolist()), seed_error, test_error, ratio)


def _linearised_error(ratio: RatioOfMeans, source: CovarianceSource) -> float:
    """The standard error of a ratio by the delta method."""
    value = ratio.value
    covariances = 2 * value * source.covariance
    variance = source.numerator - covariances + value**2 * source.denominator
    return math.sqrt(max(variance, 0.0)) / abs(ratio.denominator)


def _over_seeds(gains: Array, baseline_gain: Array) -> CovarianceSource:
    """The covariance of both mean gains over seeds, of gains [n]."""
    varying = [
        each if standard_deviation(each) > 0 else np.zeros(each.size)
        for each in (gains, baseline_gain)
    ]
    return CovarianceSource.projected(np.cov(varying) / gains.size, gains.size - 1)


def _over_items(side: Side) -> CovarianceSource | None:
    """The covariance of both mean gains over test items; None where runs stored no results."""
    if side.items is None:
        return None
    matrix = [
        [first.covariance(second, len(side.seeds)) for second in side.items] for first in side.items
    ]
    weights = side.items[0].weights
    if matrix[0][0] is None:
        return None
    freedom = degrees_of_freedom(weights / weights.sum())
    return CovarianceSource.projected(np.array(matrix, dtype=np.float64), freedom)


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
    label: InteractionLabel | None = "undecided"
    if min(len(test.on.values), len(test.against.values)) < MIN_SEEDS:
        label = None
    elif decision.equals[index]:
        label = "equivalent"
    elif decision.differs[index]:
        label = "larger" if test.difference > 0 else "smaller"
    equivalent = None if test.p_equivalent is None else float(decision.p_equivalent[index])
    p_holm = float(decision.p_corrected[index])
    return replace(test, p_holm=p_holm, p_equivalent=equivalent, label=label)


def _tested(interaction: Interaction, margin: float | None) -> Interaction:
    """The interaction with its interval and p-values before any correction."""
    on, against = interaction.on, interaction.against
    if on.ratio is None or against.ratio is None:
        return interaction
    correlated = _correlation(on, against)
    shared = bool(on.side.setting)  # settings of one data set share seeds, data sets only numbers
    used = _trusted(correlated, len(on.values)) if shared else 0.0
    both = RatioDifference(on.ratio, against.ratio, used)
    tested = replace(interaction, difference=both.value, correlation=correlated)
    ends = both.interval(1 - CONFIDENCE)
    if ends is None or not (on.seed_error or against.seed_error):
        # the test sets alone don't measure how other seeds would differ
        return tested
    equivalent = None if margin is None else both.equivalence_p(margin)
    return replace(tested, low=ends[0], high=ends[1], p=both.p(), p_equivalent=equivalent)


def _error_share(interaction: Interaction, interim: InterimAnalyses | None) -> float:
    """The share of the error rate that an analysis of both sides' seeds spends."""
    if interim is None:
        return 1.0
    sizes = [len(side.values) for side in (interaction.on, interaction.against)]
    if not all(size in interim.sizes for size in sizes):
        return 0.0
    return math.prod(map(interim.share, sizes))


def _trusted(correlation: float | None, n: int) -> float:
    """The part of a correlation over n seeds that an interval may rely on: all of one that widens
    it, and of one that narrows it the lower end of its 90% interval (Fisher 1921), if above zero.
    """
    if correlation is None:
        return 0.0
    if correlation <= 0 or n < 4:
        return min(correlation, 0.0)
    z = math.atanh(min(correlation, 1 - 1e-12)) - 1.645 / math.sqrt(n - 3)
    return max(math.tanh(z), 0.0)


def _correlation(on: RelativeGain, against: RelativeGain) -> float | None:
    ours = dict(zip(on.side.seeds, on.values, strict=True))
    theirs = dict(zip(against.side.seeds, against.values, strict=True))
    shared = sorted(ours.keys() & theirs.keys())
    return correlation([ours[seed] for seed in shared], [theirs[seed] for seed in shared])
