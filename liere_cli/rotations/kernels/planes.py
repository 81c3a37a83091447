"""Plane rotations of a projection by planes.c.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim.
"""

import ctypes
from collections.abc import Sequence

from torch import Tensor

from liere_cli.rotations.kernels.compiler import library, serves
from liere_cli.rotations.kernels.structs import POINTER, SIZE, Strided, fields
from liere_cli.rotations.kernels.threads import chunk_length, run_in_threads


def plane_kernel(qkv: Tensor, table: Tensor) -> "PlaneKernel | None":
    """The kernel that rotates neighbouring channels of a projection [B, S, 3, N, H] by cosines and
    sines [N or 1, T, H/2, 2].
    """
    if not serves(qkv, table) or not qkv.is_contiguous():
        return None
    loaded = library("planes", qkv.dtype, _Task, Strided)
    return None if loaded is None else PlaneKernel(loaded)


class _Task(ctypes.Structure):
    """``task`` in planes.c."""

    _fields_ = (
        *fields(POINTER, "qkv grad cross dot table"),
        ("table_head", SIZE),
        ("parts", Strided * 3),
        *fields(SIZE, "batch tokens prefix heads channels chunk next"),
    )


class PlaneKernel:
    """The functions of planes.c, on a CPU.

    Every sum is over the examples of one token, so results don't depend on the number of threads.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def rotate(self, qkv: Tensor, table: Tensor) -> None:
        """Rotates queries and keys of a contiguous projection in place; the first S - T tokens stay
        unchanged.
        """
        table = table.contiguous()
        run_in_threads(self._library.rotate, self._task(qkv, table), qkv.numel())

    def rotate_backward(
        self, grads: Sequence[Tensor], table: Tensor, rotated: Tensor | None, *sums: str
    ) -> tuple[Tensor, ...]:
        """The gradient to the input of ``rotate``, and sums over examples, queries and keys.

        Args:
            grads: gradients g to rotated queries, rotated keys and values, each [B, N, S, H].
            rotated: y, the output of ``rotate``, if ``sums`` are requested.
            sums: ``cross``, y1 g2 - y2 g1 of a plane, the gradient to its angle; ``dot``, y . g.

        Returns:
            [B, S, 3, N, H], and for each sum [N, T, H/2].
        """
        batch, heads, length, channels = grads[0].shape
        table = table.contiguous()
        grads = [grad if grad.stride(-1) == 1 else grad.contiguous() for grad in grads]
        result = table.new_empty(batch, length, 3, heads, channels)
        task = self._task(result if rotated is None else rotated, table)
        task.grad = result.data_ptr()
        for part, grad in zip(task.parts, grads, strict=True):
            part.point_to(grad, length)
        totals = [table.new_empty(heads, table.shape[1], channels // 2) for _ in sums]
        for name, total in zip(sums, totals, strict=True):
            setattr(task, name, total.data_ptr())
        run_in_threads(self._library.rotate_backward, task, result.numel())
        return result, *totals

    def _task(self, qkv: Tensor, table: Tensor) -> _Task:
        batch, length, _, heads, channels = qkv.shape
        return _Task(
            qkv=qkv.data_ptr(),
            table=table.data_ptr(),
            table_head=table[0].numel() if len(table) > 1 else 0,
            batch=batch,
            tokens=length,
            prefix=length - table.shape[1],
            heads=heads,
            channels=channels,
            chunk=chunk_length(length),
        )
