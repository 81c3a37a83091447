"""Application of block rotations by blocks.c.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim = n * b for
n blocks of b rows.
"""

import ctypes
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from liere_cli.rotations.kernels.compiler import ROWS, library, serves
from liere_cli.rotations.kernels.structs import Strided
from liere_cli.rotations.kernels.threads import chunk_length, run_in_threads


def block_kernel(rotations: Tensor, x: Tensor) -> "BlockKernel | None":
    """The kernel that applies rotations [N or 1, n, T, b, b] to tensors like x [B, N, S, n*b]."""
    if not serves(x, rotations) or rotations.shape[-1] not in ROWS:
        return None
    return _block_kernel(rotations.shape[-1], x.dtype)


@cache
def _block_kernel(rows: int, dtype: torch.dtype) -> "BlockKernel | None":
    loaded = library("blocks", dtype, _Task, Strided, ROWS=rows)
    return None if loaded is None else BlockKernel(loaded)


class _Task(ctypes.Structure):
    """``task`` in blocks.c."""

    _fields_ = (
        ("source", Strided * 2),
        ("target", Strided * 2),
        ("saved", Strided * 2),
        ("rotations", ctypes.c_void_p),
        ("grad", ctypes.c_void_p),
        ("parts", ctypes.c_ssize_t),
        ("batch", ctypes.c_ssize_t),
        ("heads", ctypes.c_ssize_t),
        ("rotation_heads", ctypes.c_ssize_t),
        ("tokens", ctypes.c_ssize_t),
        ("blocks", ctypes.c_ssize_t),
        ("next", ctypes.c_ssize_t),
        ("chunk", ctypes.c_ssize_t),
        ("saved_output", ctypes.c_int),
        ("failed", ctypes.c_int),
    )


class BlockKernel:
    """The functions of blocks.c for blocks of one size and dtype, on a CPU.

    Tensors are one or two of one shape, [B, N, S, n*b], with contiguous channels; the last T of
    their tokens are rotated, the others are neither read nor written. Every sum is over all rows of
    one rotation, so results don't depend on the number of threads.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def rotate(self, rotations: Tensor, xs: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """R x of every token.

        Args:
            rotations: [N or 1, n, T, b, b], contiguous.
            targets: where to write; may be ``xs``.
        """
        self._run("rotate", rotations, xs, targets)

    def rotate_backward(
        self,
        rotations: Tensor,
        grads: Sequence[Tensor],
        targets: Sequence[Tensor],
        saved: Sequence[Tensor] | None,
        *,
        saved_output: bool,
    ) -> Tensor | None:
        """R^T g of every token.

        Args:
            grads: gradients to the rotated tensors.
            targets: where to write gradients to the tensors before rotation.
            saved: the tensors of the forward pass, if rotations need a gradient.
            saved_output: ``saved`` holds its output, not its input.

        Returns:
            The gradient to the rotations, [N or 1, n, T, b, b], or None.
        """
        grad = None if saved is None else torch.empty_like(rotations)
        self._run(
            "rotate_backward",
            rotations,
            grads,
            targets,
            saved or (),
            grad=None if grad is None else grad.data_ptr(),
            saved_output=saved_output,
        )
        return grad

    def _run(
        self,
        name: str,
        rotations: Tensor,
        sources: Sequence[Tensor],
        targets: Sequence[Tensor],
        saved: Sequence[Tensor] = (),
        grad: int | None = None,
        saved_output: bool = False,
    ) -> None:
        rotation_heads, blocks, tokens, _, _ = rotations.shape
        batch, heads = sources[0].shape[:2]
        task = _Task(
            rotations=rotations.data_ptr(),
            grad=grad,
            parts=len(sources),
            batch=batch,
            heads=heads,
            rotation_heads=rotation_heads,
            tokens=tokens,
            blocks=blocks,
            chunk=chunk_length(rotation_heads * tokens),
            saved_output=saved_output,
        )
        for fields, tensors in (
            (task.source, sources),
            (task.target, targets),
            (task.saved, saved),
        ):
            for field, tensor in zip(fields, tensors, strict=False):
                field.point_to(tensor, tokens)
        run_in_threads(self._library[name], task, sources[0].numel())
