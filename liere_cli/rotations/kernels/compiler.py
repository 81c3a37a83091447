"""The system's C compiler and the shared libraries that it builds from the files here.

A file is compiled for each number of rows and dtype in less than a second and kept in the cache
folder, under a name that contains a digest of all it depends on. The environment variable CC names
the compiler, by default ``cc``; CC=none disables compilation.
"""

import ctypes
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from liere_cli.errors import LiereError
from liere_cli.rotations.kernels.structs import check_layout
from liere_cli.utils.files import digest_of, write_atomically
from liere_cli.utils.paths import cache_root

#: rows of the matrices that kernels are compiled for
ROWS = range(4, 65, 4)


#: C's types
REALS: dict[torch.dtype, Any] = {torch.float32: ctypes.c_float, torch.float64: ctypes.c_double}
_SOURCES = Path(__file__).parent
_FLAGS = ("-O3", "-shared", "-fPIC", "-ffp-contract=fast", "-fopenmp-simd")
#: how compilers are asked for code for this processor
_NATIVE = (("-march=native",), ("-mcpu=native",), ())
_TIMEOUT_SECONDS = 120
_off = ContextVar("_off", default=False)


@contextmanager
def without_kernels() -> Iterator[None]:
    """Disables compiled kernels, to count or compare torch's own operations."""
    token = _off.set(True)
    try:
        yield
    finally:
        _off.reset(token)


def serves(*tensors: Tensor) -> bool:
    """Whether compiled code can read the tensors: plain ones of one dtype on a CPU."""
    return not _off.get() and all(
        x.device.type == "cpu"
        and x.dtype in REALS
        and x.dtype == tensors[0].dtype
        and type(x) in (Tensor, nn.Parameter)
        for x in tensors
    )


@dataclass(frozen=True)
class Compiler:
    """A C compiler that works: the program with its options for this processor, and its predefined
    macros, with its version and the features of the processor.
    """

    command: tuple[str, ...]
    macros: str

    @property
    def version(self) -> str:
        prefix = "#define __VERSION__ "
        lines = (line for line in self.macros.splitlines() if line.startswith(prefix))
        return next(lines, prefix).removeprefix(prefix).strip('"') or "unknown"


@cache
def find_compiler() -> Compiler | None:
    """The compiler that CC names, or ``cc``; None if it fails or CC is none."""
    command = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if command == ["none"]:
        return None
    for native in _NATIVE:
        with_flags = (*command, *_FLAGS, *native)
        macros = _run([*with_flags, "-dM", "-E", "-x", "c", os.devnull])
        if macros is not None:
            return Compiler(with_flags, macros)
    return None


def describe(device: torch.device) -> str:
    """How rotations are computed on a device, in words."""
    compiler = find_compiler() if device.type == "cpu" else None
    if compiler is not None:
        return f"compiled by {compiler.command[0]} {compiler.version}"
    why = ", as no C compiler works" if device.type == "cpu" else ""
    return f"torch's own operations{why}"


def _run(command: Sequence[str]) -> str | None:
    """The output of a command, or None if it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_TIMEOUT_SECONDS
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout


@cache
def library(
    name: str, dtype: torch.dtype, *structs: type[ctypes.Structure], **constants: int
) -> ctypes.CDLL | None:
    """``NAME.c`` compiled, from the cache folder or now; None where compilation fails.

    Args:
        structs: what Python passes to it; RuntimeError if C lays one out differently.
        constants: macros that are defined besides REAL.
    """
    compiler = find_compiler()
    if compiler is None:
        return None
    source = _SOURCES / f"{name}.c"
    macros = {"REAL": REALS[dtype].__name__.removeprefix("c_"), **constants}
    command = [*compiler.command, *(f"-D{key}={value}" for key, value in macros.items())]
    texts = [path.read_text() for path in (source, *sorted(_SOURCES.glob("*.h")))]
    digest = digest_of(repr((command, compiler.macros, texts)), 32)
    file = f"{'-'.join([name, *map(str, macros.values())])}-{digest}.so"
    cached = cache_root() / "kernels" / file
    loaded = _load(cached, [*command, str(source)])
    if loaded is not None:
        for struct in structs:
            check_layout(loaded, source.name, struct)
    return loaded


def _load(cached: Path, command: Sequence[str]) -> ctypes.CDLL | None:
    """A cached library, compiled first where there is none or it is damaged."""
    with suppress(OSError):
        return ctypes.CDLL(str(cached))
    with tempfile.TemporaryDirectory(prefix="liere-") as work:
        made = Path(work) / cached.name
        if _run([*command, "-o", str(made), "-lm"]) is None:
            return None
        with suppress(LiereError):  # without a cache folder the next process compiles again
            write_atomically(cached, made.read_bytes())
        return ctypes.CDLL(str(made))
