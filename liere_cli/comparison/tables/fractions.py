"""Scores by fraction of the training data, and ratios of the data that reaches an equal score.

Each fraction is a data set of its own in a comparison; those that differ in ``training.fraction``
alone share a table here. The LieRE paper's data efficiency (arXiv 2406.10322) is such a ratio.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from liere_cli.comparison.tables.results import Results
from liere_cli.comparison.tables.table import DatasetTable, Row
from liere_cli.statistics.ratios.learning_curves import Ratio, judge_ratios, passage_ratio
from liere_cli.statistics.samples import mean_and_std


@dataclass(frozen=True)
class FractionRow:
    """One encoding over the fractions.

    Args:
        scores: mean, standard deviation and number of finished runs at each fraction.
        ratio: how many times less data it needs for the worse of both scores on all of it; None
            for the baseline.
        at_smallest, baseline_at_smallest: seeds at which the smallest fraction was sufficient, so
            that less data might be, too.
    """

    encoding: str
    scores: tuple[tuple[float | None, float | None, int], ...]
    ratio: Ratio | None = None
    at_smallest: int = 0
    baseline_at_smallest: int = 0


@dataclass(frozen=True)
class FractionTable:
    """Fractions of one data set's training split.

    Args:
        whole: the table at the largest fraction.
        fractions: in growing order.
    """

    whole: DatasetTable
    fractions: tuple[float, ...]
    rows: tuple[FractionRow, ...]


def fraction_tables(results: Results, tables: Sequence[DatasetTable]) -> tuple[FractionTable, ...]:
    """A table for every data set that is compared at several fractions.

    The p-values of all ratios are Holm-corrected together, as a family of their own.
    """
    plan = results.plan
    families: dict[str, list[int]] = {}
    for index, dataset in enumerate(plan.datasets):
        families.setdefault(dataset.family, []).append(index)
    by_family = []
    for members in families.values():
        members = sorted(members, key=lambda index: plan.datasets[index].fraction)
        fractions = [plan.datasets[index].fraction for index in members]
        if len(set(fractions)) < 2:
            continue
        whole = tables[members[-1]]
        rows = tuple(_row(results, tables, members, row) for row in whole.rows)
        by_family.append(FractionTable(whole, tuple(fractions), rows))
    ratios = [row.ratio for table in by_family for row in table.rows if row.ratio is not None]
    judged = iter(judge_ratios(ratios, plan.interim))
    for index, table in enumerate(by_family):
        rows = tuple(replace(row, ratio=row.ratio and next(judged)) for row in table.rows)
        by_family[index] = replace(table, rows=rows)
    return tuple(by_family)


def _row(
    results: Results, tables: Sequence[DatasetTable], members: Sequence[int], row: Row
) -> FractionRow:
    """One encoding at the fractions of ``members``, indices of data sets in growing order."""
    values = [_values(tables[index], row.encoding) for index in members]
    scores = tuple((*mean_and_std(list(scores.values())), len(scores)) for scores in values)
    whole = tables[members[-1]]
    if not whole.compares(row) or whole.baseline is None:
        return FractionRow(row.encoding, scores)
    datasets = [results.plan.datasets[index] for index in members]
    labels = (row.encoding, whole.baseline)
    planned = [
        encoding
        for dataset in datasets
        for encoding in dataset.encodings
        if encoding.label in labels
    ]
    if len(planned) < 2 * len(datasets):  # finished runs need not have every fraction
        return FractionRow(row.encoding, scores, Ratio(0))
    seeds = results.shared_seeds(planned)
    sign = 1 if whole.higher_is_better else -1
    baseline = [_values(tables[index], whole.baseline) for index in members]
    ours, theirs = (
        [np.array([sign * of_fraction[seed] for of_fraction in side]) for seed in seeds]
        for side in (values, baseline)
    )
    passages = passage_ratio(ours, theirs, np.log([dataset.fraction for dataset in datasets]))
    at_smallest = (passages.at_start, passages.baseline_at_start)
    return FractionRow(row.encoding, scores, passages.ratio, *at_smallest)


def _values(table: DatasetTable, encoding: str) -> dict[int, float]:
    return next((row.values for row in table.rows if row.encoding == encoding), {})
