"""Plane rotations of a projection by planes_device.py.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from liere_cli.rotations.kernels.triton.support import device_code, power_of_two, serves

#: largest number of channels of a head
MAX_CHANNELS = 256
#: dtypes of queries and keys
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def plane_kernel(qkv: Tensor, table: Tensor, *, half_split: bool) -> "PlaneKernel | None":
    """The kernel that rotates pairs of channels of a projection [B, S, 3, N, H] by float32 cosines
    and sines [N or 1, T, H/2, 2].
    """
    served = qkv.dtype in DTYPES and table.dtype == torch.float32 and qkv.is_contiguous()
    served = served and 2 <= qkv.shape[-1] <= MAX_CHANNELS
    return PlaneKernel(half_split) if served and serves(qkv, table) else None


class PlaneKernel:
    """The operations of planes_device.py, as ``kernels.planes.PlaneKernel``: arithmetic is float32
    with one rounding at the end.
    """

    def __init__(self, half_split: bool) -> None:
        self._half_split = half_split

    def rotate(self, qkv: Tensor, table: Tensor) -> None:
        """Rotates queries and keys of a contiguous projection in place; the first S - T tokens stay
        unchanged.
        """
        _rotate(qkv, table.contiguous(), self._half_split)

    def rotate_backward(
        self, grads: Sequence[Tensor], table: Tensor, rotated: Tensor | None, *sums: str
    ) -> tuple[Tensor, ...]:
        """The gradient to the input of ``rotate``, [B, S, 3, N, H], from those to queries, keys and
        values, each [B, N, S, H], and of ``cross`` and ``dot`` those that are requested, float32
        [N, T, H/2], from ``rotated``, the output of ``rotate``.
        """
        q, k, v = (grad if grad.stride(-1) == 1 else grad.contiguous() for grad in grads)
        saved = rotated if sums else None
        grad, cross, dot = _rotate_backward(q, k, v, table.contiguous(), saved, self._half_split)
        totals = {"cross": cross, "dot": dot}
        return grad, *(totals[name] for name in sums)


def constants(channels: int, batch: int, half_split: bool) -> dict[str, Any]:
    """Arguments that kernels are compiled for."""
    planes = power_of_two(channels // 2)
    return {
        "PLANES": planes,
        "BATCH": min(power_of_two(batch), max(1, 512 // planes)),
        "HALF_SPLIT": half_split,
    }


@torch.library.custom_op("liere::rotate_planes_", mutates_args=("qkv",))
def _rotate(qkv: Tensor, table: Tensor, half_split: bool) -> None:
    device = device_code("planes")
    batch, length, _, heads, channels = qkv.shape
    tokens = table.shape[1]
    if not qkv.numel() or not tokens:
        return
    given = constants(channels, batch, half_split)
    device.rotate[(tokens * heads, -(-batch // given["BATCH"]), 2)](
        *(qkv, table, batch, tokens, length - tokens, heads, channels, _head_stride(table)),
        **given,
        num_warps=2,
    )


@_rotate.register_fake
def _(qkv: Tensor, table: Tensor, half_split: bool) -> None:
    return None


@torch.library.custom_op("liere::rotate_planes_backward", mutates_args=())
def _rotate_backward(
    q: Tensor, k: Tensor, v: Tensor, table: Tensor, saved: Tensor | None, half_split: bool
) -> tuple[Tensor, Tensor, Tensor]:
    device = device_code("planes")
    batch, heads, length, channels = q.shape
    tokens = table.shape[1]
    grad, cross, dot = _outputs(q, table, saved)
    if not length or not heads:
        return grad, cross, dot
    device.rotate_backward[(length * heads,)](
        *(q, k, v, grad, grad if saved is None else saved, table, cross, dot),
        *(batch, tokens, length - tokens, heads, channels, _head_stride(table)),
        *(*q.stride()[:3], *k.stride()[:3], *v.stride()[:3]),
        **constants(channels, batch, half_split),
        SUMS=saved is not None,
        num_warps=4,
    )
    return grad, cross, dot


@_rotate_backward.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, table: Tensor, saved: Tensor | None, half_split: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return _outputs(q, table, saved)


def _outputs(q: Tensor, table: Tensor, saved: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient, and both sums; these are empty where nothing is saved to compute them from."""
    batch, heads, length, channels = q.shape
    grad = q.new_empty(batch, length, 3, heads, channels)
    shape = (0,) if saved is None else (heads, table.shape[1], channels // 2)
    return grad, table.new_empty(shape), table.new_empty(shape)


def _head_stride(table: Tensor) -> int:
    """Entries between the tables of two heads; 0 if they share one."""
    return table[0].numel() if len(table) > 1 else 0
