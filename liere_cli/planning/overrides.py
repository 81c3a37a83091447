"""From a recipe and flags to one recipe that spans a comparison."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from liere_cli.config.compare import CompareSettings
from liere_cli.config.files import load_recipe, refuse_foreign_code
from liere_cli.config.recipe import Recipe, merged
from liere_cli.config.spec import format_spec, parse_spec
from liere_cli.errors import UsageError

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
    _refuse_tuned(recipe, assignments)
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


def _refuse_tuned(recipe: Recipe, assignments: Sequence[str]) -> None:
    """Refuses a flag for a value that tuning chooses."""
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
