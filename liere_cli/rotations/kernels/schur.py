"""Planes of skew-symmetric matrices by schur.c.

Shapes: b rows.
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from liere_cli.rotations.kernels.compiler import library, serves
from liere_cli.rotations.kernels.threads import in_threads


def spectrum_for(a: Tensor) -> "Spectra | None":
    """What finds the planes of matrices as these [..., b, b]."""
    return _spectra(a.dtype) if serves(a) else None


@cache
def _spectra(dtype: torch.dtype) -> "Spectra | None":
    made = library("schur", dtype)
    return None if made is None else Spectra(made)


class _Task(ctypes.Structure):
    """``task`` in schur.c."""

    _fields_ = (
        ("x", ctypes.c_void_p),
        ("basis", ctypes.c_void_p),
        ("rates", ctypes.c_void_p),
        ("speeds", ctypes.c_void_p),
        ("grad_basis", ctypes.c_void_p),
        ("grad_rates", ctypes.c_void_p),
        ("grad_speeds", ctypes.c_void_p),
        ("result", ctypes.c_void_p),
        ("close", ctypes.c_double),
        ("count", ctypes.c_ssize_t),
        ("rows", ctypes.c_ssize_t),
        ("taken", ctypes.c_ssize_t),
        ("met", ctypes.c_int),
        ("failed", ctypes.c_int),
    )


class Spectra:
    """The functions of schur.c, on a CPU. Every matrix is computed by itself."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def spectrum(self, a: Tensor, close: float) -> tuple[Tensor, Tensor, Tensor, bool]:
        """Q and D with A = Q D Q^T; NaN of what is not finite.

        Args:
            a: [..., b, b] skew-symmetric, b even.
            close: gap between two rates below which they count as one.

        Returns:
            Q and D, each [..., b, b], the rates in D, [..., b/2], and whether some of them are so
            close, or so close to none.
        """
        a = a.contiguous()
        basis, rates = torch.empty_like(a), torch.empty_like(a)
        speeds = a.new_empty(*a.shape[:-2], a.shape[-1] // 2)
        task = self._run(
            self._library.spectrum, basis, rates, close, x=a.data_ptr(), speeds=speeds.data_ptr()
        )
        return basis, rates, speeds, bool(task.met)

    def spectrum_back(
        self, basis: Tensor, rates: Tensor, grads: Sequence[Tensor], close: float
    ) -> Tensor:
        """The skew part of the gradient to A.

        Args:
            basis, rates, close: of ``spectrum``.
            grads: gradients to all three tensors that it returned, that to D transposed.
        """
        result = torch.empty_like(basis)
        to_basis, to_rates, to_speeds = (grad.contiguous() for grad in grads)
        self._run(
            self._library.spectrum_back,
            basis,
            rates,
            close,
            grad_basis=to_basis.data_ptr(),
            grad_rates=to_rates.data_ptr(),
            grad_speeds=to_speeds.data_ptr(),
            result=result.data_ptr(),
        )
        return result

    def _run(
        self, function: Any, basis: Tensor, rates: Tensor, close: float, **pointers: int
    ) -> _Task:
        task = _Task(
            basis=basis.data_ptr(),
            rates=rates.data_ptr(),
            close=close,
            count=basis.shape[:-2].numel(),
            rows=basis.shape[-1],
            **pointers,
        )
        in_threads(function, task, basis.numel() * basis.shape[-1])
        return task
