"""Names of encodings and data sets, without importing them, so that a wrong one is found at once.

A name is declared in the source of its class, and found there by its text; that takes milliseconds
where importing torch takes seconds. A test compares the names with those of the registries.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Literal

from liere_cli.config.recipe import Recipe
from liere_cli.config.spec import parse_spec
from liere_cli.errors import UsageError, unknown

Kind = Literal["encoding", "data set"]
#: flags of liere train and of liere compare that take the names of a kind
FLAGS: Mapping[Kind, tuple[str, str]] = {
    "encoding": ("--encoding", "--encodings"),
    "data set": ("--data", "--data"),
}
_FOLDERS: Mapping[Kind, str] = {"encoding": "encodings", "data set": "data"}
#: packages that install encodings name them in this group
ENTRY_POINT_GROUP = "liere.encodings"
#: likewise for models
MODEL_ENTRY_POINT_GROUP = "liere.models"
#: and those that install data sets in this one
DATA_ENTRY_POINT_GROUP = "liere.data"


@cache
def names_of(kind: Kind) -> frozenset[str]:
    """Names of all encodings or data sets, built in or installed."""
    folder = Path(__file__).parent.parent / _FOLDERS[kind]
    declared = re.compile(r'^    name = "([a-z0-9-]+)"$', re.M)
    names = {name for path in folder.rglob("*.py") for name in declared.findall(path.read_text())}
    group = ENTRY_POINT_GROUP if kind == "encoding" else DATA_ENTRY_POINT_GROUP
    names |= {point.name for point in entry_points(group=group)}
    return frozenset(names)


def check_name(kind: Kind, name: str) -> None:
    """Raises UsageError for a name that no encoding, or no data set, has.

    ``FILE.py:Class`` is not checked. A name of the other kind is called that.
    """
    if name in names_of(kind) or ".py" in name:
        return
    other: Kind = "data set" if kind == "encoding" else "encoding"
    if name in names_of(other):
        raise UsageError(f"'{name}' is {_with_article(other)}, not {_with_article(kind)}")
    raise unknown(kind, name, names_of(kind))


def _with_article(kind: Kind) -> str:
    return f"an {kind}" if kind == "encoding" else f"a {kind}"


def check_specs(kind: Kind, specs: Iterable[str | None]) -> None:
    """As :func:`check_name`, for specs such as ``NAME:key=value``; None and faulty ones pass."""
    for spec in specs:
        try:
            name = parse_spec(spec or "")["name"]
        except UsageError:
            continue  # is explained where it is read
        check_name(kind, str(name))


def check_recipe(recipe: Recipe) -> None:
    """As :func:`check_name`, for every encoding and data set of a recipe."""
    compare = recipe.compare
    encodings, datasets = [recipe.encoding], [recipe.data]
    if compare is not None:
        encodings += [*compare.encodings, *compare.baseline]
        for entry in compare.data:
            encodings += entry.encodings or []
        datasets = [entry.data for entry in compare.data] or datasets
    kinds: Sequence[tuple[Kind, list[dict[str, object]]]]
    kinds = [("data set", datasets), ("encoding", encodings)]
    for kind, specs in kinds:
        for spec in specs:
            check_name(kind, str(spec["name"]))


def explain_source(source: str, command: int) -> None:
    """Raises UsageError for what is given as a recipe but is the name of something else.

    ``command``: 0 for liere train, 1 for liere compare, whose flag the message names.
    """
    name = re.split("[:,]", source)[0]
    kinds: tuple[Kind, ...] = ("data set", "encoding")
    for kind in kinds:
        if name in names_of(kind):
            flag = FLAGS[kind][command]
            raise UsageError(
                f"'{source}' is {_with_article(kind)}, not a recipe; did you mean {flag} {source}?"
            )
