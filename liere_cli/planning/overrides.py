"""From a recipe and flags to one recipe that spans a comparison."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import starmap
from typing import Any

from liere_cli.config.compare import CompareSettings, DatasetSettings
from liere_cli.config.files import load_recipe, refuse_foreign_code
from liere_cli.config.recipe import ModelSettings, Recipe, TrainingSettings, merged
from liere_cli.config.section import Section
from liere_cli.config.spec import format_spec, parse_spec
from liere_cli.errors import UsageError, unknown
from liere_cli.planning.labels import setting_text

#: sections that a data set may have of its own, where a flag has to replace them too
_DATASET_SECTIONS = ("model", "training")


def split_specs(text: str) -> list[str]:
    """Specs written in one flag: ``liere:block=8,share=layers,rope`` are two; or UsageError."""
    specs: list[str] = []
    for part in (piece.strip() for piece in text.split(",")):
        if re.match(r"\w+\s*=", part):
            if not specs:
                raise UsageError(f"'{text}': '{part}' is an option, but of what? Write NAME:{part}")
            specs[-1] += f"{',' if ':' in specs[-1] else ':'}{part}"
        elif part:
            specs.append(part)
    if not specs:
        raise UsageError(f"'{text}' names nothing: expected NAME,NAME or NAME:key=value,NAME")
    return specs


def parse_seeds(text: str) -> list[int]:
    """``3`` as seeds 0, 1 and 2; ``4,7`` as those; raises UsageError for other texts."""
    parts = [part.strip() for part in text.split(",")]
    if "," in text and not parts[-1]:
        parts.pop()
    if not all(re.fullmatch(r"[0-9]{1,30}", part) for part in parts):
        raise UsageError(f"--seeds {text}: expected how many (3) or which (0,1,2)")
    if "," in text:
        return [int(part) for part in parts]
    count = int(parts[0])
    if not 1 <= count <= 10_000:
        raise UsageError(f"--seeds {text}: between 1 and 10000 seeds can be compared")
    return list(range(count))


def comparison_recipe(
    source: str | None,
    *,
    encodings: str | None = None,
    data: str | None = None,
    seeds: str | None = None,
    baseline: str | None = None,
    budget: str | None = None,
    until_settled: bool = False,
    max_seeds: int | None = None,
    time: str | None = None,
    against_itself: bool = False,
    assignments: Iterable[str] = (),
) -> Recipe:
    """The recipe of that path or name (None: the defaults) with each flag laid over it.

    A flag outweighs the file everywhere: ``encodings``, ``budget`` and the model and training
    keys of ``assignments`` also replace what single data sets of the recipe have of their own.
    ``data`` picks the recipe's data set of that name, with its settings, where there is one.
    Raises UsageError for flags and settings that are not valid, LiereError for an unreadable file.
    """
    assignments = list(assignments)
    if budget is not None:
        assignments.append(f"training.budget={budget}")
    recipe = load_recipe(source, assignments=assignments)
    _refuse_varied(recipe, assignments)
    compare = (recipe.compare or CompareSettings()).model_dump(mode="json")
    datasets: list[dict[str, Any]] = compare["data"] or [{"data": dict(recipe.data)}]
    if data is not None:
        datasets = [_dataset(parse_spec(spec), datasets) for spec in split_specs(data)]
    if encodings is not None:
        compare["encodings"] = _specs(encodings)
    if baseline is not None:
        compare["baseline"] = _specs(baseline)
    if seeds is not None:
        compare["seeds"] = parse_seeds(seeds)
    compare["aa"] = compare["aa"] or against_itself
    compare["until_settled"] = _settling(compare["until_settled"], until_settled, max_seeds, time)
    compare["data"] = [
        _outweighed(dataset, assignments, own_encodings=encodings is None) for dataset in datasets
    ]
    settings = recipe.model_dump(mode="json") | {"compare": compare}
    recipe = Recipe.validated(settings, source or "flags")
    refuse_foreign_code(recipe, source or "flags", [encodings, data, baseline, *assignments])
    return recipe


def single_run_recipe(recipe: Recipe, source: str, assignments: Iterable[str]) -> Recipe:
    """The recipe of a run on one of the data sets that a recipe compares, with that data set's own
    settings where no flag replaces them.

    Args:
        assignments: flags other than that for ``data``, as ``key=value``.

    Raises UsageError: several data sets, of which none is chosen.
    """
    datasets = [] if recipe.compare is None else recipe.compare.model_dump(mode="json")["data"]
    if "data" in recipe.model_fields_set:
        entry = _dataset(dict(recipe.data), datasets)
    elif len(datasets) > 1:
        raise UsageError(
            f"recipe '{source}' compares {len(datasets)} data sets; choose one with --data, or run "
            f"liere compare {source}"
        )
    else:
        entry = datasets[0] if datasets else {"data": dict(recipe.data)}
    own = _outweighed(entry, list(assignments), own_encodings=True)
    changes = {key: own[key] for key in ("data", *_DATASET_SECTIONS)}
    return Recipe.validated(merged(recipe.model_dump(mode="json"), changes), source)


def _refuse_varied(recipe: Recipe, assignments: Sequence[str]) -> None:
    """Refuses a flag for a value that tuning chooses, or that the comparison has several of."""
    varied = [key for values in recipe.compare.over for key in values] if recipe.compare else []
    for assignment in assignments:
        if (key := assignment.partition("=")[0].strip()) in varied:
            raise UsageError(
                f"--set {assignment}: compare.over compares several values of {key}; "
                "--set compare.over=[] leaves that out"
            )
    tuning = recipe.compare.tuning if recipe.compare else None
    for assignment in assignments if tuning else ():
        key = assignment.partition("=")[0].strip().removeprefix("training.")
        if tuning and any(key in one for one in (tuning.grid, *tuning.candidates)):
            raise UsageError(
                f"--set {assignment}: compare.tuning chooses it; --set compare.tuning=null leaves "
                "tuning out"
            )


def _settling(
    settings: dict[str, Any] | None, requested: bool, max_seeds: int | None, time: str | None
) -> dict[str, Any] | None:
    limits = {"max_seeds": max_seeds, "time": time}
    given = {key: value for key, value in limits.items() if value is not None}
    if settings is not None or requested:
        return (settings or {}) | given
    for key, value in given.items():
        flag = key.replace("_", "-")
        raise UsageError(
            f"--{flag} {value}: limits a comparison that adds seeds: add --until-settled"
        )
    return None


def _specs(text: str) -> list[dict[str, Any]]:
    return [parse_spec(spec) for spec in split_specs(text)]


def _dataset(spec: dict[str, Any], datasets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entry with that data set, or of that bare name; else a new one."""
    for dataset in datasets:
        if dataset["data"] == spec or spec == {"name": dataset["data"]["name"]}:
            return dict(dataset)
    return {"data": spec}


def _outweighed(
    dataset: dict[str, Any], assignments: Sequence[str], *, own_encodings: bool
) -> dict[str, Any]:
    """The entry without what a flag replaces."""
    dataset = dict(dataset)
    replaced = {assignment.partition("=")[0].strip() for assignment in assignments}
    for section in _DATASET_SECTIONS:
        own = dataset.get(section, {}).items()
        dataset[section] = {key: value for key, value in own if f"{section}.{key}" not in replaced}
    if not own_encodings:
        dataset["encodings"] = None
    return dataset


def dataset_recipe(recipe: Recipe, index: int) -> Recipe:
    """The recipe with the settings of its ``index``-th data set merged in and validated."""
    assert recipe.compare is not None
    dataset = recipe.compare.data[index]
    settings = recipe.model_dump(mode="json", exclude={"compare"})
    settings = merged(settings, {"model": dataset.model, "training": dataset.training})
    settings["data"] = dataset.data
    return Recipe.validated(settings, f"compare.data, '{format_spec(dataset.data)}'")


def with_fractions(
    entries: Sequence[DatasetSettings], recipe: Recipe, compare: CompareSettings
) -> list[DatasetSettings]:
    """Every data set whole, then at each fraction of its training split."""
    parts = sorted({share for share in compare.fractions if share < 1}, reverse=True)
    given = [entry.training.get("fraction") for entry in entries] + [recipe.training.fraction]
    if compare.fractions and any(share not in (None, 1.0) for share in given):
        raise UsageError(
            "compare.fractions and training.fraction both say how much data is used; give one"
        )
    return [
        entry
        if part == 1
        # other grids are asked of the runs on all data
        else entry.model_copy(
            update={"training": entry.training | {"fraction": part}, "transfer": None}
        )
        for entry in entries
        for part in (1.0, *parts)
    ]


def with_settings(
    entries: Sequence[DatasetSettings], compare: CompareSettings
) -> list[tuple[DatasetSettings, str]]:
    """Every data set with each of ``compare.over``, and what that is called.

    Raises UsageError for a key that no model or training has, or settings listed twice.
    """
    sections: dict[str, type[Section]] = {"model": ModelSettings, "training": TrainingSettings}
    allowed = [f"{name}.{key}" for name, part in sections.items() for key in part.model_fields]
    for key in (key for values in compare.over for key in values):
        if ".".join(key.split(".")[:2]) not in allowed:
            raise unknown("key in compare.over", key, allowed)
        section, name = key.split(".")[:2]
        if any(name in getattr(entry, section) for entry in entries):
            raise UsageError(
                f"compare.over compares several values of {key}, which a data set in compare.data "
                "has one of; give one of both"
            )
    names = [_name(values) for values in compare.over] or [""]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"compare.over: '{name}' is listed twice; list it once")
    return [
        (_with(entry, values), name)
        for entry in entries
        for values, name in zip(compare.over or [{}], names, strict=True)
    ]


def _name(values: Mapping[str, Any]) -> str:
    return ", ".join(starmap(setting_text, values.items())) or "no change"


def _with(entry: DatasetSettings, values: Mapping[str, Any]) -> DatasetSettings:
    """The data set's settings with those of dotted keys."""
    for key, value in values.items():
        section, *path = key.split(".")
        for part in reversed(path):
            value = {part: value}
        entry = entry.model_copy(update={section: merged(getattr(entry, section), value)})
    return entry
