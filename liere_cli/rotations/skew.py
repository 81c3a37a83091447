"""Exponentials of batches of skew-symmetric matrices.

Shapes: G matrices, b rows.
"""

from typing import Any, cast

import torch
from torch import Tensor

from liere_cli.rotations.closed import exp2, exp3
from liere_cli.rotations.precision import check_square, full_precision
from liere_cli.rotations.series import exponentiate

def skew_exp(a: Tensor) -> Tensor:
    """exp(a), a rotation.

    Blocks of 2 and 3 rows have closed forms. Others are scaled, summed to degree 8 in three
    products and squared; the backward pass costs two products for each squaring and five for the
    sum, where torch.linalg.matrix_exp exponentiates matrices of twice the size.

    The number of squarings follows from the largest norm of the batch where reading it is free (CPU,
    not compiled). Elsewhere it is fixed, so that the call neither waits for the device nor breaks a
    compiled graph or a CUDA graph: exact up to a spectral norm of ``NORM_PER_ROW`` * b, eight times
    what LieRE's initialisation reaches on two axes, and beyond that all NaN rather than silently
    wrong.

    Args:
        a: [..., b, b] float32 or float64, skew-symmetric; ``check_generators`` looks at values.

    Returns:
        [..., b, b] in the dtype of ``a``, autocast or not. Rounding grows as eps * norm: 2e-6 in
        float32 at norm 130. The gradient is the skew part: what any skew-symmetric ``a`` can follow.

    Raises:
        UsageError: not square, or of another dtype.
    """
    check_square(a)
    rows = a.shape[-1]
    with full_precision(a):
        if rows == 1:
            return torch.ones_like(a)
        if rows == 2:
            return exp2(a)
        if rows == 3:
            return exp3(a)
        return cast(Tensor, _SkewExp.apply(a.reshape(-1, rows, rows))).view(a.shape)  # type: ignore[no-untyped-call]


class _SkewExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        import os
        CH=int(os.environ.get("CH",1<<17))
        SAVE=int(os.environ.get("SAVE",1))
        chunks=a.split(max(1,CH//a[0].numel()))
        parts=[exponentiate(c) for c in chunks]
        ctx.parts=parts if SAVE else None
        ctx.chunks=chunks
        return torch.cat([p.rotations for p in parts])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        parts=ctx.parts or ctx.chunks
        gr=grad.split(len(ctx.chunks[0]))
        with full_precision(grad):
            if ctx.parts:
                return torch.cat([p.adjoint(g) for p,g in zip(ctx.parts,gr)])
            return torch.cat([exponentiate(c).adjoint(g) for c,g in zip(ctx.chunks,gr)])
