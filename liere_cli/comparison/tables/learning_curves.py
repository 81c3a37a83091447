"""Learning curves: scores at equal steps and seconds, and what reaches the baseline's final score.

Curves are validation scores, joined by straight lines between validations. All runs of a table
share one schedule of the learning rate over their budget, so a curve inside it is that of a run
that was not meant to end there.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from liere_cli.errors import LiereError
from liere_cli.planning.plan import DatasetPlan
from liere_cli.planning.progress import Outcome
from liere_cli.runs.folder import Run
from liere_cli.statistics.paired import Paired, paired
from liere_cli.statistics.sequential import InterimAnalyses
from liere_cli.statistics.verdicts import VerdictLabel, decide

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Validation scores of one run.

    Args:
        steps, seconds: [k] of training at each validation, increasing.
        scores: [k] where higher is better.
    """

    steps: Array
    seconds: Array
    scores: Array

    def at_seconds(self, seconds: float) -> float:
        """The score after that time, which lies on the curve."""
        return float(np.interp(seconds, self.seconds, self.scores))

    def at_steps(self, steps: float) -> float:
        """The score after so many steps, which lie on the curve."""
        return float(np.interp(steps, self.steps, self.scores))

    def reached(self, score: float) -> tuple[float, float] | None:
        """Steps and seconds at which the curve first reaches a score; None: it never does.

        A curve that begins above the score has reached it at its first validation, or earlier.
        """
        above = np.flatnonzero(self.scores >= score)
        if not above.size:
            return None
        end = int(above[0])
        if end == 0:
            return float(self.steps[0]), float(self.seconds[0])
        low, high = self.scores[end - 1], self.scores[end]
        part = (score - low) / (high - low)
        steps, seconds = (
            float(axis[end - 1] + part * (axis[end] - axis[end - 1]))
            for axis in (self.steps, self.seconds)
        )
        return steps, seconds


@dataclass(frozen=True)
class Ratio:
    """How many times less an encoding needs than its baseline; above 1 it needs less.

    Args:
        value: geometric mean over ``n`` shared seeds; None where it never got there at some seed.
        low, high: of the 95% interval, by Student's t on logarithms.
        missed: seeds at which the encoding never reached the baseline's final score.
    """

    n: int
    missed: int = 0
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
        word: on that difference.
        equal_steps, steps: the same at the steps at which the shorter run of each seed ended.
        steps_ratio, seconds_ratio: to the baseline's final validation score.
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


def curve_fault(run: Run) -> Literal["missing", "damaged"] | None:
    """Why the metrics of a run that is over can't be read; None where they can."""
    try:
        return None if any(True for _ in run.metrics()) else "missing"
    except LiereError:
        return "damaged"


def read_curve(run: Run, higher_is_better: bool) -> Curve | None:
    """The run's validations; None with fewer than 2 that can be used, or a damaged file."""
    points: list[tuple[float, float, float]] = []
    sign = 1 if higher_is_better else -1
    try:
        for line in run.metrics():
            if "val" in line:
                step, seconds, value = (float(line[key]) for key in ("step", "seconds", "val"))
                if math.isfinite(value) and (not points or step > points[-1][0]):
                    points.append((step, seconds, sign * value))
    except (TypeError, ValueError, KeyError, LiereError):
        return None
    if len(points) < 2:
        return None
    steps, seconds, scores = np.array(points, dtype=np.float64).T
    return Curve(steps, np.maximum.accumulate(seconds), scores)


@dataclass(frozen=True)
class LearningCurve:
    """How the validation scores of one encoding went.

    Args:
        steps: [k], of training, that all its runs came to.
        scores: [n, k] of n runs, in units of the metric.
    """

    encoding: str
    steps: Array
    scores: Array


def learning_curves(dataset: DatasetPlan, found: Mapping[str, Outcome]) -> list[LearningCurve]:
    """Learning curves of the encodings of a data set, over finished runs."""
    sign = 1 if dataset.higher_is_better else -1
    every = []
    for row in dataset.encodings:
        finished = [run.run for run in row.runs if found[run.run_id].state == "finished"]
        read = [read_curve(run, dataset.higher_is_better) for run in finished]
        curves = [curve for curve in read if curve is not None]
        if curves:
            first = max(curve.steps[0] for curve in curves)
            last = min(curve.steps[-1] for curve in curves)
            marks = np.unique(np.concatenate([curve.steps for curve in curves]))
            steps = marks[(marks >= first) & (marks <= last)]
            scores = [np.interp(steps, curve.steps, sign * curve.scores) for curve in curves]
            every.append(LearningCurve(row.label, steps, np.stack(scores)))
    return every


def efficiency(
    encoding: str, pairs: Sequence[tuple[Curve, Curve]], higher_is_better: bool
) -> Efficiency:
    """One encoding against its baseline, before any correction.

    Args:
        pairs: [n] curves of encoding and baseline at the same seeds.
    """
    sign = 1 if higher_is_better else -1
    ends = [min(ours.seconds[-1], theirs.seconds[-1]) for ours, theirs in pairs]
    steps_ends = [min(ours.steps[-1], theirs.steps[-1]) for ours, theirs in pairs]
    by_seconds, by_steps = (
        [[sign * score(curve, end) for curve in pair] for pair, end in zip(pairs, at, strict=True)]
        for score, at in ((Curve.at_seconds, ends), (Curve.at_steps, steps_ends))
    )
    difference, at_steps = (
        paired([row[0] for row in scores], [row[1] for row in scores])
        for scores in (by_seconds, by_steps)
    )
    reached = [ours.reached(theirs.scores[-1]) for ours, theirs in pairs]
    whole = [(theirs.steps[-1], theirs.seconds[-1]) for _, theirs in pairs]
    steps, seconds = (
        ratio_of(
            [None if one is None else one[axis] for one in reached], [one[axis] for one in whole]
        )
        for axis in (0, 1)
    )
    mean_end, mean_steps = (float(np.mean(at)) if at else None for at in (ends, steps_ends))
    return Efficiency(encoding, difference, mean_end, steps, seconds, at_steps, mean_steps)


def judge_efficiency(
    rows: Sequence[Efficiency],
    higher_is_better: Sequence[bool],
    interim: InterimAnalyses | None = None,
) -> list[Efficiency]:
    """Holm-corrects everything that learning curves were asked, in one family.

    Args:
        looks: the comparison added seeds until it was settled; p-values pay for their look.
    """
    every = [
        p
        for row in rows
        for p in (
            spent_p(row.equal_seconds.p, row.equal_seconds.n, interim)
            if row.equal_seconds
            else None,
            spent_p(row.steps_ratio.p, row.steps_ratio.n, interim),
            spent_p(row.seconds_ratio.p, row.seconds_ratio.n, interim),
            spent_p(row.equal_steps.p, row.equal_steps.n, interim) if row.equal_steps else None,
        )
    ]
    p = np.array(every, dtype=np.float64)
    corrected = decide(p, np.full(p.shape, np.nan))
    judged = []
    for index, (row, upwards) in enumerate(zip(rows, higher_is_better, strict=True)):
        own, steps, seconds, at_steps = (
            None if math.isnan(value) else float(value)
            for value in corrected.p_holm[4 * index : 4 * index + 4]
        )
        label: VerdictLabel | None = None
        if own is not None and row.equal_seconds is not None:
            up = (row.equal_seconds.difference > 0) == upwards
            label = ("better" if up else "worse") if corrected.differs[4 * index] else "undecided"
        judged.append(
            replace(
                row,
                p_holm=own,
                p_steps_holm=at_steps,
                label=label,
                steps_ratio=replace(row.steps_ratio, p_holm=steps),
                seconds_ratio=replace(row.seconds_ratio, p_holm=seconds),
            )
        )
    return judged


def spent_p(p: float | None, n: int, interim: InterimAnalyses | None) -> float | None:
    """The p-value of n seeds, corrected for the looks of a comparison that adds seeds."""
    if p is None or interim is None:
        return p
    return float(interim.spent(np.array(p), n)) if n in interim.sizes else 1.0


def ratio_of(needed: Sequence[float | None], whole: Sequence[float]) -> Ratio:
    """Of what the baseline took to what the encoding needed."""
    n, missed = len(whole), sum(one is None for one in needed)
    known = [one for one in needed if one is not None and one > 0]
    if n == 0 or len(known) < n or not min(whole) > 0:
        return Ratio(n, missed)
    logs = paired(np.log(whole), np.log(known))
    assert logs is not None
    ends = [None if end is None else math.exp(end) for end in (logs.low, logs.high)]
    return Ratio(n, missed, math.exp(logs.difference), ends[0], ends[1], logs.p)
