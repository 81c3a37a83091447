"""What every rotation is computed in, and the checks that keep wrong input out of the kernels."""

import torch
from torch import Tensor

from liere_cli.errors import UsageError


def full_precision(x: Tensor) -> torch.autocast:
    """Switches autocast off on the device of ``x``: angles and generators lose too much to it."""
    return torch.autocast(x.device.type, enabled=False)


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, float32 for everything narrower."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_floating(x: Tensor, what: str) -> None:
    """Raises UsageError unless ``x`` is float32 or float64."""
    if x.dtype not in (torch.float32, torch.float64):
        raise UsageError(f"{what} must be float32 or float64, not {_dtype_name(x.dtype)}")


def check_square(a: Tensor) -> None:
    """Raises UsageError unless ``a`` is [..., b, b] of float32 or float64; looks at no value."""
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise UsageError(f"generators must be square matrices, not of shape {list(a.shape)}")
    check_floating(a, "generators")


def check_generators(a: Tensor, tolerance: float = 1e-5) -> None:
    """Looks at the values, which waits for the device: for tests and user code, not for a step.

    Args:
        a: [..., b, b] float32 or float64.
        tolerance: allowed deviation from skew symmetry, relative to the largest entry.

    Raises:
        UsageError: not square, of another dtype, not finite, or not skew-symmetric.
    """
    check_square(a)
    if not bool(torch.isfinite(a).all()):
        raise UsageError("generators must be finite, but some entries are infinite or not a number")
    if a.numel() and bool((a + a.mT).abs().max() > tolerance * a.abs().max()):
        raise UsageError("generators must be skew-symmetric: their transpose is not their negative")


def check_heads(x: Tensor) -> None:
    """Raises UsageError unless ``x`` is [B, N, S, H] of a floating dtype."""
    if x.ndim != 4:
        raise UsageError(
            f"queries and keys must be [batch, heads, tokens, head_dim], not {list(x.shape)}"
        )
    if not x.dtype.is_floating_point:
        raise UsageError(f"queries and keys must be floating point, not {_dtype_name(x.dtype)}")


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
