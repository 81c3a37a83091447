"""exponential.c, spectrum.c and turning.c, compiled for this processor, called on tensors.

A file for each number of rows and dtype is compiled in a third of a second and kept in the cache
folder under a name that says all it depends on. Without a C compiler torch's own products give the
same results but for rounding. CC names the compiler, else it is ``cc``; CC=none does without.

Shapes: G matrices, b rows; B batch, T tokens, N heads, H head_dim.
"""

import ctypes
import hashlib
import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from liere_cli.places import cache_root

#: rows of the matrices that it is compiled for
ROWS = range(4, 65, 4)
_REALS = {torch.float32: ("float", ctypes.c_float), torch.float64: ("double", ctypes.c_double)}
_SOURCES = Path(__file__).parent
_FLAGS = ("-O3", "-shared", "-fPIC", "-ffp-contract=fast", "-fopenmp-simd")
#: what compilers call the processor at hand
_NATIVE = (("-march=native",), ("-mcpu=native",), ())
#: entries below which one thread is done before others have begun
_ENTRIES_FOR_THREADS = 1 << 13
#: how often a thread comes back for more, so that all finish at about the same time
_TURNS_OF_A_THREAD = 16
_PATIENCE_SECONDS = 120


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
    """What exponentials on a device run as, in words."""
    compiler = find_compiler() if device.type == "cpu" else None
    if compiler is not None:
        return f"compiled by {compiler.command[0]} {compiler.version}"
    why = ", as no C compiler answers" if device.type == "cpu" else ""
    return f"batched products{why}"


def _run(command: Sequence[str]) -> str | None:
    """What a command prints, or None where it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_PATIENCE_SECONDS
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout


def kernel_for(a: Tensor, series: tuple[float, ...]) -> "Kernel | None":
    """What exponentiates matrices as these [..., b, b]; None where batched products do.

    Args:
        series: y1, y2, x1, x3, x4, x5, x6, x7 of a polynomial and the norm that it reaches.
    """
    if a.device.type != "cpu" or a.dtype not in _REALS or a.shape[-1] not in ROWS:
        return None
    return _kernel(a.shape[-1], a.dtype, series)


def turning_for(qkv: Tensor, table: Tensor) -> "Turning | None":
    """What turns neighbouring channels of such a projection; None where complex products do.

    Args:
        qkv: [B, S, 3, N, H].
        table: cosines and sines, [N or 1, T, H/2, 2].
    """
    if qkv.device.type != "cpu" or qkv.dtype not in _REALS or qkv.dtype != table.dtype:
        return None
    return _turning(qkv.dtype) if qkv.is_contiguous() else None


def spectra_for(a: Tensor) -> "Spectra | None":
    """What finds the planes of matrices as these [..., b, b]; None where eigenvectors do."""
    if a.device.type != "cpu" or a.dtype not in _REALS:
        return None
    return _spectra(a.dtype)


@cache
def _kernel(rows: int, dtype: torch.dtype, series: tuple[float, ...]) -> "Kernel | None":
    library = _library("exponential", dtype, ROWS=rows)
    if library is None:
        return None
    return Kernel(library, (_REALS[dtype][1] * len(series))(*series))


@cache
def _turning(dtype: torch.dtype) -> "Turning | None":
    library = _library("turning", dtype)
    return None if library is None else Turning(library)


@cache
def _spectra(dtype: torch.dtype) -> "Spectra | None":
    library = _library("spectrum", dtype)
    return None if library is None else Spectra(library)


def _library(name: str, dtype: torch.dtype, **constants: int) -> ctypes.CDLL | None:
    """A compiled file, from the cache folder or made now; None where the compiler fails."""
    compiler = find_compiler()
    if compiler is None:
        return None
    source = _SOURCES / f"{name}.c"
    defined = {"REAL": _REALS[dtype][0], **constants}
    command = [*compiler.command, *(f"-D{key}={value}" for key, value in defined.items())]
    content = repr((command, compiler.macros, source.read_text()))
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


class _MatrixTask(ctypes.Structure):
    """``task`` of exponential.c."""

    _fields_ = (
        ("x", ctypes.c_void_p),
        ("grad", ctypes.c_void_p),
        ("result", ctypes.c_void_p),
        ("series", ctypes.c_void_p),
        ("count", ctypes.c_ssize_t),
        ("taken", ctypes.c_ssize_t),
        ("at_a_time", ctypes.c_ssize_t),
        ("transposed", ctypes.c_int),
        ("failed", ctypes.c_int),
    )


class Kernel:
    """The functions of exponential.c for matrices of one size and dtype, contiguous on a CPU.

    Every matrix is computed by itself, so results don't depend on the number of threads.
    """

    def __init__(self, library: ctypes.CDLL, series: ctypes.Array[Any]) -> None:
        self._library = library
        self._series = series

    def exponential(self, a: Tensor) -> Tensor:
        """exp of skew-symmetric [..., b, b]; all NaN where a norm is beyond any use."""
        return self._call(self._library.exponential, a, a)

    def exponential_back(self, a: Tensor, grad: Tensor) -> Tensor:
        """The skew part of the gradient to a from that to ``exponential``'s result.

        Args:
            grad: contiguous or, which costs no copy either, with its matrices transposed.
        """
        return self._call(self._library.exponential_back, a, grad)

    def _call(self, function: Any, x: Tensor, grad: Tensor) -> Tensor:
        result, count = torch.empty_like(x), x.shape[:-2].numel()
        transposed = grad.mT.is_contiguous()
        grad = grad if transposed else grad.contiguous()
        task = _MatrixTask(
            x=x.data_ptr(),
            grad=grad.data_ptr(),
            result=result.data_ptr(),
            series=ctypes.addressof(self._series),
            count=count,
            at_a_time=max(1, count // (_TURNS_OF_A_THREAD * torch.get_num_threads())),
            transposed=transposed,
        )
        _in_threads(function, task, x.numel())
        if task.failed:
            raise MemoryError("no memory to compute rotations in")
        return result


class _SpectrumTask(ctypes.Structure):
    """``task`` of spectrum.c."""

    _fields_ = (
        ("x", ctypes.c_void_p),
        ("basis", ctypes.c_void_p),
        ("rates", ctypes.c_void_p),
        ("grad_basis", ctypes.c_void_p),
        ("grad_rates", ctypes.c_void_p),
        ("result", ctypes.c_void_p),
        ("close", ctypes.c_double),
        ("count", ctypes.c_ssize_t),
        ("rows", ctypes.c_ssize_t),
        ("taken", ctypes.c_ssize_t),
        ("met", ctypes.c_int),
        ("failed", ctypes.c_int),
    )


class Spectra:
    """The functions of spectrum.c, on a CPU. Every matrix is computed by itself."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def spectrum(self, a: Tensor, close: float) -> tuple[Tensor, Tensor, bool]:
        """Q and D with A = Q D Q^T; NaN of what is not finite.

        Args:
            a: [..., b, b] skew-symmetric, b even.
            close: gap between two rates below which they count as one.

        Returns:
            Q and D, each [..., b, b], and whether some rates are so close, or so close to none.
        """
        a = a.contiguous()
        basis, rates = torch.empty_like(a), torch.empty_like(a)
        task = self._run(self._library.spectrum, basis, rates, close, x=a.data_ptr())
        return basis, rates, bool(task.met)

    def spectrum_back(
        self, basis: Tensor, rates: Tensor, grad_basis: Tensor, grad_rates: Tensor, close: float
    ) -> Tensor:
        """The skew part of the gradient to A from those to Q and D."""
        result = torch.empty_like(basis)
        grad_basis, grad_rates = grad_basis.contiguous(), grad_rates.contiguous()
        self._run(
            self._library.spectrum_back,
            basis,
            rates,
            close,
            grad_basis=grad_basis.data_ptr(),
            grad_rates=grad_rates.data_ptr(),
            result=result.data_ptr(),
        )
        return result

    def _run(
        self, function: Any, basis: Tensor, rates: Tensor, close: float, **pointers: int
    ) -> _SpectrumTask:
        task = _SpectrumTask(
            basis=basis.data_ptr(),
            rates=rates.data_ptr(),
            close=close,
            count=basis.shape[:-2].numel(),
            rows=basis.shape[-1],
            **pointers,
        )
        _in_threads(function, task, basis.numel() * basis.shape[-1])
        if task.failed:
            raise MemoryError("no memory to compute rotations in")
        return task


class _Gradient(ctypes.Structure):
    """``gradient`` of turning.c."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("batch", ctypes.c_ssize_t),
        ("head", ctypes.c_ssize_t),
        ("token", ctypes.c_ssize_t),
    )


class _TurningTask(ctypes.Structure):
    """``task`` of turning.c."""

    _fields_ = (
        ("qkv", ctypes.c_void_p),
        ("grad", ctypes.c_void_p),
        ("halves", ctypes.c_void_p),
        ("table", ctypes.c_void_p),
        ("table_head", ctypes.c_ssize_t),
        ("parts", _Gradient * 3),
        ("batch", ctypes.c_ssize_t),
        ("tokens", ctypes.c_ssize_t),
        ("prefix", ctypes.c_ssize_t),
        ("heads", ctypes.c_ssize_t),
        ("channels", ctypes.c_ssize_t),
        ("at_a_time", ctypes.c_ssize_t),
        ("taken", ctypes.c_ssize_t),
    )


class Turning:
    """The functions of turning.c, on a CPU.

    Every sum is over the examples of one token, so results don't depend on the number of threads.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def turn(self, qkv: Tensor, table: Tensor) -> None:
        """Turns queries and keys where they lie.

        Args:
            qkv: [B, S, 3, N, H], contiguous.
            table: cosines and sines, [N or 1, T, H/2, 2]; the first S - T tokens pass.
        """
        table = table.contiguous()
        _in_threads(self._library.turn, self._task(qkv, table), qkv.numel())

    def turn_back(
        self, grads: Sequence[Tensor], table: Tensor, turned: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The gradient to what ``turn`` was given, and to angles.

        Args:
            grads: gradients to turned queries, turned keys and values, each [B, N, S, H].
            table: as for ``turn``.
            turned: what ``turn`` left, to have the gradient to angles by which it turned.

        Returns:
            [B, S, 3, N, H], and [T, N, H] or None: for every plane two numbers, summed over
            examples, queries and keys, whose difference is the gradient to its angle.
        """
        batch, heads, length, channels = grads[0].shape
        table = table.contiguous()
        grads = [grad if grad.stride(-1) == 1 else grad.contiguous() for grad in grads]
        result = table.new_empty(batch, length, 3, heads, channels)
        halves = None
        task = self._task(result if turned is None else turned, table)
        if turned is not None:
            halves = table.new_empty(table.shape[1], heads, channels)
            task.halves = halves.data_ptr()
        task.grad = result.data_ptr()
        for part, grad in zip(task.parts, grads, strict=True):
            part.data = grad.data_ptr()
            part.batch, part.head, part.token, _ = grad.stride()
        _in_threads(self._library.turn_back, task, result.numel())
        return result, halves

    def _task(self, qkv: Tensor, table: Tensor) -> _TurningTask:
        batch, length, _, heads, channels = qkv.shape
        return _TurningTask(
            qkv=qkv.data_ptr(),
            table=table.data_ptr(),
            table_head=table[0].numel() if len(table) > 1 else 0,
            batch=batch,
            tokens=length,
            prefix=length - table.shape[1],
            heads=heads,
            channels=channels,
            at_a_time=max(1, length // (_TURNS_OF_A_THREAD * torch.get_num_threads())),
        )


def _in_threads(function: Any, task: ctypes.Structure, entries: int) -> None:
    """``function(task)`` in as many threads as torch has, where the entries are worth it.

    Where torch's threads can be had it is they that do it: others would wait for a core until
    those stop spinning.
    """
    threads = torch.get_num_threads() if entries > _ENTRIES_FOR_THREADS else 1
    shared = ctypes.byref(task)
    parallel = _openmp() if threads > 1 else None
    if parallel is not None:
        parallel(ctypes.cast(function, ctypes.c_void_p), shared, ctypes.c_uint(threads), 0)
        return
    others = [_pool(os.getpid()).submit(function, shared) for _ in range(threads - 1)]
    function(shared)
    for other in others:
        other.result()


@cache
def _openmp() -> Any:
    """GOMP_parallel of the OpenMP library that torch has brought into the process, GNU's or one
    with its interface; None where there is none, as on macOS.
    """
    return getattr(ctypes.CDLL(None), "GOMP_parallel", None)


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of this process: a fork has none of its parent's."""
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="liere-rotations")
