"""Application of block rotations by blocks.c.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim = n * b for
n blocks of b rows.
"""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from liere_cli.rotations.kernels.compiler import ROWS, library, serves
from liere_cli.rotations.kernels.structs import POINTER, SIZE, Strided, fields
from liere_cli.rotations.kernels.threads import chunk_length, run_in_threads


def block_kernel(rotations: Tensor, x: Tensor) -> "BlockKernel | None":
    """The kernel that applies rotations [N or 1, n, T, b, b] to tensors like x [B, N, S, n*b]."""
    if not serves(x, rotations) or rotations.shape[-1] not in ROWS:
        return None
    loaded = library("blocks", x.dtype, _Task, Strided, ROWS=rotations.shape[-1])
    return None if loaded is None else BlockKernel(loaded)


class _Task(ctypes.Structure):
    """``task`` in blocks.c."""

    _fields_ = (
        *fields(Strided * 2, "source target saved"),
        *fields(POINTER, "rotations grad"),
        *fields(SIZE, "parts batch heads rotation_heads tokens blocks next chunk"),
        *fields(ctypes.c_int, "saved_output failed"),
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
        """Writes R x of every token to ``targets``, which may be ``xs``; rotations are
        [N or 1, n, T, b, b], contiguous.
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
        """Writes R^T g of every token to ``targets``.

        Args:
            saved: the tensors of the forward pass, if rotations need a gradient: its output with
                ``saved_output``, else its input.

        Returns:
            The gradient to the rotations, [N or 1, n, T, b, b], or None.
        """
        grad = None if saved is None else torch.empty_like(rotations)
        pointer = None if grad is None else grad.data_ptr()
        task = {"grad": pointer, "saved_output": saved_output}
        self._run("rotate_backward", rotations, grads, targets, saved or (), **task)
        return grad

    def _run(
        self,
        name: str,
        rotations: Tensor,
        sources: Sequence[Tensor],
        targets: Sequence[Tensor],
        saved: Sequence[Tensor] = (),
        **fields: int | None,
    ) -> None:
        rotation_heads, blocks, tokens, _, _ = rotations.shape
        batch, heads = sources[0].shape[:2]
        task = _Task(
            rotations=rotations.data_ptr(),
            parts=len(sources),
            batch=batch,
            heads=heads,
            rotation_heads=rotation_heads,
            tokens=tokens,
            blocks=blocks,
            chunk=chunk_length(rotation_heads * tokens),
            **fields,
        )
        parts = (task.source, sources), (task.target, targets), (task.saved, saved)
        for views, tensors in parts:
            for view, tensor in zip(views, tensors, strict=False):
                view.point_to(tensor, tokens)
        run_in_threads(getattr(self._library, name), task, sources[0].numel())
