"""Exponentials of skew-symmetric matrices by exponential.c.

Shapes: b rows.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor

from liere_cli.rotations.kernels.compiler import REALS, ROWS, library, serves
from liere_cli.rotations.kernels.structs import POINTER, SIZE, fields
from liere_cli.rotations.kernels.threads import chunk_length, run_in_threads


def exponential_kernel(a: Tensor, polynomial: tuple[float, ...]) -> "ExponentialKernel | None":
    """The kernel for matrices like these [..., b, b]; the polynomial is y1, y2, x1, x3, x4, x5, x6,
    x7 and the largest norm that it serves.
    """
    if not serves(a) or a.shape[-1] not in ROWS:
        return None
    loaded = library("exponential", a.dtype, _Task, ROWS=a.shape[-1])
    if loaded is None:
        return None
    return ExponentialKernel(loaded, (REALS[a.dtype] * len(polynomial))(*polynomial))


class _Task(ctypes.Structure):
    """``task`` in exponential.c."""

    _fields_ = (
        *fields(POINTER, "x rotations grad result polynomial"),
        *fields(SIZE, "count next chunk"),
        *fields(ctypes.c_int, "transposed failed"),
    )


class ExponentialKernel:
    """The functions of exponential.c for matrices of one size and dtype, contiguous on a CPU.

    Every matrix is computed by itself, so results don't depend on the number of threads.
    """

    def __init__(self, library: ctypes.CDLL, polynomial: ctypes.Array[Any]) -> None:
        self._library = library
        self._polynomial = polynomial

    def exponential(self, a: Tensor) -> Tensor:
        """exp of skew-symmetric [..., b, b]; all NaN where the norm is too large for any digit."""
        rotations = torch.empty_like(a)
        self._run(self._library.exponential, a, rotations=rotations.data_ptr())
        return rotations

    def exponential_backward(
        self, a: Tensor, grad: Tensor, rotations: Tensor | None = None
    ) -> Tensor:
        """The skew part of the gradient to a, from the gradient to ``exponential``'s result.

        Args:
            grad: contiguous, or with each matrix transposed; other strides cost a copy.
            rotations: where to write the exponential, which is an intermediate result.
        """
        result = torch.empty_like(a)
        transposed = grad.mT.is_contiguous()
        grad = grad if transposed else grad.contiguous()
        self._run(
            self._library.exponential_backward,
            a,
            rotations=None if rotations is None else rotations.data_ptr(),
            grad=grad.data_ptr(),
            result=result.data_ptr(),
            transposed=transposed,
        )
        return result

    def _run(self, function: Any, a: Tensor, **fields: int | None) -> None:
        count = a.shape[:-2].numel()
        task = _Task(
            x=a.data_ptr(),
            polynomial=ctypes.addressof(self._polynomial),
            count=count,
            chunk=chunk_length(count),
            **fields,
        )
        run_in_threads(function, task, a.numel())
