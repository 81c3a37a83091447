"""Application of block rotations by blocks_device.py.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim = n * b for
n blocks of b rows.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from liere_cli.rotations.kernels.triton.support import device_code, power_of_two, serves, tile_of
from liere_cli.rotations.precision import full_precision

#: largest number of rows that kernels are compiled for
MAX_ROWS = 64
#: examples that a program takes at a time
BATCH = 64
#: how products of float32 tiles are computed, see ``tiles_device.product``
PRECISION = "tf32x3"
#: dtypes of queries and keys
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def block_kernel(rotations: Tensor, x: Tensor) -> "BlockKernel | None":
    """The kernel that applies float32 rotations [N or 1, n, T, b, b] to tensors like x
    [B, N, S, n*b].
    """
    served = rotations.dtype == torch.float32 and x.dtype in DTYPES
    served = served and 2 <= rotations.shape[-1] <= MAX_ROWS
    return BlockKernel() if served and serves(x, rotations) else None


class BlockKernel:
    """The operations of blocks_device.py, as ``kernels.blocks.BlockKernel``: products are float32
    and rounded once.
    """

    def rotate(self, rotations: Tensor, xs: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """Writes R x of the last T tokens to ``targets``, which may be ``xs``; rotations are
        [N or 1, n, T, b, b], contiguous.
        """
        for x, target in zip(xs, targets, strict=True):
            if x is target:
                _rotate_in_place(rotations, target)
            else:
                _rotate(rotations, x, target, False)

    def rotate_backward(
        self,
        rotations: Tensor,
        grads: Sequence[Tensor],
        targets: Sequence[Tensor],
        saved: Sequence[Tensor] | None,
        *,
        saved_output: bool,
    ) -> Tensor | None:
        """Writes R^T g of the last T tokens to ``targets``; returns the gradient to the rotations,
        or None without ``saved``, the output of the forward pass with ``saved_output``, else its
        input.
        """
        if saved is None:
            for grad, target in zip(grads, targets, strict=True):
                _rotate(rotations, grad, target, True)
            return None
        total = torch.empty_like(rotations)
        for index, (grad, target, x) in enumerate(zip(grads, targets, saved, strict=True)):
            _rotate_backward(rotations, grad, target, x, total, index > 0)
        if not saved_output:
            return total
        # with y = R x, g x^T = g y^T R
        with full_precision(total):
            return total @ rotations


def constants(rotations: Tensor, batch: int, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments that kernels are compiled for."""
    tile, padded = tile_of(rotations.shape[-1])
    # float32 takes more registers
    most = BATCH // 2 if dtype == torch.float32 else BATCH
    return {
        "SHARED": len(rotations) == 1,
        "ROWS": rotations.shape[-1],
        "PADDED": padded,
        "TILE": tile,
        "BATCH": min(most, max(16, power_of_two(batch))),
        "PRECISION": PRECISION,
    }


def warps(rotations: Tensor) -> int:
    """Warps of a program: as many as its tiles need registers for."""
    return 8 if tile_of(rotations.shape[-1])[0] == 64 else 4


def _groups(rotations: Tensor) -> int:
    """Groups of neighbouring blocks that share a tile."""
    tile, padded = tile_of(rotations.shape[-1])
    return -(-rotations.shape[1] // (tile // padded))


@torch.library.custom_op("liere::rotate_blocks", mutates_args=("target",))
def _rotate(rotations: Tensor, x: Tensor, target: Tensor, inverse: bool) -> None:
    _launch_rotate(rotations, x, target, inverse)


@torch.library.custom_op("liere::rotate_blocks_", mutates_args=("x",))
def _rotate_in_place(rotations: Tensor, x: Tensor) -> None:
    _launch_rotate(rotations, x, x, False)


def _launch_rotate(rotations: Tensor, x: Tensor, target: Tensor, inverse: bool) -> None:
    device = device_code("blocks")
    blocks, tokens = rotations.shape[1:3]
    batch, heads = x.shape[:2]
    if not (batch and heads and tokens and blocks):
        return
    given = constants(rotations, batch, x.dtype)
    # heads of one rotation share its tile in the cache
    grid = tokens * _groups(rotations), heads, -(-batch // given["BATCH"])
    device.rotate[grid](
        *(rotations, _positioned(x, tokens), _positioned(target, tokens), batch, tokens, blocks),
        *(*x.stride()[:3], *target.stride()[:3]),
        **given,
        INVERSE=inverse,
        num_warps=warps(rotations),
    )


@torch.library.custom_op("liere::rotate_blocks_backward", mutates_args=("target", "total"))
def _rotate_backward(
    rotations: Tensor,
    grad: Tensor,
    target: Tensor,
    saved: Tensor,
    total: Tensor,
    add: bool,
) -> None:
    device = device_code("blocks")
    rotation_heads, blocks, tokens = rotations.shape[:3]
    batch, heads = grad.shape[:2]
    if not rotations.numel():
        return
    device.rotate_backward[(tokens * _groups(rotations), rotation_heads)](
        rotations,
        *(_positioned(x, tokens) for x in (grad, target, saved)),
        *(total, batch, heads, tokens, blocks),
        *(*grad.stride()[:3], *target.stride()[:3], *saved.stride()[:3]),
        **constants(rotations, batch, grad.dtype),
        ADD=add,
        num_warps=warps(rotations),
        num_stages=2,
    )


for _operator in (_rotate, _rotate_in_place, _rotate_backward):
    _operator.register_fake(lambda *args: None)


def _positioned(x: Tensor, tokens: int) -> Tensor:
    """The tokens with a position, at the end of [B, N, S, H]."""
    return x[:, :, x.shape[2] - tokens :]
