"""Training loss and validation scores of every run, for plots."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from liere_cli.errors import LiereError
from liere_cli.planning.plan import ComparedRun, DatasetPlan
from liere_cli.planning.progress import Outcome
from liere_cli.runs.folder import MAX_METRICS_BYTES, metrics_in
from liere_cli.statistics.samples import Array

#: points of the curve of one run, where there are few runs, and of all runs of a data set together
MOST, ALL = 120, 9_000


@dataclass(frozen=True)
class History:
    """One quantity over a run: steps, seconds of training and values, [k] each."""

    steps: Array
    seconds: Array
    values: Array


@dataclass(frozen=True)
class RunCurve:
    """The history of one run.

    Args:
        training: cross-entropy in nats.
        validation: in the metric's unit.
        gradient: norm of the encoding's gradient over that of all gradients; empty for an encoding
            that learns nothing, and for runs that did not log it.
        diverged: whether the run ended because its loss did.
    """

    encoding: str
    seed: int
    diverged: bool
    training: History
    validation: History
    gradient: History


def run_curves(dataset: DatasetPlan, outcomes: Mapping[str, Outcome]) -> list[RunCurve]:
    """Curves of every run of a data set that wrote metrics, also of runs that did not finish.

    A run whose metrics can't be read has no curve. Long runs, and many of them, have fewer points
    than lines: means over neighbours for the loss, some of the validations.
    """
    runs = [(row.label, run) for row in dataset.encodings for run in row.runs]
    most = max(12, min(MOST, ALL // max(len(runs), 1)))
    curves = []
    for label, run in runs:
        lines = _lines(run, most)
        if lines:
            diverged = outcomes[run.run_id].state == "diverged"
            training = _averaged(_history(lines, "loss"), most)
            validation = _thinned(_history(lines, "val"), most)
            gradient = _averaged(_history(map(_with_share, lines), "share"), most)
            curves.append(RunCurve(label, run.seed, diverged, training, validation, gradient))
    return curves


def _lines(run: ComparedRun, most: int) -> list[dict[str, Any]]:
    """All validations, and twice as many of the other lines as a curve has points."""
    try:
        content = run.run.checked("metrics.jsonl", MAX_METRICS_BYTES)
    except (OSError, LiereError):
        return []  # the tables name damaged files
    lines = content.splitlines()
    training = [index for index, line in enumerate(lines) if b'"val"' not in line]
    step = max(1, len(training) // (2 * most))
    left_out = set(training) - set(training[::step])
    kept = [line for index, line in enumerate(lines) if index not in left_out]
    return list(metrics_in(b"\n".join(kept)))


def _with_share(line: Mapping[str, Any]) -> Mapping[str, Any]:
    """The line with the encoding's share of the gradient's norm, where it has both parts."""
    model, encoding = (line.get(f"gradient_norm_{part}") for part in ("model", "encoding"))
    if not isinstance(model, float) or not isinstance(encoding, float):
        return line
    whole = math.hypot(model, encoding)
    return {**line, "share": encoding / whole} if whole > 0 else line


def _history(lines: Iterable[Mapping[str, Any]], key: str) -> History:
    """The finite values of a key, in the order of steps."""
    points: list[tuple[float, float, float]] = []
    for line in lines:
        try:
            step, seconds, value = (float(line[name]) for name in ("step", "seconds", key))
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
        finite = math.isfinite(step) and math.isfinite(seconds) and abs(value) < 1e30
        if finite and (not points or step > points[-1][0]):
            points.append((step, seconds, value))
    steps, seconds_, values = np.array(points, dtype=np.float64).reshape(-1, 3).T
    return History(steps, np.maximum.accumulate(seconds_) if points else seconds_, values)


def _averaged(history: History, most: int) -> History:
    """At most that many points, means over neighbours."""
    count = history.steps.size
    if count <= most:
        return history
    edges = np.linspace(0, count, most + 1).astype(int)[:-1]
    sizes = np.diff([*edges, count])
    steps, seconds, values = (
        np.add.reduceat(part, edges) / sizes
        for part in (history.steps, history.seconds, history.values)
    )
    return History(steps, seconds, values)


def _thinned(history: History, most: int) -> History:
    """At most that many of the points, the first and the last among them."""
    count = history.steps.size
    if count <= most:
        return history
    kept = np.unique(np.linspace(0, count - 1, most).round().astype(int))
    return History(history.steps[kept], history.seconds[kept], history.values[kept])
