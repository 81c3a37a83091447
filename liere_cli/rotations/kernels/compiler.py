"""The system's C compiler, and what it makes of a file here.

A file for each number of rows and dtype is compiled in less than a second and kept in the cache
folder under a name that says all it depends on. CC names the compiler, else it is ``cc``; CC=none
does without.
"""

import ctypes
import hashlib
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from liere_cli.utils.paths import cache_root

#: rows of the matrices that it is compiled for
ROWS = range(4, 65, 4)


class Real(NamedTuple):
    """A dtype as C calls it."""

    name: str
    ctype: Any


REALS = {
    torch.float32: Real("float", ctypes.c_float),
    torch.float64: Real("double", ctypes.c_double),
}
_SOURCES = Path(__file__).parent
_FLAGS = ("-O3", "-shared", "-fPIC", "-ffp-contract=fast", "-fopenmp-simd")
#: what compilers call the processor at hand
_NATIVE = (("-march=native",), ("-mcpu=native",), ())
_PATIENCE_SECONDS = 120
_off = ContextVar("_off", default=False)


@contextmanager
def without_kernels() -> Iterator[None]:
    """Torch's own operations do everything in here, so that they can be counted or compared."""
    token = _off.set(True)
    try:
        yield
    finally:
        _off.reset(token)


def serves(*tensors: Tensor) -> bool:
    """Whether compiled code may read tensors as these: plain ones of one dtype on a CPU."""
    return not _off.get() and all(
        x.device.type == "cpu"
        and x.dtype in REALS
        and x.dtype == tensors[0].dtype
        and type(x) in (Tensor, nn.Parameter)
        for x in tensors
    )


@dataclass(frozen=True)
class Compiler:
    """A C compiler that answers.

    Args:
        command: what to call, with options for this processor.
        macros: all that it predefines: its version and what the processor can do.
    """

    command: tuple[str, ...]
    macros: str

    @property
    def version(self) -> str:
        """As it calls itself."""
        prefix = "#define __VERSION__ "
        lines = (line for line in self.macros.splitlines() if line.startswith(prefix))
        return next(lines, prefix).removeprefix(prefix).strip('"') or "unknown"


@cache
def find_compiler() -> Compiler | None:
    """The compiler that CC names, or ``cc``; None where there is none."""
    command = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if command == ["none"]:
        return None
    for native in _NATIVE:
        ask = (*command, *_FLAGS, *native)
        done = _run([*ask, "-dM", "-E", "-x", "c", os.devnull])
        if done is not None:
            return Compiler(ask, done)
    return None


def describe(device: torch.device) -> str:
    """What rotations on a device run as, in words."""
    compiler = find_compiler() if device.type == "cpu" else None
    if compiler is not None:
        return f"compiled by {compiler.command[0]} {compiler.version}"
    why = ", as no C compiler answers" if device.type == "cpu" else ""
    return f"torch's own operations{why}"


def _run(command: Sequence[str]) -> str | None:
    """What a command prints, or None where it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_PATIENCE_SECONDS
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout


def library(name: str, dtype: torch.dtype, **constants: int) -> ctypes.CDLL | None:
    """A compiled file, from the cache folder or made now; None where the compiler fails."""
    compiler = find_compiler()
    if compiler is None:
        return None
    source = _SOURCES / f"{name}.c"
    defined = {"REAL": REALS[dtype].name, **constants}
    command = [*compiler.command, *(f"-D{key}={value}" for key, value in defined.items())]
    texts = [path.read_text() for path in (source, *sorted(_SOURCES.glob("*.h")))]
    content = repr((command, compiler.macros, texts))
    digest = hashlib.sha256(content.encode()).hexdigest()[:32]
    kept = cache_root() / "kernels" / f"{'-'.join([name, *map(str, defined.values())])}-{digest}.so"
    try:
        return ctypes.CDLL(str(kept))
    except OSError:  # not there, or cut short
        pass
    with tempfile.TemporaryDirectory(prefix="liere-") as work:
        made = Path(work) / kept.name
        if _run([*command, str(source), "-o", str(made), "-lm"]) is None:
            return None
        _keep(made, kept)
        return ctypes.CDLL(str(made))


def _keep(made: Path, kept: Path) -> None:
    """Puts a file where the next process looks; without a cache folder that makes its own."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{kept.name}.", dir=kept.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(made.read_bytes())
        os.replace(temporary, kept)
    except OSError:
        pass
