"""Scores by fraction of the training data, and the data that reaches the baseline's full score.

Fractions are data sets of their own in a comparison, which differ in ``training.fraction`` alone;
this puts them side by side. The LieRE paper's data efficiency (arXiv 2406.10322) is
such a ratio.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from liere_cli.comparison.tables.learning_curves import Curve, Ratio, ratio_of, spent_p
from liere_cli.comparison.tables.shared_seeds import shared_seeds
from liere_cli.planning.plan import Plan
from liere_cli.planning.progress import Outcome
from liere_cli.statistics.paired import holm, mean_and_std

if TYPE_CHECKING:
    from liere_cli.comparison.tables.table import DatasetTable, Row


@dataclass(frozen=True)
class FractionRow:
    """One encoding over the fractions.

    Args:
        scores: mean, standard deviation and number of finished runs at each fraction.
        ratio: how many times less data takes it to the score of the baseline on all of it; None
            for the baseline.
        at_smallest: seeds at which the smallest fraction was already enough, so that the ratio may
            be larger than it says.
    """

    encoding: str
    scores: tuple[tuple[float | None, float | None, int], ...]
    ratio: Ratio | None = None
    at_smallest: int = 0


@dataclass(frozen=True)
class FractionTable:
    """Fractions of one data set's training split.

    Args:
        whole: the table at the largest fraction.
        fractions: in growing order.
    """

    whole: "DatasetTable"
    fractions: tuple[float, ...]
    rows: tuple[FractionRow, ...]


def fraction_tables(
    plan: Plan, datasets: "Sequence[DatasetTable]", found: Mapping[str, Outcome]
) -> tuple[FractionTable, ...]:
    """A table for every data set that is compared at several fractions; its p-values are
    Holm-corrected together, as a family of their own.
    """
    families: dict[str, list[int]] = {}
    for index, dataset in enumerate(plan.datasets):
        families.setdefault(dataset.family, []).append(index)
    tables = []
    for members in families.values():
        members = sorted(members, key=lambda index: plan.datasets[index].fraction)
        fractions = [plan.datasets[index].fraction for index in members]
        if len(set(fractions)) < 2:
            continue
        whole = datasets[members[-1]]
        rows = tuple(_row(plan, datasets, members, row, found) for row in whole.rows)
        tables.append(FractionTable(whole, tuple(fractions), rows))
    return _corrected(tables, plan)


def _row(
    plan: Plan,
    datasets: "Sequence[DatasetTable]",
    members: Sequence[int],
    row: "Row",
    found: Mapping[str, Outcome],
) -> FractionRow:
    values = [_values(datasets[index], row.encoding) for index in members]
    scores = tuple((*mean_and_std(list(one.values())), len(one)) for one in values)
    whole = datasets[members[-1]]
    if row.is_baseline or whole.baseline is None or row.undefined is not None:
        return FractionRow(row.encoding, scores)
    wanted = [(index, row.encoding) for index in members] + [(members[-1], whole.baseline)]
    planned = [
        one for index, name in wanted for one in plan.datasets[index].encodings if one.label == name
    ]
    if len(planned) < len(wanted):  # finished runs need not have every fraction
        return FractionRow(row.encoding, scores, Ratio(0))
    seeds = shared_seeds(plan, planned, found)
    sign = 1 if whole.higher_is_better else -1
    goals = _values(whole, whole.baseline)
    logs = np.log([plan.datasets[index].fraction for index in members])
    needed: list[float | None] = []
    for seed in seeds:
        curve = Curve(logs, logs, np.array([sign * one[seed] for one in values]))
        reached = curve.reached(sign * goals[seed])
        needed.append(None if reached is None else math.exp(reached[0]))
    full = plan.datasets[members[-1]].fraction
    at_smallest = sum(one is not None and one <= math.exp(logs[0]) for one in needed)
    return FractionRow(row.encoding, scores, ratio_of(needed, [full] * len(seeds)), at_smallest)


def _values(dataset: "DatasetTable", encoding: str) -> dict[int, float]:
    return next((row.values for row in dataset.rows if row.encoding == encoding), {})


def _corrected(tables: Sequence[FractionTable], plan: Plan) -> tuple[FractionTable, ...]:
    every = [row.ratio for table in tables for row in table.rows if row.ratio is not None]
    p = iter(
        holm(np.array([spent_p(one.p, one.n, plan.interim) for one in every], dtype=np.float64))
    )

    def judged(row: FractionRow) -> FractionRow:
        if row.ratio is None:
            return row
        value = float(next(p))
        return replace(row, ratio=replace(row.ratio, p_holm=None if math.isnan(value) else value))

    return tuple(replace(table, rows=tuple(judged(row) for row in table.rows)) for table in tables)
