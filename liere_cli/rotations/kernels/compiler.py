"""The system's C compiler and the shared libraries that it builds from the files here.

A file is compiled for each number of rows and dtype in less than a second and kept in the cache
folder, under a name that contains a digest of all it depends on. The environment variable CC names
the compiler, by default ``cc``; CC=none disables compilation. Where any step fails, torch's own
operations do the same, and ``describe`` says why.
"""

import ctypes
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from liere_cli.rotations.kernels.shared_library import SharedLibrary, UnusableError, load, run
from liere_cli.rotations.kernels.structs import check_layout
from liere_cli.utils.files import digest_of
from liere_cli.utils.paths import cache_root

#: rows of the matrices that kernels are compiled for
ROWS = range(4, 65, 4)


#: C's types
REALS: dict[torch.dtype, Any] = {torch.float32: ctypes.c_float, torch.float64: ctypes.c_double}
_SOURCES = Path(__file__).parent
_FLAGS = ("-O3", "-shared", "-fPIC", "-ffp-contract=fast", "-fopenmp-simd")
#: how compilers are asked for code for this processor
_NATIVE = (("-march=native",), ("-mcpu=native",), ())
_off = ContextVar("_off", default=False)


@contextmanager
def without_kernels() -> Iterator[None]:
    """Disables compiled kernels, to count or compare torch's own operations."""
    token = _off.set(True)
    try:
        yield
    finally:
        _off.reset(token)


def are_disabled() -> bool:
    """Whether ``without_kernels`` applies."""
    return _off.get()


def serves(*tensors: Tensor) -> bool:
    """Whether compiled code can read the tensors: plain ones of one dtype on a CPU."""
    return not are_disabled() and all(
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
    compiler = _find_compiler()
    return compiler if isinstance(compiler, Compiler) else None


@cache
def _find_compiler() -> Compiler | UnusableError:
    named = os.environ.get("CC", "")
    try:
        command = shlex.split(named) or ["cc"]
    except ValueError as error:
        return UnusableError(f"CC={named} is not a command: {error}")
    if command == ["none"]:
        return UnusableError("CC is none")
    reason = UnusableError("")
    for native in _NATIVE:
        with_flags = (*command, *_FLAGS, *native)
        try:
            macros = run([*with_flags, "-dM", "-E", "-x", "c", os.devnull])
        except UnusableError as error:
            reason = error
        else:
            return Compiler(with_flags, macros)
    return UnusableError(f"no C compiler works: {reason}")


def describe(device: torch.device) -> str:
    """How rotations are computed on a device, in words; builds a library to find out."""
    if device.type != "cpu":
        return "torch's own operations"
    compiler, built = _find_compiler(), _build("planes", torch.float32)
    if isinstance(compiler, UnusableError) or isinstance(built, UnusableError):
        return f"torch's own operations, as {built}"
    text = f"compiled by {compiler.command[0]} {compiler.version}"
    if built.folder != _cache():
        text += f", loaded from {built.folder}"
    failed = {str(result) for result in _built.values() if isinstance(result, UnusableError)}
    return "; ".join([text, *(f"in part torch's own, as {reason}" for reason in sorted(failed))])


@cache
def library(
    name: str, dtype: torch.dtype, *structs: type[ctypes.Structure], **constants: int
) -> ctypes.CDLL | None:
    """``NAME.c`` compiled, from the cache folder or now; None where that fails.

    Args:
        structs: what Python passes to it; RuntimeError if C lays one out differently.
        constants: macros that are defined besides REAL.
    """
    built = _build(name, dtype, **constants)
    if isinstance(built, UnusableError):
        return None
    for struct in structs:
        check_layout(built.functions, f"{name}.c", struct)
    return built.functions


#: libraries by name, dtype and constants, or why there is none
_built: dict[object, SharedLibrary | UnusableError] = {}


def _build(name: str, dtype: torch.dtype, **constants: int) -> SharedLibrary | UnusableError:
    key = (name, dtype, *constants.items())
    if key not in _built:
        try:
            _built[key] = _load(name, dtype, **constants)
        except UnusableError as error:
            _built[key] = error
    return _built[key]


def _load(name: str, dtype: torch.dtype, **constants: int) -> SharedLibrary:
    compiler = _find_compiler()
    if isinstance(compiler, UnusableError):
        raise compiler
    source = _SOURCES / f"{name}.c"
    macros = {"REAL": REALS[dtype].__name__.removeprefix("c_"), **constants}
    command = [*compiler.command, *(f"-D{key}={value}" for key, value in macros.items())]
    texts = [path.read_text() for path in (source, *sorted(_SOURCES.glob("*.h")))]
    digest = digest_of(repr((command, compiler.macros, texts)), 32)
    stem = f"{'-'.join([name, *map(str, macros.values())])}-{digest}"
    return load(_cache(), stem, [*command, str(source)])


def _cache() -> Path:
    return cache_root() / "kernels"


def forget() -> None:
    """Makes later calls search for the compiler and the libraries again."""
    for function in (find_compiler, _find_compiler, library):
        function.cache_clear()
    _built.clear()
