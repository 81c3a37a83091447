"""From a recipe to the runs of a comparison."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from liere_cli.config.compare import CompareSettings, DatasetSettings, TransferSettings
from liere_cli.config.recipe import ParentSettings, Recipe, merged
from liere_cli.data import Dataset, build_dataset
from liere_cli.data.options import parse_grid
from liere_cli.encodings.extension import methods_for
from liere_cli.encodings.registry import encoding_class, label, resolve_spec
from liere_cli.errors import LiereError, UsageError, unknown
from liere_cli.evaluation.conditions import TransferProtocol, block_of
from liere_cli.evaluation.transfer import cannot_shuffle
from liere_cli.model import ModelShape, encoding_for
from liere_cli.planning.from_runs import family_of
from liere_cli.planning.labels import MODALITIES, dataset_titles, is_called, modality, unambiguous
from liere_cli.planning.overrides import dataset_recipe, with_fractions, with_settings
from liere_cli.planning.plan import DatasetPlan, PlannedEncoding, PlannedRun, RecipePlan
from liere_cli.planning.run_paths import Parents
from liere_cli.planning.run_record import shared_settings
from liere_cli.runs.build import RunSpec, assemble, model_shape, run_identity
from liere_cli.runs.context import Context
from liere_cli.runs.find import Listing
from liere_cli.statistics.sequential import InterimAnalyses
from liere_cli.statistics.verdicts import MIN_SEEDS

DEFAULT_EXPERIMENT = "compare"


def plan_comparison(recipe: Recipe, context: Context) -> RecipePlan:
    """Every run that the recipe's ``compare`` spans; nothing is trained or loaded.

    An encoding that is not defined on a data set's axes is replaced by its counterpart (``rope`` by
    ``axial``), with a note; without one it becomes a row that says so, unless the comparison has
    one data set only.

    Raises UsageError for unknown names, wrong options or sizes, a margin in the wrong unit, no
    baseline, one data set twice with the same settings, or too few seeds for interim analyses.
    """
    compare = recipe.compare or CompareSettings()
    whole = compare.data or [DatasetSettings(data=recipe.data)]
    listed = with_fractions(whole, recipe, compare)
    compare = compare.model_copy(update={"data": listed, "fractions": []})
    experiment = recipe.experiment or DEFAULT_EXPERIMENT
    written = recipe.model_copy(update={"experiment": experiment, "compare": compare})
    variants = with_settings(listed, compare)
    entries = [entry for entry, _ in variants]
    compare = compare.model_copy(update={"data": entries})
    recipe = written.model_copy(update={"compare": compare})
    interim, seeds = _interim(compare)
    planner = _Planner(
        compare,
        seeds,
        context,
        Listing(context.outputs),
        len(listed) == 1,
        _parents(recipe, context),
    )
    planned = [
        planner.dataset_plan(dataset_recipe(recipe, index), entry)
        for index, entry in enumerate(entries)
    ]
    plans, settings = [plan for plan, _ in planned], [shared for _, shared in planned]
    _check_distinct(plans, settings, [setting for _, setting in variants])
    titles = _titles(plans, settings, [setting for _, setting in variants])
    if compare.interaction is not None and not compare.over:
        _check_interaction(compare.interaction.against, plans)
    plans = [
        replace(plan, title=title, setting=setting, **family_of(shared))
        for plan, title, shared, (_, setting) in zip(plans, titles, settings, variants, strict=True)
    ]
    return RecipePlan(experiment, tuple(plans), seeds, compare, interim, recipe=written)


def _check_distinct(
    plans: Sequence[DatasetPlan], shared: Sequence[Mapping[str, Any]], settings: Sequence[str]
) -> None:
    """Raises UsageError where two tables would be of the same runs."""
    # where layers, dim and heads are given, the size changes nothing
    effective = [_without_size(values) for values in shared]
    for index, plan in enumerate(plans):
        first = (same := effective if settings[index] else shared).index(same[index])
        if first == index:
            continue
        if settings[first] == settings[index]:
            raise UsageError(
                f"compare.data: '{plan.data}' is listed twice with the same settings; "
                "list it once, with all its encodings"
            )
        raise UsageError(
            f"compare.over: '{settings[first]}' and '{settings[index]}' are the same settings of "
            f"'{plan.data}'; leave one of them out"
        )


def _without_size(settings: Mapping[str, Any]) -> dict[str, Any]:
    return merged(settings, {"model": {"size": None}})


def _parents(recipe: Recipe, context: Context) -> Parents | None:
    """The runs of ``compare.from``; UsageError where other settings need runs that have none."""
    compare = recipe.compare or CompareSettings()
    if recipe.parent is not None:
        raise UsageError(
            f"parent {recipe.parent.run}: is of a single run; compare.from names the runs that a "
            "comparison goes on from"
        )
    if compare.parents is None:
        return None
    for name, value in (("tuning", compare.tuning), ("aa", compare.aa)):
        if value:
            raise UsageError(
                f"compare.{name} trains at other seeds, at which compare.from has no runs; leave "
                "one of them out"
            )
    return Parents.find(compare.parents, context.outputs)


def _titles(
    plans: Sequence[DatasetPlan], shared: Sequence[Mapping[str, Any]], settings: Sequence[str]
) -> list[str]:
    """``dataset_titles`` of the data sets with each of ``compare.over``, which comes last."""
    titles: dict[int, str] = {}
    for setting in dict.fromkeys(settings):
        same = [index for index, other in enumerate(settings) if other == setting]
        labels = [plans[index].data for index in same]
        titles |= zip(same, dataset_titles(labels, [shared[index] for index in same]), strict=True)
    return [
        f"{titles[index]} ({setting})" if setting else titles[index]
        for index, setting in enumerate(settings)
    ]


def _check_interaction(against: str, plans: Sequence[DatasetPlan]) -> None:
    """A modality may be absent where a flag leaves out its data sets; other names must be there."""
    names = [*MODALITIES, *(name for plan in plans for name in (plan.modality, plan.data))]
    called = any(is_called(plan.modality, plan.data, against) for plan in plans)
    if against not in names and not called:
        raise unknown("data in compare.interaction.against", against, dict.fromkeys(names))


def _interim(compare: CompareSettings) -> tuple[InterimAnalyses | None, tuple[int, ...]]:
    """The interim analyses, where seeds are added, and every seed that may be used."""
    seeds = tuple(compare.seeds)
    if compare.until_settled is None:
        return None, seeds
    first, last = max(len(seeds), MIN_SEEDS), compare.until_settled.max_seeds
    if last < first:
        raise UsageError(
            f"compare.until_settled.max_seeds is {last}, but the first analysis takes {first} "
            f"seeds; raise it{' or give fewer seeds' if len(seeds) > MIN_SEEDS else ''}"
        )
    after = max(seeds) + 1
    return InterimAnalyses(first, last), (*seeds, *range(after, after + last - len(seeds)))


@dataclass(frozen=True)
class _Planner:
    compare: CompareSettings
    seeds: Sequence[int]
    context: Context
    listing: Listing
    alone: bool  # the comparison has one data set only
    parents: Parents | None

    def dataset_plan(
        self, request: Recipe, entry: DatasetSettings
    ) -> tuple[DatasetPlan[PlannedRun], dict[str, Any]]:
        """One data set, and the settings that its runs share."""
        compare = self.compare
        dataset = build_dataset(request.data, self.context.data_root)
        if not request.training.tested:
            raise UsageError(
                f"{dataset.name}: training.tested is false, but encodings are compared by their "
                "scores on the test split; leave it out"
            )
        axes = len(dataset.grid)
        specs, notes = _replaced(_distinct(entry.encodings or compare.encodings), axes)
        names = unambiguous([(spec["name"], label(spec)) for spec in specs])
        rows, first = self._rows(request, dataset, dict(zip(names, specs, strict=True)))
        data_label = first.data if first else dataset.name
        baselines = _labels(compare.baseline, specs, names)
        counterparts = _labels(_replaced(compare.baseline, axes)[0], specs, names)
        baseline = _baseline(data_label, axes, rows, baselines, counterparts)
        if baseline not in baselines:
            notes.append(f"the baseline is {baseline}, the counterpart of {baselines[0]}")
        if compare.aa:
            (row,) = (row for row in rows if row.label == baseline)
            rows.append(self._against_itself(row))
        limit = request.training.test_limit
        transfer, shared = None, {}
        if first is not None:
            shape = model_shape(first.recipe, dataset)
            transfer = _transfer(compare.transfer, entry.transfer, dataset, shape, limit)
            shared = shared_settings(first.recipe, dataset.fingerprint)
        plan = DatasetPlan(
            title=data_label,
            modality=modality(dataset.name, axes),
            data=data_label,
            fingerprint=dataset.fingerprint,
            metric=dataset.metric,
            budget=request.training.budget,
            encodings=tuple(rows),
            baseline=baseline,
            margin=_margin(data_label, dataset, entry, compare),
            test_limit=limit,
            transfer=transfer,
            notes=(*notes, *dataset.notes),
        )
        return plan, shared

    def _rows(
        self, request: Recipe, dataset: Dataset, specs: Mapping[str, Mapping[str, Any]]
    ) -> tuple[list[PlannedEncoding[PlannedRun]], RunSpec | None]:
        """A row for each encoding by name, and the first run of the first that is defined here."""
        axes = len(dataset.grid)
        rows: list[PlannedEncoding[PlannedRun]] = []
        first: RunSpec | None = None
        for name, spec in specs.items():
            if not encoding_class(spec["name"]).serves(axes) and not self.alone:
                rows.append(PlannedEncoding(name, undefined=f"not defined on {axes} axes"))
                continue
            own = request.model_copy(update={"encoding": dict(spec), "seed": self.seeds[0]})
            try:
                run_spec = self._assemble(own)
            except LiereError as error:
                raise type(error)(f"{dataset.name}, {name}: {error}") from None
            run_spec = replace(run_spec, encoding=name)
            runs = [
                planned_run(run_spec, own, seed, self.listing, self._parent(run_spec, seed))
                for seed in self.seeds
            ]
            shape = model_shape(run_spec.recipe, dataset)
            extensions = methods_for(encoding_for(shape, run_spec.recipe.encoding))
            rows.append(PlannedEncoding(name, tuple(runs), extensions=extensions))
            first = first or run_spec
        return rows, first

    def _against_itself(self, row: PlannedEncoding[PlannedRun]) -> PlannedEncoding[PlannedRun]:
        """The encoding at seeds that the comparison doesn't use, each paired with one it uses."""
        runs = []
        for run, seed in zip(row.runs, count(max(self.seeds) + 1), strict=False):
            request = run.request.model_copy(update={"seed": seed})
            run_spec = replace(self._assemble(request), encoding=row.label)
            planned = planned_run(run_spec, request, seed, self.listing)
            runs.append(replace(planned, seed=run.seed))
        own_seeds = tuple(run.request.seed for run in runs)
        return PlannedEncoding(
            f"{row.label} (A/A)", tuple(runs), own_seeds=own_seeds, extensions=row.extensions
        )

    def _parent(self, run_spec: RunSpec, seed: int) -> ParentSettings | None:
        """The run that the run at a seed goes on from."""
        if self.parents is None:
            return None
        return self.parents.of(run_spec.recipe, run_spec.dataset.fingerprint, seed)

    def _assemble(self, request: Recipe) -> RunSpec:
        return assemble(request, root=self.context.data_root, device=self.context.torch_device)


def _replaced(
    specs: Sequence[Mapping[str, Any]], axes: int
) -> tuple[list[dict[str, Any]], list[str]]:
    """The encodings, each that is not defined on ``axes`` replaced by its counterpart; and notes.

    One stays where its counterpart lacks an option of it, or takes part anyway.
    """
    replaced, notes = [], []
    resolved = [resolve_spec(spec) for spec in specs]
    for spec in specs:
        cls = encoding_class(spec["name"])
        counterpart = {**spec, "name": cls.counterpart}
        if cls.serves(axes) or cls.counterpart is None or not _is_valid(counterpart, resolved):
            replaced.append(dict(spec))
            continue
        replaced.append(counterpart)
        notes.append(
            f"{label(spec)} is not defined on {axes} axes: its counterpart {label(counterpart)} "
            "takes its place"
        )
    return replaced, notes


def _is_valid(counterpart: Mapping[str, Any], taking_part: Sequence[Mapping[str, Any]]) -> bool:
    options = encoding_class(counterpart["name"]).Options.model_fields
    fits = counterpart.keys() - {"name"} <= options.keys()
    return fits and resolve_spec(counterpart) not in taking_part


def _distinct(specs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Specs that differ once every option has its value."""
    resolved = [resolve_spec(spec) for spec in specs]
    return [
        dict(spec) for index, spec in enumerate(specs) if resolved.index(resolved[index]) == index
    ]


def repeated(specs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Labels of specs that are listed more than once."""
    resolved = [resolve_spec(spec) for spec in specs]
    again = [label(spec) for spec in specs if resolved.count(resolve_spec(spec)) > 1]
    return list(dict.fromkeys(again))


def _labels(
    baselines: Sequence[Mapping[str, Any]], specs: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> list[str]:
    """What the table calls each encoding, whether or not it takes part."""
    resolved = [resolve_spec(spec) for spec in specs]
    return [
        names[resolved.index(resolve_spec(spec))] if resolve_spec(spec) in resolved else label(spec)
        for spec in baselines
    ]


def planned_run(
    run_spec: RunSpec,
    request: Recipe,
    seed: int,
    listing: Listing,
    parent: ParentSettings | None = None,
) -> PlannedRun:
    """The run at another seed, or from a ``parent``: all else but the identity stays."""
    changes = {"seed": seed, "parent": parent}
    resolved = run_spec.recipe.model_copy(update=changes)
    run_id = run_identity(resolved, run_spec.dataset)
    run_spec = replace(run_spec, recipe=resolved, run_id=run_id)
    request = request.model_copy(update=changes)
    run = run_spec.run(listing)
    return PlannedRun(run_spec.data, run_spec.encoding, seed, run, run_id, request)


def _baseline(
    data: str,
    axes: int,
    rows: Sequence[PlannedEncoding],
    labels: Sequence[str],
    counterparts: Sequence[str],
) -> str:
    """The first baseline that takes part and is defined on the data, else such a counterpart."""
    allowed = [row.label for row in rows if row.undefined is None]
    for candidate in (*labels, *counterparts):
        if candidate in allowed:
            return candidate
    raise UsageError(
        f"{data}: no baseline: {' or '.join(labels)} must take part and be defined on "
        f"{axes} {'axis' if axes == 1 else 'axes'}; choose with --baseline or compare.baseline "
        f"(allowed: {', '.join(allowed) or 'none'})"
    )


def _margin(
    data: str, dataset: Dataset, entry: DatasetSettings, compare: CompareSettings
) -> float | None:
    margin = entry.margin or compare.margins.get(dataset.metric)
    if margin is not None and dataset.metric == "top1" and margin >= 1:
        raise UsageError(
            f"{data}: a margin of {margin:g} is no difference in top1, which is a share of 1; "
            f"{margin:g} points are written {margin / 100:g}"
        )
    return margin


def _transfer(
    common: TransferSettings | None,
    own: Mapping[str, Any] | None,
    dataset: Dataset,
    shape: ModelShape,
    test_limit: int | None,
) -> TransferProtocol | None:
    """What ``compare.transfer``, with the data set's ``own`` laid over it, asks of it, if any."""
    if own is None or (common is None and not own):
        return None
    where = f"compare.data, '{dataset.name}', transfer" if own else "compare.transfer"
    base = common.model_dump(mode="json") if common else {}
    asked = TransferSettings.validated(merged(base, own), where)
    if not asked.grids and not asked.shuffle:
        return None
    axes = len(dataset.grid)
    try:
        grids = [parse_grid(grid, axes) for grid in asked.grids]
        for grid in grids:
            dataset.check_grid(grid, shape.patch)
            shape.tokens(grid)
        if asked.shuffle and dataset.task == "language-model":
            raise UsageError(cannot_shuffle(dataset.name))
    except UsageError as error:
        hint = "" if own else "; a data set of a comparison may have a 'transfer' of its own"
        raise UsageError(f"{where}, {dataset.name}: {error}{hint}") from None
    every = sorted({dataset.grid, *grids}, key=lambda grid: (math.prod(grid), grid))
    methods = tuple(dict.fromkeys(["none", *asked.extend]))
    limit = asked.limit or test_limit
    return TransferProtocol(
        dataset.grid, tuple(every), methods, asked.shuffle, limit, block_of(every, dataset.grid)
    )
