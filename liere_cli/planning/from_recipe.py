"""From a recipe to the cells of a comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import torch

from liere_cli.config.compare import CompareSettings, DatasetSettings
from liere_cli.config.recipe import Recipe
from liere_cli.data import Dataset, build_dataset
from liere_cli.encodings.extension import methods_for
from liere_cli.encodings.registry import encoding_class, label, resolve_spec
from liere_cli.errors import LiereError, UsageError, unknown
from liere_cli.evaluation.conditions import TransferProtocol
from liere_cli.model import encoding_for
from liere_cli.planning.from_runs import family_of
from liere_cli.planning.labels import MODALITIES, dataset_titles, is_called, modality, unambiguous
from liere_cli.planning.overrides import dataset_recipe
from liere_cli.planning.plan import DatasetPlan, Plan, PlannedEncoding, PlannedRun
from liere_cli.planning.run_record import shared_settings
from liere_cli.planning.transfer_grids import grids_of
from liere_cli.runs.build import RunSpec, assemble, model_shape, run_identity
from liere_cli.runs.find import Listing
from liere_cli.statistics.sequential import InterimAnalyses

DEFAULT_EXPERIMENT = "compare"


def plan_comparison(
    recipe: Recipe, *, outputs: Path, root: Path | None = None, device: torch.device
) -> Plan:
    """Every cell that the recipe's ``compare`` spans; nothing is trained or loaded.

    An encoding that is not defined on a data set's axes becomes a row that says so, unless the
    comparison has one data set only.

    Args:
        outputs: where runs lie; equal runs of any experiment are found again.
        root: folder of a local mirror of the data sets.
        device: decides what ``training.precision: auto`` means.

    Raises:
        UsageError: unknown names, wrong options or sizes, a margin in the wrong unit, no baseline,
            one data set twice with the same settings, or seeds that leave no room for looks.
        LiereError: data that is not at hand or broken.
    """
    compare = recipe.compare or CompareSettings()
    all_asked = _with_fractions(
        compare.data or [DatasetSettings(data=recipe.data)], recipe, compare
    )
    recipe = recipe.model_copy(
        update={
            "experiment": recipe.experiment or DEFAULT_EXPERIMENT,
            "compare": compare.model_copy(update={"data": all_asked, "fractions": []}),
        }
    )
    interim, seeds = _interim(compare)
    listing = Listing(outputs)
    plans, settings = [], []
    for index, asked in enumerate(all_asked):
        request = dataset_recipe(recipe, index)
        plan, resolved = _dataset_plan(
            request, asked, compare, seeds, listing, root, device, len(all_asked) == 1
        )
        plans.append(plan)
        settings.append(resolved)
    _refuse_equal_datasets(plans, settings)
    titles = dataset_titles([plan.data for plan in plans], settings)
    if compare.interaction is not None:
        _check_interaction(compare.interaction.against, plans)
    plans = [
        replace(plan, title=title, **family_of(one))
        for plan, title, one in zip(plans, titles, settings, strict=True)
    ]
    return Plan(recipe.experiment, tuple(plans), seeds, recipe, interim)


def _with_fractions(
    plans: Sequence[DatasetSettings], recipe: Recipe, compare: CompareSettings
) -> list[DatasetSettings]:
    """Every data set whole, then at each fraction of its training split."""
    parts = sorted({one for one in compare.fractions if one < 1}, reverse=True)
    own = [plan.training.get("fraction") for plan in plans] + [recipe.training.fraction]
    if compare.fractions and any(one not in (None, 1.0) for one in own):
        raise UsageError(
            "compare.fractions and training.fraction both say how much data is used; give one"
        )
    return [
        plan
        if part == 1
        # other grids are asked of the runs on all data
        else plan.model_copy(
            update={"training": plan.training | {"fraction": part}, "transfer": None}
        )
        for plan in plans
        for part in (1.0, *parts)
    ]


def _check_interaction(against: str, plans: Sequence[DatasetPlan]) -> None:
    """A modality may be absent where a flag leaves out its data sets; other names must be there."""
    names = dict.fromkeys(
        (*MODALITIES, *(name for plan in plans for name in (plan.modality, plan.data)))
    )
    if against not in names and not any(
        is_called(plan.modality, plan.data, against) for plan in plans
    ):
        raise unknown("data in compare.interaction.against", against, names)


def _interim(compare: CompareSettings) -> tuple[InterimAnalyses | None, tuple[int, ...]]:
    """When a comparison looks, if it does repeatedly, and every seed that it may come to."""
    seeds = tuple(compare.seeds)
    if compare.until_settled is None:
        return None, seeds
    first, last = len(seeds), compare.until_settled.max_seeds
    if first < 2:
        raise UsageError("compare.until_settled begins with the recipe's seeds: give at least 2")
    if last < first:
        raise UsageError(
            f"compare.until_settled.max_seeds is {last}, but it begins with {first} seeds; "
            "raise it or give fewer seeds"
        )
    after = max(seeds) + 1
    return InterimAnalyses(first, last), (*seeds, *range(after, after + last - first))


def _dataset_plan(
    request: Recipe,
    asked: DatasetSettings,
    compare: CompareSettings,
    seeds: Sequence[int],
    listing: Listing,
    root: Path | None,
    device: torch.device,
    alone: bool,
) -> tuple[DatasetPlan, dict[str, Any]]:
    """One arm and the settings that its runs share."""
    dataset = build_dataset(request.data, root)
    if not request.training.tested:
        raise UsageError(
            f"{dataset.name}: training.tested is false, but encodings are compared by their scores "
            "on the test split; leave it out"
        )
    axes = len(dataset.grid)
    rows: dict[str, PlannedEncoding] = {}
    shared: dict[str, Any] = {}
    data_label, limit = dataset.name, request.training.test_limit
    transfer: TransferProtocol | None = None
    specs = _distinct(asked.encodings or compare.encodings)
    names = unambiguous([(spec["name"], label(spec)) for spec in specs])
    for spec, name in zip(specs, names, strict=True):
        if not encoding_class(spec["name"]).serves(axes) and not alone:
            rows[name] = PlannedEncoding(name, undefined=f"not defined on {axes} axes")
            continue
        wanted = request.model_copy(update={"encoding": spec, "seed": seeds[0]})
        try:
            run_spec = assemble(wanted, root=root, device=device)
        except LiereError as error:
            raise type(error)(f"{dataset.name}, {name}: {error}") from None
        run_spec = replace(run_spec, encoding=name)
        runs = [planned_run(run_spec, wanted, seed, listing) for seed in seeds]
        shape = model_shape(run_spec.recipe, dataset)
        extensions = methods_for(encoding_for(shape, run_spec.recipe.encoding))
        rows[name] = PlannedEncoding(name, tuple(runs), extensions=extensions)
        transfer = transfer or grids_of(compare.transfer, asked.transfer, dataset, shape, limit)
        data_label = run_spec.data
        shared = shared_settings(run_spec.recipe, dataset.fingerprint)
    chosen = _baseline(
        data_label, axes, list(rows.values()), _labels(compare.baseline, specs, names)
    )
    if compare.aa:
        twin = _twin(rows[chosen], seeds, listing, root, device)
        rows[twin.label] = twin
    plan = DatasetPlan(
        title=data_label,
        modality=modality(dataset.name, axes),
        data=data_label,
        fingerprint=dataset.fingerprint,
        metric=dataset.metric,
        budget=request.training.budget,
        encodings=tuple(rows.values()),
        baseline=chosen,
        margin=_margin(data_label, dataset, asked, compare),
        test_limit=limit,
        transfer=transfer,
    )
    return plan, shared


def _twin(
    row: PlannedEncoding,
    seeds: Sequence[int],
    listing: Listing,
    root: Path | None,
    device: torch.device,
) -> PlannedEncoding:
    """The same encoding at seeds that the comparison doesn't use, each held against one it uses."""
    label = f"{row.label} (A/A)"
    runs = []
    for run, other in zip(row.runs, count(max(seeds) + 1), strict=False):
        assert run.request is not None
        request = run.request.model_copy(update={"seed": other})
        run_spec = replace(assemble(request, root=root, device=device), encoding=row.label)
        runs.append(replace(planned_run(run_spec, request, other, listing), seed=run.seed))
    own = tuple(run.request.seed for run in runs if run.request)
    return PlannedEncoding(label, tuple(runs), own_seeds=own, extensions=row.extensions)


def _distinct(specs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Specs that differ once every option has its value."""
    resolved: list[dict[str, Any]] = []
    kept = []
    for spec in specs:
        if resolve_spec(spec) not in resolved:
            resolved.append(resolve_spec(spec))
            kept.append(dict(spec))
    return kept


def repeated(specs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Labels of specs that say once more what another says."""
    resolved = [resolve_spec(spec) for spec in specs]
    again = [label(spec) for spec in specs if resolved.count(resolve_spec(spec)) > 1]
    return list(dict.fromkeys(again))


def _labels(
    wanted: Sequence[Mapping[str, Any]], specs: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> list[str]:
    """What the table calls each wanted encoding, whether or not it takes part."""
    resolved = [resolve_spec(spec) for spec in specs]
    return [
        names[resolved.index(resolve_spec(spec))] if resolve_spec(spec) in resolved else label(spec)
        for spec in wanted
    ]


def planned_run(run_spec: RunSpec, request: Recipe, seed: int, listing: Listing) -> PlannedRun:
    """The cell at another seed: all but the seed and the identity stays."""
    resolved = run_spec.recipe.model_copy(update={"seed": seed})
    run_id = run_identity(resolved, run_spec.dataset.fingerprint)
    run_spec = replace(run_spec, recipe=resolved, run_id=run_id)
    return PlannedRun(
        data=run_spec.data,
        encoding=run_spec.encoding,
        seed=seed,
        run=run_spec.run(listing),
        run_id=run_id,
        request=request.model_copy(update={"seed": seed}),
    )


def _baseline(data: str, axes: int, rows: Sequence[PlannedEncoding], labels: Sequence[str]) -> str:
    """The first wanted encoding that takes part and is defined on the data."""
    allowed = [row.label for row in rows if row.undefined is None]
    for candidate in labels:
        if candidate in allowed:
            return candidate
    raise UsageError(
        f"{data}: no baseline: {' or '.join(labels)} must take part and be defined on "
        f"{axes} {'axis' if axes == 1 else 'axes'}; choose with --baseline or compare.baseline "
        f"(allowed: {', '.join(allowed) or 'none'})"
    )


def _margin(
    data: str, dataset: Dataset, asked: DatasetSettings, compare: CompareSettings
) -> float | None:
    margin = asked.margin
    if margin is None:
        margin = compare.margins.get(dataset.metric)
    if margin is not None and dataset.metric == "top1" and margin >= 1:
        raise UsageError(
            f"{data}: a margin of {margin:g} is no difference in top1, which is a share of 1; "
            f"{margin:g} points are written {margin / 100:g}"
        )
    return margin


def _refuse_equal_datasets(
    plans: Sequence[DatasetPlan], settings: Sequence[dict[str, Any]]
) -> None:
    for index, plan in enumerate(plans):
        if settings[index] in settings[:index]:
            raise UsageError(
                f"compare.data: '{plan.data}' stands twice with the same settings; "
                "list it once, with all its encodings"
            )
