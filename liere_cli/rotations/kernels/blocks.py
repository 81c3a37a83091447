"""Application of rotations of blocks by blocks.c.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim = n * b for
n blocks of b rows.
"""

import ctypes
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from liere_cli.rotations.kernels.compiler import ROWS, library, serves
from liere_cli.rotations.kernels.strided import Strided
from liere_cli.rotations.kernels.threads import in_threads, share


def blocks_for(rotations: Tensor, x: Tensor) -> "Blocks | None":
    """What turns tensors as x [B, N, S, n*b] by rotations [N or 1, n, T, b, b]."""
    if not serves(x, rotations) or rotations.shape[-1] not in ROWS:
        return None
    return _blocks(rotations.shape[-1], x.dtype)


@cache
def _blocks(rows: int, dtype: torch.dtype) -> "Blocks | None":
    made = library("blocks", dtype, ROWS=rows)
    return None if made is None else Blocks(made)


class _Task(ctypes.Structure):
    """``task`` in blocks.c."""

    _fields_ = (
        ("from_", Strided * 2),
        ("to", Strided * 2),
        ("kept", Strided * 2),
        ("rotations", ctypes.c_void_p),
        ("grad", ctypes.c_void_p),
        ("parts", ctypes.c_ssize_t),
        ("batch", ctypes.c_ssize_t),
        ("heads", ctypes.c_ssize_t),
        ("rotation_heads", ctypes.c_ssize_t),
        ("tokens", ctypes.c_ssize_t),
        ("blocks", ctypes.c_ssize_t),
        ("taken", ctypes.c_ssize_t),
        ("at_a_time", ctypes.c_ssize_t),
        ("after", ctypes.c_int),
        ("failed", ctypes.c_int),
    )


class Blocks:
    """The functions of blocks.c for blocks of one size and dtype, on a CPU.

    Tensors are one or two of one shape, [B, N, S, n*b], with channels side by side; of their tokens
    the last T are turned, others are not looked at. Every sum is over all rows of one rotation, so
    results don't depend on the number of threads.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def turn(self, rotations: Tensor, xs: Sequence[Tensor], to: Sequence[Tensor]) -> None:
        """R x of every token.

        Args:
            rotations: [N or 1, n, T, b, b], contiguous.
            to: where to write; may be ``xs``.
        """
        self._run("turn", rotations, xs, to)

    def turn_back(
        self,
        rotations: Tensor,
        grads: Sequence[Tensor],
        to: Sequence[Tensor],
        kept: Sequence[Tensor] | None,
        *,
        after: bool,
    ) -> Tensor | None:
        """R^T g of every token.

        Args:
            grads: gradients to what was turned.
            to: where to write gradients to what it was before.
            kept: what was turned, if rotations are to have a gradient.
            after: it is kept as it was after turning, not before.

        Returns:
            The gradient to the rotations, [N or 1, n, T, b, b], or None.
        """
        grad = None if kept is None else torch.empty_like(rotations)
        pointer = None if grad is None else grad.data_ptr()
        self._run("turn_back", rotations, grads, to, kept or (), grad=pointer, after=after)
        return grad

    def _run(
        self,
        name: str,
        rotations: Tensor,
        sources: Sequence[Tensor],
        targets: Sequence[Tensor],
        kept: Sequence[Tensor] = (),
        grad: int | None = None,
        after: bool = False,
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
            at_a_time=share(rotation_heads * tokens),
            after=after,
        )
        for places, tensors in ((task.from_, sources), (task.to, targets), (task.kept, kept)):
            for place, tensor in zip(places, tensors, strict=False):
                place.point_to(tensor, tokens)
        in_threads(self._library[name], task, sources[0].numel())
