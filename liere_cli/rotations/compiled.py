"""exponential.c and moments.c, compiled for this processor when first asked for, called on tensors.

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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from liere_cli.places import cache_root

#: rows of the matrices that it is compiled for; larger ones fill a library's products, whose
#: threads are at hand, while ours wait for those of torch to stop spinning
ROWS = range(4, 33, 4)
_REALS = {torch.float32: ("float", ctypes.c_float), torch.float64: ("double", ctypes.c_double)}
_SOURCES = Path(__file__).parent
_FLAGS = ("-O3", "-shared", "-fPIC", "-ffp-contract=fast")
#: what compilers call the processor at hand
_NATIVE = (("-march=native",), ("-mcpu=native",), ())
#: entries that are worth a thread of their own
_ENTRIES_FOR_A_THREAD = 1 << 13
#: tokens that are summed in one go, in the dtype of what is summed
_TOKENS_OF_A_SUM = 256
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


def kernel_for(a: Tensor) -> "Kernel | None":
    """What exponentiates matrices as these [..., b, b]; None where batched products do."""
    if a.device.type != "cpu" or a.dtype not in _REALS or a.shape[-1] not in ROWS:
        return None
    return _kernel(a.shape[-1], a.dtype)


def moments_for(qkv: Tensor) -> "Moments | None":
    """What sums up moments of such a projection; None where products of matrices do."""
    if qkv.device.type != "cpu" or qkv.dtype not in _REALS or not qkv.is_contiguous():
        return None
    return _moments(qkv.dtype)


@cache
def _kernel(rows: int, dtype: torch.dtype) -> "Kernel | None":
    library = _library("exponential", dtype, ROWS=rows)
    return None if library is None else Kernel(library, rows, dtype)


@cache
def _moments(dtype: torch.dtype) -> "Moments | None":
    library = _library("moments", dtype)
    return None if library is None else Moments(library)


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


class Kernel:
    """The functions of exponential.c for matrices of one size and dtype, contiguous on a CPU.

    Each takes its matrices in as many parts as torch has threads, and every matrix by itself, so
    results depend on neither.
    """

    def __init__(self, library: ctypes.CDLL, rows: int, dtype: torch.dtype) -> None:
        self.rows = rows
        self.dtype = dtype
        self._real = _REALS[dtype][1]
        self._library = library

    def exponential(self, a: Tensor, series: Sequence[float]) -> Tensor:
        """exp of skew-symmetric [G, b, b]; all NaN where a norm is beyond any use.

        Args:
            series: y1, y2, x1, x3, x4, x5, x6, x7 and the norm up to which they serve.
        """
        rotations = torch.empty_like(a)
        self._call("exponential", (a, rotations), self._constants(series))
        return rotations

    def exponential_back(self, a: Tensor, grad: Tensor, series: Sequence[float]) -> Tensor:
        """The skew part of the gradient to a from that to ``exponential``'s result."""
        result = torch.empty_like(a)
        self._call("exponential_back", (a, grad, result), self._constants(series))
        return result

    def squares(self, e: Tensor, squarings: int) -> Tensor:
        """exp(2^squarings X) from exp(X) - I, [G, b, b]."""
        rotations = torch.empty_like(e)
        self._call("squares", (e, rotations), ctypes.c_int(squarings))
        return rotations

    def squares_back(self, e: Tensor, grad_t: Tensor, squarings: int) -> Tensor:
        """The transposed gradient to exp(X) - I from that to ``squares``'s result."""
        result = torch.empty_like(e)
        self._call("squares_back", (e, grad_t, result), ctypes.c_int(squarings))
        return result

    def _constants(self, series: Sequence[float]) -> Any:
        return (self._real * len(series))(*series)

    def _call(self, name: str, matrices: Sequence[Tensor], setting: Any) -> None:
        function = getattr(self._library, name)
        size = self.rows**2 * matrices[0].element_size()

        def run(first: int, end: int) -> int:
            # asked for here, so that a thread holds on to its tensors when others are interrupted
            starts = (ctypes.c_void_p(whole.data_ptr() + first * size) for whole in matrices)
            code: int = function(*starts, ctypes.c_ssize_t(end - first), setting)
            return code

        _in_parts(run, len(matrices[0]), matrices[0].numel())


class Moments:
    """The function of moments.c, on a CPU.

    Every sum is over the same tokens whatever the number of threads, so results don't depend on it.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def __call__(self, qkv: Tensor, grad: Tensor, positions: Tensor) -> Tensor:
        """sum_p p (x1 g2 - x2 g1) over examples and tokens, of queries and keys together.

        Args:
            qkv: [B, T, 3, N, H], queries, keys and values, contiguous.
            grad: the gradient to it, likewise.
            positions: p, [T].

        Returns:
            [N, H/2] in the dtype of ``qkv``: for every plane (x1, x2) of neighbouring channels.
        """
        batch, tokens, _, heads, channels = qkv.shape
        stride, planes, size = 3 * heads * channels, heads * channels, qkv.element_size()
        positions = positions.to(qkv.dtype).contiguous()
        runs = [
            (example, token, min(token + _TOKENS_OF_A_SUM, tokens))
            for example in range(batch)
            for token in range(0, tokens, _TOKENS_OF_A_SUM)
        ]
        sums = torch.zeros(len(runs), planes, dtype=torch.float64)

        def run(first: int, end: int) -> int:
            for index in range(first, end):
                example, token, last = runs[index]
                offset = (example * tokens + token) * stride * size
                code: int = self._library.moments(
                    ctypes.c_void_p(qkv.data_ptr() + offset),
                    ctypes.c_void_p(grad.data_ptr() + offset),
                    ctypes.c_void_p(positions.data_ptr() + token * size),
                    ctypes.c_void_p(sums[index].data_ptr()),
                    *map(ctypes.c_ssize_t, (last - token, stride, planes)),
                )
                if code:
                    return code
            return 0

        _in_parts(run, len(runs), qkv.numel())
        return sums.view(-1, 2, heads, channels // 2).sum((0, 1)).to(qkv.dtype)


def _in_parts(run: Callable[[int, int], int], count: int, entries: int) -> None:
    """``run(first, end)`` over 0 .. count, in as many of torch's threads as entries are worth."""
    threads = min(torch.get_num_threads(), 1 + entries // _ENTRIES_FOR_A_THREAD)
    step = max(1, -(-count // threads))
    parts = [(first, min(first + step, count)) for first in range(0, count, step)]
    others = [_pool(os.getpid()).submit(run, *part) for part in parts[1:]]
    codes = [run(*part) for part in parts[:1]] + [other.result() for other in others]
    if any(codes):
        raise MemoryError("no memory to compute rotations in")


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of this process: a fork has none of its parent's."""
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="liere-rotations")
