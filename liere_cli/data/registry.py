"""Every data set by its name."""

import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

from liere_cli.config.names import DATA_ENTRY_POINT_GROUP
from liere_cli.config.spec import parse_spec
from liere_cli.data.base import Dataset
from liere_cli.errors import LiereError, UsageError, unknown
from liere_cli.utils.paths import expand
from liere_cli.utils.user_code import classes_by_name, error_summary, load_from_file


@cache
def available() -> dict[str, type[Dataset]]:
    """Every data set by name: text, then images, then video and volumes.

    Data sets of one kind are ordered by origin: published, local files, built in.
    """
    built_in = ((cls.name, cls) for cls in sorted(_classes(), key=_order))
    return classes_by_name("data set", built_in, DATA_ENTRY_POINT_GROUP, _checked)


def _classes() -> Iterator[type[Dataset]]:
    """The classes below this package that have a name of their own."""
    package = __name__.rpartition(".")[0]
    for info in walk_packages(import_module(package).__path__, f"{package}."):
        for value in vars(import_module(info.name)).values():
            is_data_set = isinstance(value, type) and issubclass(value, Dataset)
            if is_data_set and value.__module__ == info.name and "name" in vars(value):
                yield value


def _order(cls: type[Dataset]) -> tuple[object, ...]:
    local = "path" in cls.Options.model_fields
    built_in = cls.source.startswith("built in")
    return cls.axes or 3, built_in, local, cls.axes is None, cls.name


def dataset_class(name: str) -> type[Dataset]:
    """The class of that name, or of ``path/to/file.py:Class`` (which runs that file's code).

    Raises:
        UsageError: unknown name, no such file or class, or not a Dataset.
        LiereError: the code of the file fails.
    """
    if ".py:" in name:
        return _class_in_file(name)
    if name.endswith(".py"):
        raise UsageError(f"data set '{name}': add the class, as {name}:Class")
    classes = available()
    if name not in classes:
        raise unknown("data set", name, classes)
    return classes[name]


def _class_in_file(name: str) -> type[Dataset]:
    return _checked(load_from_file("data set", name, _is_own), name)


def _is_own(value: object) -> bool:
    is_data_set = isinstance(value, type) and issubclass(value, Dataset)
    return is_data_set and value.__module__.partition(".")[0] != __name__.partition(".")[0]


def _checked(value: object, name: str) -> type[Dataset]:
    """A class from outside; UsageError if it can't be a data set."""
    if not (isinstance(value, type) and issubclass(value, Dataset)):
        raise UsageError(f"data set '{name}' is not a subclass of liere_cli.data.Dataset")
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", getattr(value, "name", "")):
        raise UsageError(
            f"data set '{name}': its 'name' is {getattr(value, 'name', None)!r}, but small "
            "letters, digits and hyphens are expected"
        )
    return value


def build_dataset(spec: str | Mapping[str, object], root: Path | None = None) -> Dataset:
    """The data set of ``spec``; nothing is downloaded or decoded yet.

    Args:
        spec: ``cifar100``, ``images:DIR``, ``pointing:cells=5,seed=1``, or the same as a mapping
            with a ``name``.
        root: folder of a local mirror; LIERE_DATA by default.

    Raises:
        UsageError: an unknown name or option, or a value that is not allowed.
        LiereError: a file that is missing or broken.
    """
    settings: dict[str, object] = dict(parse_spec(spec) if isinstance(spec, str) else spec)
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(f"data: 'name' is {name!r}, but the name of a data set is expected")
    cls = dataset_class(name)
    options = cls.Options.model_fields
    unknown_keys = [key for key in settings if key.partition(".")[0] not in options]
    if "path" in options and "path" not in settings and unknown_keys:
        key = unknown_keys[0]
        raise UsageError(
            f"data.{name}: '{key}={settings[key]}' is neither a path nor an option (allowed: "
            f"{', '.join(sorted(options))}); a path with '=' goes into a recipe, or --set "
            f"data.path=..."
        )
    validated = cls.Options.validated(_nested(settings), f"data.{name}")
    try:
        dataset = cls.build(validated, mirror(root))
    except LiereError:
        raise
    except Exception as error:
        if cls.__module__.startswith(f"{__package__}."):
            raise
        reason = error_summary(error)
        raise LiereError(f"data set '{name}' can't be built: {reason}") from error
    dataset.spec_name = name
    return dataset


def _nested(settings: Mapping[str, object]) -> dict[str, object]:
    """Keys such as ``split.train`` as settings within a setting."""
    nested: dict[str, object] = {}
    for key, value in settings.items():
        outer, dot, inner = key.partition(".")
        if dot:
            within = nested.setdefault(outer, {})
            if isinstance(within, dict):
                within[inner] = value
        else:
            nested[key] = value
    return nested


def mirror(root: Path | None = None) -> Path | None:
    """The folder of the local mirror: ``root``, else LIERE_DATA, else None; UsageError if it is not
    a folder.
    """
    root = root or (Path(named) if (named := os.environ.get("LIERE_DATA")) else None)
    root = root and expand(root)
    if root is not None and not root.is_dir():
        raise UsageError(f"the data root {root} is not a folder (from --data-root or LIERE_DATA)")
    return root
