"""Learning curves, read from the metrics of finished runs, and judged against the baseline's."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import numpy as np

from liere_cli.comparison.tables.results import Results
from liere_cli.comparison.tables.table import DatasetTable
from liere_cli.errors import LiereError
from liere_cli.planning.plan import DatasetPlan
from liere_cli.planning.progress import Outcome
from liere_cli.runs.folder import Run
from liere_cli.statistics.ratios.learning_curves import Efficiency, ScoreCurve, efficiency
from liere_cli.statistics.ratios.learning_curves import judge_efficiency as judge
from liere_cli.statistics.samples import Array


@dataclass(frozen=True)
class LearningCurve:
    """Validation scores of all runs of one encoding.

    Args:
        steps: [k] of training, within the range of every run.
        scores: [n, k] of n runs, in units of the metric.
    """

    encoding: str
    steps: Array
    scores: Array


def learning_curves(dataset: DatasetPlan, outcomes: Mapping[str, Outcome]) -> list[LearningCurve]:
    """Learning curves of a data set's encodings, over finished runs."""
    sign = 1 if dataset.higher_is_better else -1
    by_encoding = []
    for row in dataset.encodings:
        finished = [run.run for run in row.runs if outcomes[run.run_id].state == "finished"]
        read = [read_curve(run, dataset.higher_is_better) for run in finished]
        curves = [curve for curve in read if curve is not None]
        if curves:
            first = max(curve.steps[0] for curve in curves)
            last = min(curve.steps[-1] for curve in curves)
            validations = np.unique(np.concatenate([curve.steps for curve in curves]))
            steps = validations[(validations >= first) & (validations <= last)]
            scores = [np.interp(steps, curve.steps, sign * curve.scores) for curve in curves]
            by_encoding.append(LearningCurve(row.label, steps, np.stack(scores)))
    return by_encoding


def with_efficiency(results: Results, tables: Sequence[DatasetTable]) -> list[DatasetTable]:
    """The tables with each encoding's efficiency, judged together, where the recipe asks for it."""
    if not results.plan.compare.efficiency:
        return list(tables)
    compared = [
        (dataset, table, row.encoding)
        for dataset, table in zip(results.plan.datasets, tables, strict=True)
        for row in table.rows
        if table.compares(row)
    ]
    rows = [_efficiency(results, *names) for names in compared]
    upwards = [table.higher_is_better for _, table, _ in compared]
    judged = iter(judge(rows, upwards, results.plan.interim))
    judged_tables = []
    for dataset, table in zip(results.plan.datasets, tables, strict=True):
        if count := sum(map(table.compares, table.rows)):
            warnings = (*table.warnings, *unreadable_curves(dataset, results.outcomes))
            table = replace(table, efficiency=tuple(islice(judged, count)), warnings=warnings)
        judged_tables.append(table)
    return judged_tables


def unreadable_curves(dataset: DatasetPlan, outcomes: Mapping[str, Outcome]) -> list[str]:
    """A warning for every finished run whose metrics can't be read."""
    return [
        f"{row.label}, seed {run.seed}: metrics.jsonl is {problem}, so learning curves leave it out"
        for row in dataset.encodings
        for run in row.runs
        if outcomes[run.run_id].state == "finished" and (problem := metrics_problem(run.run))
    ]


def _efficiency(
    results: Results, dataset: DatasetPlan, table: DatasetTable, encoding: str
) -> Efficiency:
    """An encoding against its baseline at the seeds at which both have curves."""
    planned = {row.label: row for row in dataset.encodings}
    pair = (planned[encoding], planned[str(table.baseline)])
    ours, theirs = ({run.seed: run.run for run in row.runs} for row in pair)
    curves = []
    for seed in results.shared_seeds(pair):
        curve, reference = (
            read_curve(runs[seed], table.higher_is_better) for runs in (ours, theirs)
        )
        if curve is not None and reference is not None:
            curves.append((curve, reference))
    return efficiency(encoding, curves, table.higher_is_better)


def read_curve(run: Run, higher_is_better: bool) -> ScoreCurve | None:
    """The run's validations; None with fewer than 2 usable ones, or if the file is damaged."""
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
    return ScoreCurve(steps, np.maximum.accumulate(seconds), scores)


def metrics_problem(run: Run) -> Literal["missing", "damaged"] | None:
    """Why the metrics of a finished run can't be read; None if they can."""
    try:
        return None if any(True for _ in run.metrics()) else "missing"
    except LiereError:
        return "damaged"
