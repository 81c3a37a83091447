"""Exponentials of batches of skew-symmetric matrices.

Shapes: G matrices, b rows.
"""

import math
from typing import Any, cast

import torch
from torch import Tensor

from liere_cli.rotations.derivatives import backward_is_composed, composed, gradients
from liere_cli.rotations.exponential.chunks import cached_entries
from liere_cli.rotations.exponential.closed_form import exp2, exp3
from liere_cli.rotations.exponential.scaling_squaring import (
    AnyExponentialKernel,
    can_read_values,
    compiled_exponential,
    exponentiate,
)
from liere_cli.rotations.precision import check_square, full_precision

#: number of chunks from which sorting matrices by norm saves more squarings than it costs
SORTED_CHUNKS = 4


def skew_exp(a: Tensor) -> Tensor:
    """exp(a), a rotation.

    2 and 3 rows have closed forms. More are scaled, summed to degree 8 in three products and
    squared; the backward pass costs two products for each squaring and five for the sum, and keeps
    the squares (``grid_exp`` and ``rotate_on_grid`` bound that memory).

    The number of squarings follows from the norms where reading them is free (CPU, not compiled).
    Elsewhere as many as any norm may need are computed, and masks on the device select those that
    count, so that the call neither waits for the device nor breaks a graph. Matrices of norms that
    leave no correct digit (from 5e6 in float32, 3e13 in float64) have exponentials that are all
    NaN, not silently wrong.

    Args:
        a: [..., b, b] float32 or float64, skew-symmetric; ``check_generators`` checks values.

    Returns:
        [..., b, b] in the dtype of ``a``, autocast or not. Rounding grows as eps * norm: 3e-6 in
        float32 at norm 130. The gradient, of any order, is its skew part.

    Raises:
        UsageError: not square, or of another dtype.
    """
    check_square(a)
    rows = a.shape[-1]
    if rows == 1 or not a.numel():
        return torch.ones_like(a)
    if rows == 2:
        return exp2(a)
    if rows == 3:
        return exp3(a)
    if composed():
        return compose_exp(a)
    batch = a.reshape(-1, rows, rows)
    kernel = compiled_exponential(a)
    with full_precision(a):
        if kernel is None:
            rotations = _SkewExp.apply(batch)  # type: ignore[no-untyped-call]
        else:
            rotations = _CompiledExp.apply(batch.contiguous(), kernel)  # type: ignore[no-untyped-call]
    return cast(Tensor, rotations).view(a.shape)


def compose_exp(a: Tensor) -> Tensor:
    """``skew_exp`` of operations that have derivatives of every kind. Its memory grows with the
    squarings, and it is all NaN for every matrix whose norm leaves no correct digit.
    """
    if a.shape[-1] <= 3 or not a.numel():
        return skew_exp(a)
    with full_precision(a):
        rotations = torch.linalg.matrix_exp(((a - a.mT) / 2).contiguous())
        norms = torch.linalg.matrix_norm(a.detach(), keepdim=True) * math.sqrt(0.5)
        return torch.where(norms * torch.finfo(a.dtype).eps < 1, rotations, math.nan)


class _CompiledExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, kernel: AnyExponentialKernel) -> Tensor:
        ctx.kernel = kernel
        ctx.save_for_backward(a)
        return kernel.exponential(a)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None]:
        (a,) = ctx.saved_tensors
        if backward_is_composed(grad):
            return gradients(compose_exp, (a,), (True,), (grad,))[0], None
        return ctx.kernel.exponential_backward(a, grad), None


class _SkewExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        ctx.save_for_backward(a)
        ctx.chunks = _chunks(a)
        ctx.parts = [exponentiate(_take(a, rows)) for rows in ctx.chunks]
        return _gather(ctx.chunks, [part.rotations for part in ctx.parts], a)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor | None:
        if backward_is_composed(grad):
            return gradients(compose_exp, ctx.saved_tensors, (True,), (grad,))[0]
        with full_precision(grad):
            adjoints = [
                part.adjoint(_take(grad.mT, rows).contiguous())
                for rows, part in zip(ctx.chunks, ctx.parts, strict=True)
            ]
        return _gather(ctx.chunks, adjoints, grad)


def _chunks(a: Tensor) -> list[slice | Tensor]:
    """Which matrices are exponentiated together."""
    if not can_read_values(a):
        return [slice(None)]
    count = max(1, cached_entries() // a[0].numel())
    if len(a) < SORTED_CHUNKS * count:
        return [slice(start, start + count) for start in range(0, len(a), count)]
    return list(torch.linalg.matrix_norm(a).argsort().split(count))


def _take(whole: Tensor, rows: slice | Tensor) -> Tensor:
    return whole[rows] if isinstance(rows, slice) else whole.index_select(0, rows)


def _gather(chunks: list[slice | Tensor], parts: list[Tensor], like: Tensor) -> Tensor:
    if len(chunks) == 1:
        return parts[0]
    whole = torch.empty_like(like, memory_format=torch.contiguous_format)
    for rows, part in zip(chunks, parts, strict=True):
        if isinstance(rows, slice):
            whole[rows] = part
        else:
            whole.index_copy_(0, rows, part)
    return whole
