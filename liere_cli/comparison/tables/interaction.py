"""Gains on one data set, or with one setting, against gains on another."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from liere_cli.comparison.tables.results import Results
from liere_cli.comparison.tables.table import DatasetTable
from liere_cli.planning.labels import is_called
from liere_cli.planning.plan import DatasetPlan
from liere_cli.statistics.item_errors import ItemDifferences
from liere_cli.statistics.ratios.interaction import (
    Interaction,
    Side,
    judge_interactions,
    relative_gain,
)

_DataSet = tuple[DatasetPlan, DatasetTable]


def interactions(results: Results, tables: Sequence[DatasetTable]) -> tuple[Interaction, ...]:
    """Every encoding's interaction between the reference data sets and the others, if asked for;
    where the recipe compares settings, between the first of each data set and its others.
    """
    settings = results.plan.compare.interaction
    if settings is None:
        return ()
    # finished runs are compared without importing the encodings
    from liere_cli.encodings.registry import label

    control = label(settings.control)
    requested = None if settings.encodings is None else [label(spec) for spec in settings.encodings]
    pairs = []
    datasets = list(zip(results.plan.datasets, tables, strict=True))
    over = bool(results.plan.compare.over)
    pairs_of = _setting_pairs(datasets) if over else _data_set_pairs(datasets, settings.against)
    for both in pairs_of:
        labels = [[row.encoding for row in table.rows] for _, table in both]
        apart = {control, *(table.baseline for _, table in both)}
        common = [name for name in labels[0] if name in labels[1] and name not in apart]
        for name in common if requested is None else requested:
            gain, reference = (
                relative_gain(_side(results, dataset, name, control)) for dataset in both
            )
            pairs.append(Interaction(name, control, gain, reference))
    return tuple(judge_interactions(pairs, settings.margin, results.plan.interim))


def _whole(datasets: Sequence[_DataSet]) -> list[_DataSet]:
    """Data sets at their largest fraction; smaller ones are compared elsewhere."""
    largest: dict[str, float] = {}
    for plan, _ in datasets:
        largest[plan.family] = max(plan.fraction, largest.get(plan.family, 0.0))
    return [(plan, table) for plan, table in datasets if plan.fraction == largest[plan.family]]


def _data_set_pairs(
    datasets: Sequence[_DataSet], against: str
) -> Iterator[tuple[_DataSet, _DataSet]]:
    """Every data set with those that it is compared with."""
    others: list[_DataSet] = []
    references: list[_DataSet] = []
    for plan, table in _whole(datasets):
        matches = is_called(table.modality, table.data, against)
        (references if matches else others).append((plan, table))
    return ((on, reference) for on in others for reference in references)


def _setting_pairs(datasets: Sequence[_DataSet]) -> Iterator[tuple[_DataSet, _DataSet]]:
    """Every setting of a data set with the first, which the plan lists before the others."""
    first = next((plan.setting for plan, _ in datasets), "")
    reference: _DataSet | None = None
    for plan, table in _whole(datasets):
        if plan.setting == first:
            reference = (plan, table)
        elif reference is not None:
            yield (plan, table), reference


def _side(results: Results, dataset: _DataSet, encoding: str, control: str) -> Side:
    plan, table = dataset
    side = Side(table.title, table.modality, table.baseline or "the baseline", setting=plan.setting)
    planned = {row.label: row for row in plan.encodings}
    for label in (encoding, table.baseline, control):
        if label not in planned:
            return replace(side, missing=f"{label} is not compared on {table.title}")
        if planned[label].undefined:
            return replace(side, missing=f"{label} is {planned[label].undefined} ({table.title})")
    if table.baseline == control:
        return replace(side, missing=f"the baseline is the control on {table.title}")
    labels = (encoding, str(table.baseline), control)
    rows = [planned[label] for label in labels]
    scores = {row.encoding: row.values for row in table.rows}
    seeds = results.shared_seeds(rows)
    ours, baseline, ground = (np.array([scores[label][seed] for seed in seeds]) for label in labels)
    sign = 1 if table.higher_is_better else -1
    items = [results.items_between(*pair, seeds, table.metric) for pair in pairwise(rows)]
    gains, baseline_gain = (
        part.times(sign) if isinstance(part, ItemDifferences) else None for part in items
    )
    return replace(
        side,
        seeds=tuple(seeds),
        gains=tuple((sign * (ours - baseline)).tolist()),
        baseline_gain=tuple((sign * (baseline - ground)).tolist()),
        items=(gains, baseline_gain) if gains and baseline_gain else None,
    )
