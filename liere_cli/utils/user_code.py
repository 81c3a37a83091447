"""Classes in a user's file, named ``path/to/file.py:Class``."""

import importlib.util
import inspect
import sys
import traceback
from functools import cache
from pathlib import Path
from types import ModuleType

from liere_cli.errors import LiereError, UsageError, shortened
from liere_cli.utils.files import digest_of
from liere_cli.utils.paths import expand


@cache
def module_in(path_text: str, where: str) -> ModuleType:
    """The module that running a file makes.

    Args:
        where: what names the file, in messages.

    Raises:
        UsageError: no such file.
        LiereError: its code fails.
    """
    path = expand(path_text)
    if not path.is_file():
        raise UsageError(f"{where}: there is no file '{path}'")
    unique = digest_of(str(path.resolve()).encode(), 8)
    spec = importlib.util.spec_from_file_location(f"liere_user_{path.stem}_{unique}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{where}: '{path}' is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # as import does: pydantic and inspect look up the module of a class by its name
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        line = f"'{path}', line {error.lineno}"
        raise LiereError(f"{where}: {line}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        reason = error_summary(error)
        raise LiereError(f"{where}: running '{path}' failed: {reason}") from error
    return module


def error_summary(error: BaseException) -> str:
    """One-line summary of an exception in user code: type, message, file and line."""
    frames = traceback.extract_tb(error.__traceback__)
    line = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {shortened(str(error))}{line}"


def source_digest(cls: type) -> str | None:
    """Hex digest of the file that defines a class; None where there is no file."""
    source = inspect.getsourcefile(cls)
    return digest_of(Path(source).read_bytes(), 16) if source else None
