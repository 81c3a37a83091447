"""Precision of rotations, and checks of their inputs."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from liere_cli.errors import UsageError


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Disables reduced precision of float32, which is too inaccurate for angles and generators.

    Disables autocast on the device of ``x``, and the products in TF32 or bfloat16 that
    ``torch.set_float32_matmul_precision("high")`` or ``("medium")`` allows, whose relative error is
    0.01 after a few squarings. Under torch.compile the process's setting of products applies.
    """
    uncast = torch.autocast(x.device.type, enabled=False)
    narrow = ("tf32", "bf16")
    if not torch.compiler.is_compiling() and any(
        setting.fp32_precision in narrow for setting in _product_settings()
    ):
        return _exact_products(uncast)
    return uncast


def _product_settings() -> tuple[Any, ...]:
    return torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]


@contextmanager
def _exact_products(uncast: torch.autocast) -> Iterator[None]:
    settings = _product_settings()
    before = [setting.fp32_precision for setting in settings]
    try:
        overall = torch.get_float32_matmul_precision()
    except RuntimeError:  # raised if backends have different settings
        overall = None
    torch.set_float32_matmul_precision("highest")
    try:
        with uncast:
            yield
    finally:
        if overall is not None:
            torch.set_float32_matmul_precision(overall)
        for setting, value in zip(settings, before, strict=True):
            if setting.fp32_precision != value:
                setting.fp32_precision = value


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, float32 for everything narrower."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_floating(x: Tensor, what: str) -> None:
    """Raises UsageError unless ``x`` is float32 or float64."""
    if x.dtype not in (torch.float32, torch.float64):
        narrow = _dtype_name(x.dtype)
        raise UsageError(f"{what} must be float32 or float64, not {narrow}: convert by .float()")


def check_square(a: Tensor) -> None:
    """Raises UsageError unless ``a`` is [..., b, b] of float32 or float64; does not read values."""
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise UsageError(f"generators must be square matrices, not of shape {list(a.shape)}")
    check_floating(a, "generators")


def check_generators(a: Tensor, tolerance: float = 1e-5) -> None:
    """Checks values of [..., b, b], which waits for the device: not for training steps.

    Args:
        tolerance: allowed deviation from skew symmetry, relative to the largest entry.

    Raises:
        UsageError: not square, not float32 or float64, not finite, or not skew-symmetric.
    """
    check_square(a)
    if not bool(torch.isfinite(a).all()):
        raise UsageError("generators must be finite, but some entries are infinite or not a number")
    if a.numel() and bool((a + a.mT).abs().max() > tolerance * a.abs().max()):
        raise UsageError("generators must be skew-symmetric: their transpose is not their negative")


def check_heads(x: Tensor) -> None:
    """Raises UsageError unless ``x`` is [B, N, S, H] of a floating dtype."""
    if x.ndim != 4:
        expected = "[batch, heads, tokens, head_dim]"
        raise UsageError(f"queries and keys must be {expected}, not {list(x.shape)}")
    if not x.dtype.is_floating_point:
        raise UsageError(f"queries and keys must be floating point, not {_dtype_name(x.dtype)}")


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
