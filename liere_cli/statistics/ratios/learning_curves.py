"""Learning curves: scores at equal cost, and ratios of the costs of reaching a score.

A ratio compares first passages: at each seed the first time at which each of both curves reaches
the worse of both final scores, which both reach. Encoding and baseline are treated alike, so that
two curves of one law have a ratio whose logarithm is symmetric around zero, whatever their shape:
they may be noisy, overfit, or reach the best possible score long before they end. The whole run of
the baseline against the encoding's first passage would be a biased ratio: it is never below 1.

Curves are scores at validations, joined by straight lines. All runs of a table share one schedule
of the learning rate over their budget, so a point inside a curve is not the score of a run that was
planned to end there.

Shapes: k validations of a curve, n shared seeds.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from liere_cli.statistics.correction import holm
from liere_cli.statistics.paired import Paired, paired
from liere_cli.statistics.samples import Array
from liere_cli.statistics.sequential import InterimAnalyses, interim_p
from liere_cli.statistics.verdicts import MIN_SEEDS, VerdictLabel, decide


@dataclass(frozen=True)
class ScoreCurve:
    """Validation scores of one training run.

    Args:
        steps, seconds: [k] of training at each validation, increasing.
        scores: [k], higher is better.
    """

    steps: Array
    seconds: Array
    scores: Array

    def at_seconds(self, seconds: float) -> float:
        """The score after that time, which must lie on the curve."""
        return float(np.interp(seconds, self.seconds, self.scores))

    def at_steps(self, steps: float) -> float:
        """The score after that many steps, which must lie on the curve."""
        return float(np.interp(steps, self.steps, self.scores))

    def reached(self, score: float) -> tuple[float, float]:
        """Steps and seconds at which the curve first reaches a score, at most its highest."""
        steps, seconds = first_passage(self.scores, score, self.steps, self.seconds)
        return steps, seconds


@dataclass(frozen=True)
class Ratio:
    """How many times less an encoding needs than its baseline; above 1 it needs less.

    Args:
        n: shared seeds.
        value: geometric mean over seeds; None without any, or if a passage is at zero cost.
        low, high: ends of the 95% interval, by Student's t on logarithms.
        p: two-sided, under "the ratio is 1".
        p_holm: corrected over the family of the ratio.
    """

    n: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None


@dataclass(frozen=True)
class Efficiency:
    """An encoding against its baseline by their learning curves.

    Args:
        equal_seconds: paired difference of validation scores, in units of the metric, at the time
            at which the faster run of each seed ended.
        seconds: mean of that time.
        steps_ratio, seconds_ratio: cost of the worse of both final validation scores.
        equal_steps, steps: the same at the steps at which the shorter run of each seed ended.
        p_holm, p_steps_holm: of ``equal_seconds`` and ``equal_steps``, corrected.
        label: verdict on ``equal_seconds``; None below 5 shared seeds.
    """

    encoding: str
    equal_seconds: Paired | None
    seconds: float | None
    steps_ratio: Ratio
    seconds_ratio: Ratio
    equal_steps: Paired | None = None
    steps: float | None = None
    p_holm: float | None = None
    p_steps_holm: float | None = None
    label: VerdictLabel | None = None


def first_passage(scores: Array, target: float, *axes: Array) -> tuple[float, ...]:
    """Where a curve, scores [k] joined by straight lines, first reaches ``target``.

    Returns one coordinate on each of the axes [k]; the first one of the curve if it begins at or
    above the target. Raises ValueError if it never reaches it.
    """
    above = np.flatnonzero(scores >= target)
    if not above.size:
        raise ValueError(f"{target} is never reached: the highest score is {scores.max()}")
    end = int(above[0])
    if end == 0:
        return tuple(float(axis[0]) for axis in axes)
    low, high = scores[end - 1], scores[end]
    part = (target - low) / (high - low)
    return tuple(float(axis[end - 1] + part * (axis[end] - axis[end - 1])) for axis in axes)


def efficiency(
    encoding: str, pairs: Sequence[tuple[ScoreCurve, ScoreCurve]], higher_is_better: bool
) -> Efficiency:
    """One encoding against its baseline by n pairs of curves at the same seeds, uncorrected."""
    sign = 1 if higher_is_better else -1
    seconds = [min(ours.seconds[-1], theirs.seconds[-1]) for ours, theirs in pairs]
    steps = [min(ours.steps[-1], theirs.steps[-1]) for ours, theirs in pairs]

    def difference_at(
        score: Callable[[ScoreCurve, float], float], at: list[float]
    ) -> Paired | None:
        values = [sign * score(ours, end) for (ours, _), end in zip(pairs, at, strict=True)]
        baseline = [sign * score(theirs, end) for (_, theirs), end in zip(pairs, at, strict=True)]
        return paired(values, baseline)

    passages = [
        [curve.reached(min(ours.scores[-1], theirs.scores[-1])) for curve in (ours, theirs)]
        for ours, theirs in pairs
    ]
    steps_ratio, seconds_ratio = (
        paired_ratio([ours[axis] for ours, _ in passages], [base[axis] for _, base in passages])
        for axis in (0, 1)
    )
    mean_seconds, mean_steps = (float(np.mean(at)) if at else None for at in (seconds, steps))
    equal_seconds = difference_at(ScoreCurve.at_seconds, seconds)
    equal_steps = difference_at(ScoreCurve.at_steps, steps)
    ratios = (steps_ratio, seconds_ratio)
    return Efficiency(encoding, equal_seconds, mean_seconds, *ratios, equal_steps, mean_steps)


def judge_efficiency(
    rows: Sequence[Efficiency],
    higher_is_better: Sequence[bool],
    interim: InterimAnalyses | None = None,
) -> list[Efficiency]:
    """Judges the four tests of every row, Holm-corrected as one family."""
    p = np.array(
        [
            interim_p(test.p, test.n, interim) if test else None
            for row in rows
            for test in (row.equal_seconds, row.steps_ratio, row.seconds_ratio, row.equal_steps)
        ],
        dtype=np.float64,
    )
    decision = decide(p, np.full(p.shape, np.nan))
    judged = []
    for index, (row, upwards) in enumerate(zip(rows, higher_is_better, strict=True)):
        at_seconds, steps, seconds, at_steps = (
            None if math.isnan(value) else float(value)
            for value in decision.p_corrected[4 * index : 4 * index + 4]
        )
        label: VerdictLabel | None = None
        if (
            at_seconds is not None
            and row.equal_seconds is not None
            and row.equal_seconds.n >= MIN_SEEDS
        ):
            up = (row.equal_seconds.difference > 0) == upwards
            label = ("better" if up else "worse") if decision.differs[4 * index] else "undecided"
        row = replace(row, p_holm=at_seconds, p_steps_holm=at_steps, label=label)
        steps_ratio = replace(row.steps_ratio, p_holm=steps)
        seconds_ratio = replace(row.seconds_ratio, p_holm=seconds)
        judged.append(replace(row, steps_ratio=steps_ratio, seconds_ratio=seconds_ratio))
    return judged


@dataclass(frozen=True)
class PassageRatio:
    """A ratio of first passages over one axis.

    Args:
        at_start, baseline_at_start: seeds at which the first point of the curve was sufficient, so
            that the true passage may be earlier.
    """

    ratio: Ratio
    at_start: int
    baseline_at_start: int


def passage_ratio(
    curves: Sequence[Array], baseline: Sequence[Array], log_axis: Array
) -> PassageRatio:
    """The ratio of first passages of n pairs of curves [k] at the worse of their last scores.

    ``log_axis`` [k] are logarithms of the axis, along which the curves are interpolated.
    """
    passages = [
        [first_passage(curve, min(ours[-1], theirs[-1]), log_axis)[0] for curve in (ours, theirs)]
        for ours, theirs in zip(curves, baseline, strict=True)
    ]
    needed, needed_by_baseline = ([pair[side] for pair in passages] for side in (0, 1))
    return PassageRatio(
        paired_ratio([math.exp(at) for at in needed], [math.exp(at) for at in needed_by_baseline]),
        needed.count(float(log_axis[0])),
        needed_by_baseline.count(float(log_axis[0])),
    )


def paired_ratio(needed: Sequence[float], baseline: Sequence[float]) -> Ratio:
    """The ratio of what the baseline needed to what the encoding needed, both [n], seed by seed."""
    n = len(baseline)
    if n == 0 or not min(*needed, *baseline) > 0:
        return Ratio(n)
    logs = paired(np.log(baseline), np.log(needed))
    assert logs is not None
    low, high = (None if end is None else math.exp(end) for end in (logs.low, logs.high))
    return Ratio(n, math.exp(logs.difference), low, high, logs.p)


def judge_ratios(ratios: Sequence[Ratio], interim: InterimAnalyses | None = None) -> list[Ratio]:
    """The ratios with p-values that are Holm-corrected over all of them."""
    p = [interim_p(ratio.p, ratio.n, interim) for ratio in ratios]
    corrected = holm(np.array(p, dtype=np.float64)).tolist()
    return [
        replace(ratio, p_holm=None if math.isnan(value) else value)
        for ratio, value in zip(ratios, corrected, strict=True)
    ]
