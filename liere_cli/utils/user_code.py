"""Classes in a user's file: ``path/to/file.py:Class``."""

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeVar

from liere_cli.errors import LiereError, UsageError, shortened, unknown
from liere_cli.utils.files import digest_of
from liere_cli.utils.paths import expand

Named = TypeVar("Named")


def classes_by_name(
    kind: str,
    built_in: Iterable[tuple[str, type[Named]]],
    group: str,
    checked: Callable[[object, str], type[Named]],
) -> dict[str, type[Named]]:
    """Built-in classes and those of an entry-point group, by name.

    Args:
        kind: of what, such as "encoding", for messages.
        checked: returns an installed class, or raises UsageError; called with its path, too.

    Raises LiereError: two have one name, or an installed one can't be imported.
    """
    classes: dict[str, type[Named]] = {}
    for name, cls in built_in:
        if other := classes.get(name):
            raise LiereError(
                f"two {kind}s are named '{name}': {other.__module__} and {cls.__module__}"
            )
        classes[name] = cls
    for point in entry_points(group=group):
        try:
            cls = checked(point.load(), point.value)
        except ImportError as error:
            raise LiereError(f"{kind} '{point.name}' can't be imported: {error}") from None
        if point.name in classes:
            raise LiereError(f"two {kind}s are named '{point.name}': {point.value} is the second")
        classes[point.name] = cls
    return classes


def load_from_file(kind: str, name: str, fits: Callable[[object], bool]) -> object:
    """What a file calls by the name after the colon; runs the file's code.

    Args:
        kind: what is loaded, such as "encoding", for messages.
        name: ``path/to/file.py:Class``.
        fits: whether a value is of that kind, for the list of what the file has instead.

    Raises:
        UsageError: no such file or name.
        LiereError: the code of the file fails.
    """
    path_text, _, class_name = name.rpartition(":")
    path = expand(path_text)
    if not path.is_file():
        raise UsageError(f"{kind} '{name}': there is no file '{path}'")
    unique = digest_of(str(path.resolve()).encode(), 8)
    spec = importlib.util.spec_from_file_location(f"liere_user_{path.stem}_{unique}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{kind} '{name}': '{path}' is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # as import does: pydantic and inspect look up the module of a class by its name
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        line = f"'{path}', line {error.lineno}"
        raise LiereError(f"{kind} '{name}': {line}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        reason = error_summary(error)
        raise LiereError(f"{kind} '{name}': running '{path}' failed: {reason}") from error
    if not hasattr(module, class_name):
        classes = [key for key, value in vars(module).items() if fits(value)]
        raise unknown(f"{kind} in '{path}':", class_name, classes)
    return getattr(module, class_name)


def file_digest(cls: type) -> str | None:
    """Hex digest of the file that defines a class, so that an edited class makes a new run."""
    source = inspect.getsourcefile(cls)
    return digest_of(Path(source).read_bytes(), 16) if source else None


def error_summary(error: BaseException) -> str:
    """One-line summary of an exception in user code: type, message, file and line."""
    frames = traceback.extract_tb(error.__traceback__)
    line = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {shortened(str(error))}{line}"
