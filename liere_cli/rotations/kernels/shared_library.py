"""Shared libraries: compiled, kept in a folder, checked and loaded.

A file's name ends with a digest of its content, so that a damaged one is recognised before it is
loaded: loading it could kill the process. Files are written to disk before they get their name.
"""

import ctypes
import os
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from liere_cli.errors import LiereError
from liere_cli.utils.files import digest_of, read_limited, write_atomically

_TIMEOUT_SECONDS = 120
#: a library has some 30 kB
_MAX_BYTES = 1 << 26
_DIGITS = 16
#: characters of a compiler's or the system's message that are shown
_MOST = 200


class UnusableError(Exception):
    """Why a compiler or a compiled library can't be used, as a part of a sentence."""


@dataclass(frozen=True)
class SharedLibrary:
    """A loaded library, and the folder that it was loaded from."""

    functions: ctypes.CDLL
    folder: Path


def run(command: Sequence[str], **environment: str) -> str:
    """The output of a command; raises UnusableError if it fails."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            env={**os.environ, **environment},
        )
    except subprocess.TimeoutExpired:
        reason = f"it took over {_TIMEOUT_SECONDS} seconds"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    else:
        if done.returncode == 0:
            return done.stdout
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        # the first line may be a note on where the error is
        errors = [line for line in lines if "error" in line.lower()] or lines
        reason = errors[0].strip()[:_MOST] if errors else f"exit code {done.returncode}"
    raise UnusableError(f"{command[0]} fails: {reason}")


def load(cache: Path, stem: str, command: Sequence[str]) -> SharedLibrary:
    """The library that ``command`` compiles: loaded from the cache folder, else from the folder of
    temporary files.

    Args:
        stem: of the file's name, which identifies all that the content depends on.
        command: a compiler with its arguments, but for the name of the result.

    Raises:
        UnusableError: the command fails, or no folder allows to load compiled code.
    """
    content = _read_cached(cache, stem)
    if content is None:
        content = _compile(command, cache)
        # without a cache folder the next process compiles again
        with suppress(LiereError):
            write_atomically(_path(cache, stem, content), content)
    failures = []
    path = _path(cache, stem, content)
    try:
        return SharedLibrary(ctypes.CDLL(str(path)), cache)
    except OSError as error:
        failures.append(f"{cache} ({_without_path(error, path)})")
    try:
        with tempfile.TemporaryDirectory(prefix="liere-") as work:
            path = _path(Path(work), stem, content)
            path.write_bytes(content)
            return SharedLibrary(ctypes.CDLL(str(path)), Path(work).parent)
    except OSError as error:
        failures.append(f"{tempfile.gettempdir()} ({_without_path(error, path)})")
    raise UnusableError(f"compiled code can't be loaded from {', or from '.join(failures)}")


def _path(folder: Path, stem: str, content: bytes) -> Path:
    return folder / f"{stem}-{digest_of(content, _DIGITS)}.so"


def _read_cached(cache: Path, stem: str) -> bytes | None:
    """The content of an intact file; damaged ones are removed."""
    with suppress(OSError):
        for path in sorted(cache.glob(f"{stem}-*.so")):
            with suppress(OSError, ValueError):
                content = read_limited(path, _MAX_BYTES)
                if path == _path(cache, stem, content):
                    return content
            with suppress(OSError):
                path.unlink()
    return None


def _compile(command: Sequence[str], cache: Path) -> bytes:
    """What a compiler makes in a temporary folder, else in one in the cache folder."""
    reasons = []
    for parent in (None, cache):
        try:
            with tempfile.TemporaryDirectory(prefix="liere-", dir=parent) as work:
                made = Path(work) / "made.so"
                run([*command, "-o", str(made), "-lm"], TMPDIR=work)
                if content := made.read_bytes():
                    return content
                reasons.append(f"{command[0]} makes an empty file")
        except FileNotFoundError:
            reasons.append(f"{command[0]} makes no file")
        except OSError as error:
            reasons.append(f"{parent or tempfile.gettempdir()} can't be written: {error.strerror}")
        except UnusableError as error:
            reasons.append(str(error))
    raise UnusableError(reasons[0])


def _without_path(error: OSError, path: Path) -> str:
    """What the system says of a file, without its path."""
    return str(error.strerror or error).removeprefix(f"{path}: ")[:_MOST]
