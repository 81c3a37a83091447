"""Exponentials of skew-symmetric matrices by exponential.c.

Shapes: G matrices, b rows.
"""

import ctypes
from functools import cache
from typing import Any

import torch
from torch import Tensor

from liere_cli.rotations.kernels.compiler import REALS, ROWS, library, serves
from liere_cli.rotations.kernels.threads import in_threads, share


def exponential_for(a: Tensor, series: tuple[float, ...]) -> "Exponentials | None":
    """What exponentiates matrices as these [..., b, b].

    Args:
        series: y1, y2, x1, x3, x4, x5, x6, x7 of a polynomial and the norm that it reaches.
    """
    if not serves(a) or a.shape[-1] not in ROWS:
        return None
    return _exponentials(a.shape[-1], a.dtype, series)


@cache
def _exponentials(
    rows: int, dtype: torch.dtype, series: tuple[float, ...]
) -> "Exponentials | None":
    made = library("exponential", dtype, ROWS=rows)
    if made is None:
        return None
    return Exponentials(made, (REALS[dtype].ctype * len(series))(*series))


class _Task(ctypes.Structure):
    """``task`` in exponential.c."""

    _fields_ = (
        ("x", ctypes.c_void_p),
        ("rotations", ctypes.c_void_p),
        ("grad", ctypes.c_void_p),
        ("result", ctypes.c_void_p),
        ("series", ctypes.c_void_p),
        ("count", ctypes.c_ssize_t),
        ("taken", ctypes.c_ssize_t),
        ("at_a_time", ctypes.c_ssize_t),
        ("transposed", ctypes.c_int),
        ("failed", ctypes.c_int),
    )


class Exponentials:
    """The functions of exponential.c for matrices of one size and dtype, contiguous on a CPU.

    Every matrix is computed by itself, so results don't depend on the number of threads.
    """

    def __init__(self, library: ctypes.CDLL, series: ctypes.Array[Any]) -> None:
        self._library = library
        self._series = series

    def exponential(self, a: Tensor) -> Tensor:
        """exp of skew-symmetric [..., b, b]; all NaN where a norm is beyond any use."""
        rotations = torch.empty_like(a)
        self._run(self._library.exponential, a, rotations=rotations.data_ptr())
        return rotations

    def exponential_back(self, a: Tensor, grad: Tensor, rotations: Tensor | None = None) -> Tensor:
        """The skew part of the gradient to a from that to ``exponential``'s result.

        Args:
            grad: contiguous or, which costs no copy either, with its matrices transposed.
            rotations: where to write that result, which the way back comes across.
        """
        result = torch.empty_like(a)
        transposed = grad.mT.is_contiguous()
        grad = grad if transposed else grad.contiguous()
        self._run(
            self._library.exponential_back,
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
            series=ctypes.addressof(self._series),
            count=count,
            at_a_time=share(count),
            **fields,
        )
        in_threads(function, task, a.numel())
