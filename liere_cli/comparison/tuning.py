"""Fair tuning: the same search for every encoding, on validation data, at seeds of its own.

A plan of runs to tune comes first; once they are over, the comparison's own plan gets the values
that won. Both are functions of the recipe and of finished runs, so that an interrupted search goes
on where it stopped and a repeated one trains nothing.
"""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from liere_cli.config.budget import Budget
from liere_cli.config.compare import TuningSettings
from liere_cli.config.recipe import Recipe, TrainingSettings, merged
from liere_cli.encodings.registry import encoding_class
from liere_cli.errors import LiereError, UsageError, unknown
from liere_cli.model import encoding_for
from liere_cli.planning.from_recipe import planned_run
from liere_cli.planning.plan import DatasetPlan, PlannedEncoding, PlannedRun, RecipePlan
from liere_cli.planning.progress import Outcome, distinct_errors, scores_of
from liere_cli.planning.tuning_result import Trial, TuningResult, values_text
from liere_cli.runs.build import RunSpec, assemble, model_shape
from liere_cli.runs.context import Context
from liere_cli.runs.find import Listing

#: of the candidates of one encoding
MAX_CANDIDATES = 1000
#: training keys that don't change how a model learns, or that all runs of a table must share
_FIXED = {
    "budget", "accumulate", "tested", "validations", "validation_limit", "test_limit", "log_every",
    "checkpoint_seconds", "compile", "precision",
}  # fmt: skip
_OWN = "encoding."


@dataclass(frozen=True)
class Candidate:
    """Values to try, and the runs that try them; no runs where there is nothing to choose."""

    values: Mapping[str, Any]
    runs: tuple[PlannedRun, ...]


@dataclass(frozen=True)
class Search:
    """The runs that tune the encodings of a comparison.

    Args:
        plan: its runs, one row an encoding.
        candidates: by index of the data set and label of the encoding.
    """

    plan: RecipePlan
    candidates: Mapping[tuple[int, str], tuple[Candidate, ...]]
    settings: tuple[TuningSettings, ...]


def plan_search(plan: RecipePlan, context: Context) -> Search | None:
    """The runs that tune each encoding, in an experiment of their own; None unless asked for.

    Raises UsageError for keys or values that can't be tuned, nothing to try, or a seed of the
    comparison.
    """
    recipe, compare = plan.recipe, plan.compare
    if compare.tuning is None:
        return None
    options = {
        f"{_OWN}{option}"
        for dataset in plan.datasets
        for row in dataset.encodings
        if row.undefined is None
        for option in encoding_class(_request(row).encoding["name"]).Options.model_fields
    }
    allowed = sorted((TrainingSettings.model_fields.keys() - _FIXED) | options)
    datasets: list[DatasetPlan[PlannedRun]] = []
    searched: dict[tuple[int, str], tuple[Candidate, ...]] = {}
    searches, listing = [], Listing(context.outputs)
    for index, (dataset, entry) in enumerate(zip(plan.datasets, compare.data, strict=True)):
        where = f"compare.data, '{dataset.data}', tuning" if entry.tuning else "compare.tuning"
        settings = _settings(compare.tuning, entry.tuning, where)
        budget = settings.budget or dataset.budget
        _check(settings, plan, budget, allowed, where)
        searches.append(settings)
        rows = []
        for row in dataset.encodings:
            if row.undefined is None:
                request = _tuning_request(_request(row), settings, recipe.experiment)
                candidates = _candidates(request, settings, where, listing, context)
                searched[index, row.label] = candidates
                runs = tuple(run for candidate in candidates for run in candidate.runs)
                rows.append(PlannedEncoding(row.label, runs))
        datasets.append(replace(dataset, encodings=tuple(rows), budget=budget))
    seeds = dict.fromkeys(seed for settings in searches for seed in settings.seeds)
    experiment = _experiment(plan.experiment)
    search = RecipePlan(experiment, tuple(datasets), tuple(seeds), compare, recipe=recipe)
    return Search(search, searched, tuple(searches))


def tuned_plan(
    plan: RecipePlan, search: Search, outcomes: Mapping[str, Outcome], context: Context
) -> RecipePlan:
    """The comparison with the values that won; encodings without any have no runs."""
    datasets, listing = [], Listing(context.outputs)
    for index, dataset in enumerate(plan.datasets):
        rows, settings = [], search.settings[index]
        budget = (settings.budget or dataset.budget).text
        for row in dataset.encodings:
            candidates = search.candidates.get((index, row.label))
            if candidates is not None:
                trials = tuple(_trial(candidate, outcomes) for candidate in candidates)
                seeds = tuple(settings.seeds)
                tuned = TuningResult(trials, dataset.higher_is_better, budget, seeds)
                row = replace(row, runs=_runs(row, tuned, listing, context), tuned=tuned)
            rows.append(row)
        datasets.append(replace(dataset, encodings=tuple(rows)))
    return replace(plan, datasets=tuple(datasets))


def _trial(candidate: Candidate, outcomes: Mapping[str, Outcome]) -> Trial:
    results = [outcomes[run.run_id] for run in candidate.runs]
    states = Counter(outcome.state for outcome in results)
    scores = scores_of(candidate.runs, outcomes, "val")
    ended, errors = (states["diverged"], states["failed"]), distinct_errors(results)
    return Trial(candidate.values, scores, len(results), *ended, errors)


def _runs(
    row: PlannedEncoding[PlannedRun], tuned: TuningResult, listing: Listing, context: Context
) -> tuple[PlannedRun, ...]:
    """The comparison's runs of one encoding with the values that won."""
    if tuned.chosen is None:
        return ()
    request = _with(_request(row), tuned.chosen.values, "compare.tuning")
    run_spec = assemble(request, root=context.data_root, device=context.torch_device)
    if request.encoding == _request(row).encoding:
        run_spec = replace(run_spec, encoding=row.label)
    return tuple(
        replace(planned_run(run_spec, request, run.request.seed, listing), seed=run.seed)
        for run in row.runs
    )


def _request(row: PlannedEncoding[PlannedRun]) -> Recipe:
    return row.runs[0].request


def _experiment(name: str) -> str:
    return f"{name[:72]}-tuning"


def _tuning_request(request: Recipe, settings: TuningSettings, experiment: str) -> Recipe:
    """The recipe of a run that tunes, before its values."""
    changes = {"tested": False, "budget": settings.budget or request.training.budget}
    training = request.training.model_copy(update=changes)
    return request.model_copy(update={"experiment": _experiment(experiment), "training": training})


def _candidates(
    request: Recipe, settings: TuningSettings, where: str, listing: Listing, context: Context
) -> tuple[Candidate, ...]:
    """The candidates of one encoding: combinations that differ in a key that applies to it."""
    base = assemble(request, root=context.data_root, device=context.torch_device)
    shape = model_shape(base.recipe, base.dataset)
    learns = any(True for _ in encoding_for(shape, base.recipe.encoding).parameters())
    tried: dict[str, tuple[dict[str, Any], Recipe, RunSpec]] = {}
    grid = itertools.product(*settings.grid.values())
    combinations = [dict(zip(settings.grid, values, strict=True)) for values in grid]
    for values in settings.candidates or combinations:
        useful = {key: value for key, value in values.items() if _useful(key, request, learns)}
        recipe = _with(request, useful, where)
        try:
            run_spec = assemble(recipe, root=context.data_root, device=context.torch_device)
        except LiereError as error:
            what = f"{base.data}, {base.encoding} with {values_text(useful)}"
            raise type(error)(f"{where}: {what}: {error}") from None
        tried.setdefault(run_spec.run_id, (_resolved(useful, run_spec.recipe), recipe, run_spec))
    candidates = []
    for values, recipe, run_spec in tried.values():
        runs = [
            replace(planned_run(run_spec, recipe, seed, listing), detail=values_text(values))
            for seed in settings.seeds
        ]
        candidates.append(Candidate(values, tuple(runs) if len(tried) > 1 else ()))
    return tuple(candidates)


def _useful(key: str, request: Recipe, learns: bool) -> bool:
    """Whether a key applies to an encoding; an option that its spec states is not tuned."""
    if key == "encoding_rate":
        return learns
    if not key.startswith(_OWN):
        return True
    option = key.removeprefix(_OWN)
    options = encoding_class(request.encoding["name"]).Options.model_fields
    return option in options and option not in request.encoding


def _with(request: Recipe, values: Mapping[str, Any], where: str) -> Recipe:
    """The recipe with those values in place of its own."""
    settings, encoding = request.training.model_dump(mode="json"), dict(request.encoding)
    for key, value in values.items():
        (encoding if key.startswith(_OWN) else settings)[key.removeprefix(_OWN)] = value
    training = TrainingSettings.validated(settings, where)
    return request.model_copy(update={"training": training, "encoding": encoding})


def _resolved(values: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """The values as the resolved recipe has them: ``1e-3`` of YAML is text until then."""
    training = recipe.training.model_dump(mode="json")
    return {
        key: recipe.encoding[key.removeprefix(_OWN)] if key.startswith(_OWN) else training[key]
        for key in values
    }


def _settings(whole: TuningSettings, changes: Mapping[str, Any], where: str) -> TuningSettings:
    """The search of one data set: its own list replaces a grid, and its own grid a list."""
    settings = whole.model_dump(mode="json")
    for key, other in (("grid", "candidates"), ("candidates", "grid")):
        if key in changes:
            del settings[other]
    return TuningSettings.validated(merged(settings, changes), where)


def _check(
    settings: TuningSettings, plan: RecipePlan, budget: Budget, allowed: Sequence[str], where: str
) -> None:
    if bool(settings.grid) == bool(settings.candidates):
        raise UsageError(
            f"{where}: needs a 'grid' or a list of 'candidates', not both; as "
            "grid: {learning_rate: [1e-3, 2e-3, 4e-3]}"
        )
    count = math.prod(map(len, settings.grid.values()))
    if max(count, len(settings.candidates)) > MAX_CANDIDATES:
        raise UsageError(f"{where}: {count:,} combinations, but at most {MAX_CANDIDATES} are tried")
    used = sorted({run.request.seed for run in plan.runs})
    both = [seed for seed in settings.seeds if seed in used]
    if both:
        added = " or may add" if plan.interim is not None else ""
        raise UsageError(
            f"{where}.seeds: the comparison itself uses{added} seed {both[0]} (its seeds: "
            f"{_span(used)}); tune with others, such as {max(used) + 1000}"
        )
    for key in dict.fromkeys(itertools.chain(settings.grid, *settings.candidates)):
        if key not in allowed:
            raise unknown(f"key in {where}", key, allowed)
        if key == "batch" and budget.unit == "steps":
            raise UsageError(
                f"{where}: batch can't be tuned within a budget of {budget.text}, which larger "
                "batches would outgrow; give the budget in examples, tokens or time"
            )


def _span(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))
