"""What a recipe asks beyond scores: gains across data sets, and learning curves."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from liere_cli.comparison.tables.learning_curves import (
    Efficiency,
    curve_fault,
    efficiency,
    judge_efficiency,
    read_curve,
)
from liere_cli.comparison.tables.shared_seeds import items_between, shared_seeds
from liere_cli.planning.labels import is_called
from liere_cli.planning.plan import DatasetPlan, Plan
from liere_cli.planning.progress import Outcome
from liere_cli.statistics.interaction import Interaction, Side, judge_interactions, relative_gain

if TYPE_CHECKING:
    from liere_cli.comparison.tables.table import DatasetTable


def interactions(
    plan: Plan, datasets: "Sequence[DatasetTable]", found: Mapping[str, Outcome]
) -> tuple[Interaction, ...]:
    """What the recipe asks of gains on one data set against those on another."""
    compare = plan.recipe.compare if plan.recipe else None
    if compare is None or compare.interaction is None:
        return ()
    # finished runs are compared without the encodings' own code
    from liere_cli.encodings.registry import label

    asked = compare.interaction
    control = label(asked.control)
    named = None if asked.encodings is None else [label(spec) for spec in asked.encodings]
    largest: dict[str, float] = {}
    for dataset in plan.datasets:
        largest[dataset.family] = max(dataset.fraction, largest.get(dataset.family, 0.0))
    # gains at fractions of the data are another question
    places = [
        index
        for index, dataset in enumerate(plan.datasets)
        if dataset.fraction == largest[dataset.family]
    ]
    references = [
        index
        for index in places
        if is_called(datasets[index].modality, datasets[index].data, asked.against)
    ]
    asked_for = []
    for on in (index for index in places if index not in references):
        for against in references:
            both = [[row.encoding for row in datasets[index].rows] for index in (on, against)]
            apart = {control, datasets[on].baseline, datasets[against].baseline}
            common = [name for name in both[0] if name in both[1] and name not in apart]
            for name in common if named is None else named:
                ours, theirs = (
                    relative_gain(_side(plan, index, datasets[index], name, control, found))
                    for index in (on, against)
                )
                asked_for.append(Interaction(name, control, ours, theirs))
    return tuple(judge_interactions(asked_for, asked.margin, plan.interim))


def efficiencies(
    plan: Plan, datasets: "Sequence[DatasetTable]", found: Mapping[str, Outcome]
) -> list[tuple[Efficiency, ...]]:
    """Learning curves against the baseline's, for each data set, where the recipe asks."""
    compare = plan.recipe.compare if plan.recipe else None
    if compare is None or not compare.efficiency:
        return [() for _ in datasets]
    rows, upwards, places = [], [], []
    for index, dataset in enumerate(datasets):
        planned = {row.label: row for row in plan.datasets[index].encodings}
        for row in dataset.rows:
            if dataset.baseline is None or row.is_baseline or row.undefined is not None:
                continue
            pair = (planned[row.encoding], planned[dataset.baseline])
            runs = [{run.seed: run.run for run in one.runs} for one in pair]
            curves = []
            for seed in shared_seeds(plan, pair, found):
                ours, theirs = (read_curve(one[seed], dataset.higher_is_better) for one in runs)
                if ours is not None and theirs is not None:
                    curves.append((ours, theirs))
            rows.append(efficiency(row.encoding, curves, dataset.higher_is_better))
            upwards.append(dataset.higher_is_better)
            places.append(index)
    judged = judge_efficiency(rows, upwards, plan.interim)
    return [
        tuple(row for row, place in zip(judged, places, strict=True) if place == index)
        for index in range(len(datasets))
    ]


def without_curves(dataset: DatasetPlan, found: Mapping[str, Outcome]) -> list[str]:
    """Finished runs whose metrics can't be read, which learning curves leave out."""
    return [
        f"{row.label}, seed {run.seed}: metrics.jsonl is {fault}, so learning curves leave it out"
        for row in dataset.encodings
        for run in row.runs
        if found[run.run_id].state == "finished" and (fault := curve_fault(run.run))
    ]


def _side(
    plan: Plan,
    index: int,
    dataset: "DatasetTable",
    name: str,
    control: str,
    found: Mapping[str, Outcome],
) -> Side:
    """An encoding, its baseline and the floor on one data set."""
    side = Side(dataset.title, dataset.modality, dataset.baseline or "the baseline")
    wanted = (name, dataset.baseline, control)
    planned = {row.label: row for row in plan.datasets[index].encodings}
    for one in wanted:
        if one not in planned:
            return replace(side, missing=f"{one} is not compared on {dataset.title}")
        if planned[one].undefined:
            return replace(side, missing=f"{one} is {planned[one].undefined} ({dataset.title})")
    if dataset.baseline == control:
        return replace(side, missing=f"the baseline is the floor on {dataset.title}")
    rows = [planned[str(one)] for one in wanted]
    tables = {row.encoding: row.values for row in dataset.rows}
    seeds = shared_seeds(plan, rows, found)
    ours, base, ground = (np.array([tables[str(one)][seed] for seed in seeds]) for one in wanted)
    sign = 1 if dataset.higher_is_better else -1
    gains = items_between(rows[0], rows[1], seeds, dataset.metric)
    baseline_gain = items_between(rows[1], rows[2], seeds, dataset.metric)
    return replace(
        side,
        seeds=tuple(seeds),
        gains=tuple((sign * (ours - base)).tolist()),
        baseline_gain=tuple((sign * (base - ground)).tolist()),
        items=(gains.times(sign), baseline_gain.times(sign)) if gains and baseline_gain else None,
    )
