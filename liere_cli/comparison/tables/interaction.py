"""Gains on one data set against gains on another, where the recipe asks for them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from liere_cli.comparison.tables.shared_seeds import items_between, shared_seeds
from liere_cli.comparison.tables.table import DatasetTable
from liere_cli.planning.labels import is_called
from liere_cli.planning.plan import Plan
from liere_cli.planning.progress import Outcome
from liere_cli.statistics.interaction import Interaction, Side, judge_interactions, relative_gain


def interactions(
    plan: Plan, tables: Sequence[DatasetTable], outcomes: Mapping[str, Outcome]
) -> tuple[Interaction, ...]:
    """Every encoding's interaction between the reference data sets and the others.

    Args:
        tables: of the plan's data sets, in order.
        outcomes: of the plan's runs, by identity.

    Returns:
        Nothing if the recipe has no ``compare.interaction``.
    """
    settings = plan.compare.interaction
    if settings is None:
        return ()
    # finished runs are compared without importing the encodings
    from liere_cli.encodings.registry import label

    control = label(settings.control)
    requested = None if settings.encodings is None else [label(spec) for spec in settings.encodings]
    pairs = []
    for on, against in _data_set_pairs(plan, tables, settings.against):
        labels = [[row.encoding for row in tables[index].rows] for index in (on, against)]
        apart = {control, tables[on].baseline, tables[against].baseline}
        common = [name for name in labels[0] if name in labels[1] and name not in apart]
        for name in common if requested is None else requested:
            gain, reference = (
                relative_gain(_side(plan, index, tables[index], name, control, outcomes))
                for index in (on, against)
            )
            pairs.append(Interaction(name, control, gain, reference))
    return tuple(judge_interactions(pairs, settings.margin, plan.interim))


def _data_set_pairs(
    plan: Plan, tables: Sequence[DatasetTable], against: str
) -> Iterator[tuple[int, int]]:
    """Indices of every data set with those that it is compared with."""
    largest: dict[str, float] = {}
    for dataset in plan.datasets:
        largest[dataset.family] = max(dataset.fraction, largest.get(dataset.family, 0.0))
    # smaller fractions of a data set are compared elsewhere
    whole = [
        index
        for index, dataset in enumerate(plan.datasets)
        if dataset.fraction == largest[dataset.family]
    ]
    references = [
        index for index in whole if is_called(tables[index].modality, tables[index].data, against)
    ]
    return ((on, reference) for on in whole if on not in references for reference in references)


def _side(
    plan: Plan,
    index: int,
    table: DatasetTable,
    encoding: str,
    control: str,
    outcomes: Mapping[str, Outcome],
) -> Side:
    """An encoding, its baseline and the control on one data set."""
    side = Side(table.title, table.modality, table.baseline or "the baseline")
    planned = {row.label: row for row in plan.datasets[index].encodings}
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
    seeds = shared_seeds(plan, rows, outcomes)
    ours, baseline, ground = (np.array([scores[label][seed] for seed in seeds]) for label in labels)
    sign = 1 if table.higher_is_better else -1
    gains = items_between(rows[0], rows[1], seeds, table.metric)
    baseline_gain = items_between(rows[1], rows[2], seeds, table.metric)
    return replace(
        side,
        seeds=tuple(seeds),
        gains=tuple((sign * (ours - baseline)).tolist()),
        baseline_gain=tuple((sign * (baseline - ground)).tolist()),
        items=(gains.times(sign), baseline_gain.times(sign)) if gains and baseline_gain else None,
    )
