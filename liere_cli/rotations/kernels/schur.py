"""Real Schur form of skew-symmetric matrices by schur.c.

Shapes: b rows.
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from liere_cli.rotations.kernels.compiler import library, serves
from liere_cli.rotations.kernels.threads import run_in_threads


def schur_kernel(a: Tensor) -> "SchurKernel | None":
    """The kernel for matrices like these [..., b, b]."""
    return _schur_kernel(a.dtype) if serves(a) else None


@cache
def _schur_kernel(dtype: torch.dtype) -> "SchurKernel | None":
    loaded = library("schur", dtype, _Task)
    return None if loaded is None else SchurKernel(loaded)


class _Task(ctypes.Structure):
    """``task`` in schur.c."""

    _fields_ = (
        ("x", ctypes.c_void_p),
        ("basis", ctypes.c_void_p),
        ("quasi_diagonal", ctypes.c_void_p),
        ("frequencies", ctypes.c_void_p),
        ("grad_basis", ctypes.c_void_p),
        ("grad_diagonal", ctypes.c_void_p),
        ("grad_frequencies", ctypes.c_void_p),
        ("result", ctypes.c_void_p),
        ("min_gap", ctypes.c_double),
        ("count", ctypes.c_ssize_t),
        ("rows", ctypes.c_ssize_t),
        ("next", ctypes.c_ssize_t),
        ("any_close", ctypes.c_int),
        ("failed", ctypes.c_int),
    )


class SchurKernel:
    """The functions of schur.c, on a CPU. Every matrix is computed by itself."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def real_schur(self, a: Tensor, min_gap: float) -> tuple[Tensor, Tensor, Tensor, bool]:
        """Q and D with A = Q D Q^T; NaN for matrices that are not finite.

        Args:
            a: [..., b, b] skew-symmetric, b even.
            min_gap: difference below which two frequencies are treated as equal.

        Returns:
            Q and D, each [..., b, b], the frequencies in D, [..., b/2], and whether any two of them
            are closer than that to each other, or their sum to 0.
        """
        a = a.contiguous()
        basis, quasi_diagonal = torch.empty_like(a), torch.empty_like(a)
        frequencies = a.new_empty(*a.shape[:-2], a.shape[-1] // 2)
        task = self._run(
            self._library.real_schur,
            basis,
            quasi_diagonal,
            min_gap,
            x=a.data_ptr(),
            frequencies=frequencies.data_ptr(),
        )
        return basis, quasi_diagonal, frequencies, bool(task.any_close)

    def real_schur_backward(
        self, basis: Tensor, quasi_diagonal: Tensor, grads: Sequence[Tensor], min_gap: float
    ) -> Tensor:
        """The skew part of the gradient to A.

        Args:
            basis, quasi_diagonal, min_gap: of ``real_schur``.
            grads: gradients to the three tensors that it returned, that to D transposed.
        """
        result = torch.empty_like(basis)
        grad_basis, grad_diagonal, grad_frequencies = (grad.contiguous() for grad in grads)
        self._run(
            self._library.real_schur_backward,
            basis,
            quasi_diagonal,
            min_gap,
            grad_basis=grad_basis.data_ptr(),
            grad_diagonal=grad_diagonal.data_ptr(),
            grad_frequencies=grad_frequencies.data_ptr(),
            result=result.data_ptr(),
        )
        return result

    def _run(
        self, function: Any, basis: Tensor, quasi_diagonal: Tensor, min_gap: float, **pointers: int
    ) -> _Task:
        task = _Task(
            basis=basis.data_ptr(),
            quasi_diagonal=quasi_diagonal.data_ptr(),
            min_gap=min_gap,
            count=basis.shape[:-2].numel(),
            rows=basis.shape[-1],
            **pointers,
        )
        run_in_threads(function, task, basis.numel() * basis.shape[-1])
        return task
