"""Recipe files: finding, reading, overriding and writing them."""

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from liere_cli.config.recipe import Recipe, merged
from liere_cli.config.spec import load_yaml, parse_scalar, parse_spec
from liere_cli.errors import UsageError, nearest, shortened, unreadable
from liere_cli.utils.paths import expand

MAX_RECIPE_BYTES = 1_000_000


def builtin_recipes() -> dict[str, Path]:
    """Name and file of each built-in recipe: installed, or beside the package in a checkout."""
    package = Path(__file__).parent.parent
    folders = (package / "_recipes", package.parent / "recipes")
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


def find_recipe(name: str) -> Path:
    """The file at that path, or else the built-in recipe of that name; UsageError without both."""
    path = expand(name)
    if path.is_file():
        return path
    if path.exists():
        raise UsageError(f"recipe '{name}' is a folder or a device, not a file")
    recipes = builtin_recipes()
    stem = name.removesuffix(".yaml").removeprefix("recipes/")
    if stem in recipes:
        return recipes[stem]
    hint = nearest(path.stem, recipes)
    suggestion = f"; did you mean '{hint}'?" if hint else ""
    raise UsageError(
        f"no recipe file '{name}'{suggestion} (recipes that come with liere: {', '.join(recipes)})"
    )


def read_settings(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; UsageError for its syntax, LiereError if it can't be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None
    if len(content) > MAX_RECIPE_BYTES:
        raise UsageError(f"{path}: a recipe has at most {MAX_RECIPE_BYTES:,} bytes")
    return parse_settings(content, str(path))


def parse_settings(content: bytes, path: str) -> dict[str, Any]:
    """As :func:`read_settings`, of the file's content; ``path`` is for the error message."""
    try:
        settings = load_yaml(content.decode())
    except UnicodeDecodeError:
        raise UsageError(f"{path}: this is not text in UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{path}{line}: this is not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{path}: this is not valid YAML: {shortened(reason)}") from None
    except RecursionError:
        raise UsageError(f"{path}: this is not valid YAML: it is nested too deeply") from None
    if not isinstance(settings, dict):
        raise UsageError(f"{path}: a recipe is 'key: value' lines, not {type(settings).__name__}")
    return settings


def apply_overrides(settings: dict[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """A copy of the settings with each ``section.key=value`` applied.

    A spec written as text becomes a mapping where one of its options is set. Raises UsageError for
    an assignment without '=', or into a value that is not a section.
    """
    settings = deepcopy(settings)
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        path = key.strip().split(".")
        if not equals or not all(path):
            raise UsageError(f"--set {assignment}: expected section.key=value")
        section = settings
        for part in path[:-1]:
            inner = section.setdefault(part, {})
            if isinstance(inner, str):
                inner = section[part] = parse_spec(inner)
            if not isinstance(inner, dict):
                raise UsageError(f"--set {assignment}: '{part}' is not a section")
            section = inner
        section[path[-1]] = parse_scalar(value.strip())
    return settings


def load_recipe(
    source: str | Path | None = None,
    *,
    flags: Mapping[str, Any] | None = None,
    assignments: Iterable[str] = (),
) -> Recipe:
    """A validated recipe: the file's settings, then flags, then ``--set`` assignments.

    Args:
        source: a path, or the name of a built-in recipe; None starts from defaults.
        flags: sections that replace the file's (``encoding``, ``data``) or merge into it.
    """
    settings: dict[str, Any] = {}
    where = "command line"
    if source is not None:
        path = find_recipe(str(source))
        settings, where = read_settings(path), str(path)
        settings.setdefault("experiment", path.stem)
    for key, value in (flags or {}).items():
        if key in ("encoding", "data") or not isinstance(value, Mapping):
            settings[key] = value
        else:
            base = settings.get(key)
            settings[key] = merged(base if isinstance(base, Mapping) else {}, value)
    settings = apply_overrides(settings, assignments)
    return Recipe.validated(settings, where)


def refuse_foreign_code(recipe: Recipe, where: str, given: Iterable[str | None]) -> None:
    """Refuses a recipe that would run a file of code, unless a flag names the file.

    Recipes and runs may come from others, and opening one must not run their code.

    Args:
        where: the recipe's file or folder, for the error message.
        given: values of the flags that may name encodings, data sets or a model.
    """
    flags = [text for text in given if text]
    settings = recipe.model_dump(mode="json")
    encodings = "--encodings" if recipe.compare else "--encoding"
    data = [
        settings["data"],
        *(entry["data"] for entry in (settings["compare"] or {}).get("data", [])),
    ]
    names = [("--model", settings.pop("model")["name"])]
    names += [("--data", name) for name in _names_in(data)]
    names += [(encodings, name) for name in _names_in(settings)]
    for flag, name in names:
        if ".py:" in name and not any(name in text for text in flags):
            raise UsageError(
                f"{where}: would run the code in '{name.rpartition(':')[0]}'; if you trust it, "
                f"name it in a flag: {flag} {name}"
            )


def _names_in(value: object) -> Iterator[str]:
    """The 'name' of every spec in nested settings."""
    if isinstance(value, Mapping):
        if isinstance(value.get("name"), str):
            yield value["name"]
        for part in value.values():
            yield from _names_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from _names_in(part)


def dump_yaml(settings: Mapping[str, Any]) -> str:
    """Settings as YAML in reading order."""
    return yaml.safe_dump(
        dict(settings), sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
    )
