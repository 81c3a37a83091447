"""Where Triton's kernels can be used, and what all of them share."""

import importlib
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from liere_cli.rotations.kernels.compiler import are_disabled

#: whether Triton can be imported; it is not, as that takes a second
INSTALLED = importlib.util.find_spec("triton") is not None
#: whether kernels run on CPU tensors, in Triton's interpreter
INTERPRETED = INSTALLED and os.environ.get("TRITON_INTERPRET") == "1"
#: compute capability from which tensor cores multiply bfloat16 and TF32
CAPABILITY = (8, 0)
#: whether all kernels are assumed to be available for CUDA tensors, for ``assume_available``
_assumed = False


@contextmanager
def assume_available() -> Iterator[None]:
    """Selects Triton's kernels for CUDA and meta tensors, to count operations without values on a
    machine without a GPU. Not thread-safe.
    """
    global _assumed
    before, _assumed = _assumed, True
    try:
        yield
    finally:
        _assumed = before


def serves(*tensors: Tensor) -> bool:
    """Whether Triton's kernels can read the tensors: plain ones on one GPU, or on a CPU in Triton's
    interpreter.
    """
    device = tensors[0].device
    compiling = torch.compiler.is_compiling()
    if not compiling and are_disabled():
        return False
    if any(x.device != device for x in tensors):
        return False
    if not (compiling or _assumed or all(type(x) in (Tensor, nn.Parameter) for x in tensors)):
        return False
    if device.type == "cpu":
        return INTERPRETED
    if _assumed:
        return device.type in ("cuda", "meta")
    return device.type == "cuda" and INSTALLED and _is_capable(device.index)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _is_capable(index: int | None) -> bool:
    return torch.version.hip is None and torch.cuda.get_device_capability(index) >= CAPABILITY


def device_code(name: str) -> Any:
    """The module of that name that Triton compiles, imported at the first launch."""
    return importlib.import_module(f"liere_cli.rotations.kernels.triton.{name}_device")


def processors(x: Tensor) -> int:
    """Multiprocessors of the device of a tensor; two in the interpreter, so that loops repeat."""
    if x.device.type != "cuda":
        return 2
    return int(torch.cuda.get_device_properties(x.device).multi_processor_count)


def power_of_two(count: int) -> int:
    """The smallest power of two that is at least ``count``."""
    return 1 << (count - 1).bit_length()


def tile_of(rows: int) -> tuple[int, int]:
    """Rows of the tile in which matrices of so many rows are multiplied, at least the 16 of tensor
    cores, and rows that each matrix takes in it: small ones are put side by side on its diagonal.
    """
    padded = power_of_two(rows)
    return max(16, padded), padded
