"""Real Schur form of skew-symmetric matrices by schur.c.

Shapes: b rows.
"""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from liere_cli.rotations.kernels.compiler import library, serves
from liere_cli.rotations.kernels.structs import POINTER, SIZE, fields
from liere_cli.rotations.kernels.threads import run_in_threads


def schur_kernel(a: Tensor) -> "SchurKernel | None":
    """The kernel for matrices like these [..., b, b]."""
    loaded = library("schur", a.dtype, _Task) if serves(a) else None
    return None if loaded is None else SchurKernel(loaded)


class _Task(ctypes.Structure):
    """``task`` in schur.c."""

    _fields_ = (
        *fields(POINTER, "x basis quasi_diagonal frequencies"),
        *fields(POINTER, "grad_basis grad_diagonal grad_frequencies result"),
        ("min_gap", ctypes.c_double),
        *fields(SIZE, "count rows next"),
        *fields(ctypes.c_int, "any_close failed"),
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
        inputs = {"x": a, "frequencies": frequencies}
        task = self._run("real_schur", basis, quasi_diagonal, min_gap, inputs)
        return basis, quasi_diagonal, frequencies, bool(task.any_close)

    def real_schur_backward(
        self, basis: Tensor, quasi_diagonal: Tensor, grads: Sequence[Tensor], min_gap: float
    ) -> Tensor:
        """The skew part of the gradient to A, from gradients to the three tensors that
        ``real_schur`` returned, that to D transposed.
        """
        tensors = {"result": torch.empty_like(basis)}
        for name, grad in zip(("basis", "diagonal", "frequencies"), grads, strict=True):
            tensors[f"grad_{name}"] = grad.contiguous()
        self._run("real_schur_backward", basis, quasi_diagonal, min_gap, tensors)
        return tensors["result"]

    def _run(
        self,
        name: str,
        basis: Tensor,
        quasi_diagonal: Tensor,
        min_gap: float,
        others: dict[str, Tensor],
    ) -> _Task:
        task = _Task(
            basis=basis.data_ptr(),
            quasi_diagonal=quasi_diagonal.data_ptr(),
            min_gap=min_gap,
            count=basis.shape[:-2].numel(),
            rows=basis.shape[-1],
            **{name: tensor.data_ptr() for name, tensor in others.items()},
        )
        run_in_threads(getattr(self._library, name), task, basis.numel() * basis.shape[-1])
        return task
