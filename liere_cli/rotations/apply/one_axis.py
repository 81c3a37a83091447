"""Rotations of one axis: all exp(p A) commute, so no position needs a matrix of its own.

With the real Schur form A = Q D Q^T, exp(p A) = Q exp(p D) Q^T. The outer Q cancels in products of
queries and keys and is omitted: one change of basis for every head, then plane rotations as in
rotary.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim = n * b.
"""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from liere_cli.rotations.angles import linear_angles
from liere_cli.rotations.apply.blocks import check_fit
from liere_cli.rotations.apply.planes import (
    compiled_planes,
    phases,
    plane_rotation,
    queries_and_keys,
    rotate_projection,
    rotate_projection_backward,
    split_projection,
)
from liere_cli.rotations.kernels.planes import PlaneKernel
from liere_cli.rotations.precision import full_precision
from liere_cli.rotations.schur import SchurForm, frequencies_of


class OneAxisTable(NamedTuple):
    """Angles p f, [..., T, n * b/2], and their cosines and sines, [..., T, n * b/2, 2]."""

    angles: Tensor
    phases: Tensor

    def unbind(self) -> tuple["OneAxisTable", ...]:
        """One for each index of the first dimension."""
        parts = zip(self.angles.unbind(), self.phases.unbind(), strict=True)
        return tuple(OneAxisTable(*part) for part in parts)


def one_axis_table(schur: SchurForm, positions: Tensor) -> OneAxisTable:
    """Angles and phases of Schur forms [..., n, b, b] at positions [T]."""
    angles = linear_angles(positions[:, None], schur.frequencies.flatten(-2)[..., None, :])
    return OneAxisTable(angles, phases(angles.detach()))


def rotate_one_axis(
    schur: SchurForm,
    table: OneAxisTable,
    positions: Tensor,
    *xs: Tensor,
    in_eigenbasis: bool = True,
) -> tuple[Tensor, ...]:
    """exp(p A) x for every token, up to the rotation Q that all tokens of a head share.

    Q is applied too with a prefix, which stays unchanged, or without ``in_eigenbasis``, for
    products with the results of another call.

    Args:
        schur: Schur forms of the generators [N or 1, n, b, b].
        table: ``one_axis_table`` of them.
        positions: [T].
        xs: each [B, N, S, n*b] of one shape and dtype.

    Returns:
        As many tensors of that shape and dtype; exact gradients flow to them, and through ``schur``
        to the generators for any loss of products of rotated tensors.
    """
    heads, blocks, rows, _ = schur.basis.shape
    check_fit(torch.Size((heads, blocks, len(positions), rows, rows)), xs)
    with full_precision(schur.basis):
        basis = _block_diagonal(schur.basis)
        diagonal = _block_diagonal(schur.quasi_diagonal)
        args = (basis, diagonal, table.phases, positions.detach(), *xs)
        rotated: tuple[Tensor, ...] = _RotateOneAxis.apply(*args)  # type: ignore[no-untyped-call]
        prefix = xs[0].shape[2] - len(positions)
        if prefix or not in_eigenbasis:
            rotated = tuple(
                torch.cat((x[:, :, :prefix], y[:, :, prefix:] @ basis.mT.to(y.dtype)), 2)
                for x, y in zip(xs, rotated, strict=True)
            )
    return rotated


def fold_basis(schur: SchurForm, weight: Tensor) -> Tensor:
    """Q^T W for queries and keys of every head: ``rotate_projected_one_axis`` of the projection has
    the scores of ``rotate_one_axis``, at the cost of rotary for each token.

    Args:
        schur: Schur forms of the generators [N or 1, n, b, b], in whose dtype it is computed.
        weight: [3 * N * n*b, D], of queries, keys and values; the result has its dtype.
    """
    with full_precision(schur.basis):
        folded = _FoldBasis.apply(_block_diagonal(schur.basis), weight)  # type: ignore[no-untyped-call]
    return cast(Tensor, folded)


class _FoldBasis(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, basis: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(basis, weight)
        return _fold(basis.mT, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        basis, weight = ctx.saved_tensors
        with full_precision(basis):
            before, after = (_of_queries_and_keys(x, basis) for x in (weight, grad))
            outer = torch.matmul(before, after.mT).sum(0)
            return outer.sum_to_size(basis.shape), _fold(basis, grad)


def _of_queries_and_keys(weight: Tensor, basis: Tensor) -> Tensor:
    """[3 * N * H, D] as [2, N, H, D], without those of values and in the dtype of [..., H, H]."""
    parts = weight.view(3, -1, basis.shape[-1], weight.shape[-1])[:2]
    return parts.to(basis.dtype)


def _fold(basis: Tensor, weight: Tensor) -> Tensor:
    """Heads of queries and keys multiplied from the left by [N or 1, H, H]; values unchanged."""
    folded = weight.clone()
    rotated = torch.matmul(basis, _of_queries_and_keys(weight, basis))
    folded[: 2 * len(weight) // 3] = rotated.flatten(0, 2)
    return folded


def rotate_projected_one_axis(
    schur: SchurForm, table: OneAxisTable, positions: Tensor, qkv: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """exp(p D) of queries and keys in the basis of ``fold_basis``.

    Args:
        schur, table, positions: as for ``rotate_one_axis``; as many positions as tokens.
        qkv: [B, T, 3, N, n*b], queries, keys and values, which nothing else may read: overwritten
            where that saves a pass.

    Returns:
        Queries, keys and values, each [B, N, T, n*b] in the dtype of ``qkv``.
    """
    kernel = compiled_planes(qkv, table.phases, "interleaved") if schur.distinct else None
    if kernel is None:
        diagonal = _block_diagonal(schur.quasi_diagonal)
        args = (diagonal, table.phases, positions.detach(), qkv)
        rotated = _RotateProjectedOneAxis.apply(*args)  # type: ignore[no-untyped-call]
    else:
        rotated = _CompiledProjectedOneAxis.apply(*table, qkv, kernel)  # type: ignore[no-untyped-call]
    return cast(tuple[Tensor, Tensor, Tensor], rotated)


class _CompiledProjectedOneAxis(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, angles: Tensor, table: Tensor, qkv: Tensor, kernel: PlaneKernel
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.kernel, ctx.shape = kernel, angles.shape
        kernel.rotate(qkv, table)
        ctx.save_for_backward(table, qkv)
        return split_projection(qkv)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, Tensor, None]:
        grad, grad_angles = ctx.kernel.rotate_backward(grads, *ctx.saved_tensors, "cross")
        return grad_angles.sum_to_size(ctx.shape), None, grad, None


class _RotateProjectedOneAxis(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, diagonal: Tensor, table: Tensor, positions: Tensor, qkv: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(diagonal, table, positions, qkv)
        return rotate_projection(qkv, table, "interleaved", overwrite=False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, Tensor]:
        diagonal, table, positions, qkv = ctx.saved_tensors
        with full_precision(diagonal):
            grad = rotate_projection_backward(grads, table, "interleaved")
            weighted = queries_and_keys(grad) * positions[:, None].to(grad.dtype)
            heads = len(diagonal) if len(diagonal) == 1 else 2 * len(diagonal)
            outer = _outer(queries_and_keys(qkv), weighted, heads)
            return outer.unflatten(0, (-1, len(diagonal))).sum(0), None, None, grad


def change_basis(schur: SchurForm, x: Tensor, back: bool = False) -> Tensor:
    """Q^T x of every token [B, N, S, n*b], or Q x (``back``), Q of [N or 1, n, b, b]."""
    with full_precision(schur.basis):
        basis = _block_diagonal(schur.basis)
        return _times(x, basis.mT if back else basis)


def rotate_by_steps(schur: SchurForm, steps: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
    """exp(s D) x for every block of every token, each block at its own coordinate s: for generators
    on several axes that are multiples of one.

    Args:
        schur: Schur forms of the generators [N or 1, n, b, b].
        steps: s, [S, n], in the dtype of the Schur forms.
        xs: in the eigenbasis, each [B, N, S, n*b] of one shape and dtype.

    Returns:
        As many tensors of that shape and dtype; exact gradients flow to them, to the steps, and
        through ``schur`` to the generators as for ``rotate_one_axis``.
    """
    with full_precision(schur.basis):
        rotated: tuple[Tensor, ...] = _RotateBySteps.apply(  # type: ignore[no-untyped-call]
            _block_diagonal(schur.quasi_diagonal), steps, *xs
        )
    return rotated


class _RotateBySteps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, diagonal: Tensor, steps: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
        steps_of_planes = _for_every(steps, diagonal.shape[-1] // 2)
        table = phases(frequencies_of(diagonal)[:, None] * steps_of_planes)
        ctx.save_for_backward(diagonal, steps, table, *xs)
        return tuple(plane_rotation(x, table, "interleaved") for x in xs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        diagonal, steps, table, *xs = ctx.saved_tensors
        with full_precision(diagonal):
            channels = diagonal.shape[-1]
            grad_diagonal, moments = torch.zeros_like(diagonal), torch.zeros_like(table[..., 0])
            grad_xs = []
            for x, grad in zip(xs, grads, strict=True):
                back = plane_rotation(grad, table, "interleaved", inverse=True)
                grad_xs.append(back)
                weighted = back * _for_every(steps, channels).to(back.dtype)
                grad_diagonal += _outer(x, weighted, len(diagonal))
                if ctx.needs_input_grad[1]:
                    pairs = (z.to(moments.dtype).unflatten(-1, (-1, 2)) for z in (x, back))
                    (x1, x2), (y1, y2) = (pair.unbind(-1) for pair in pairs)
                    moments += (x1 * y2 - x2 * y1).sum(0).sum_to_size(moments.shape)
            to_steps = (moments * frequencies_of(diagonal)[:, None]).sum(0)
            grad_steps = to_steps.unflatten(-1, (steps.shape[-1], -1)).sum(-1)
            return grad_diagonal, grad_steps, *grad_xs


def _for_every(steps: Tensor, count: int) -> Tensor:
    """The steps of n blocks, [S, n], for each of their channels or planes, [S, count]."""
    return steps.repeat_interleave(count // steps.shape[-1], -1)


def _block_diagonal(blocks: Tensor) -> Tensor:
    """[N, n, b, b] as [N, n*b, n*b]."""
    heads, count, rows, _ = blocks.shape
    if count == 1:
        return blocks[:, 0]
    identity = torch.eye(count, dtype=blocks.dtype, device=blocks.device)
    whole = blocks[:, :, :, None] * identity[:, None, :, None]
    return whole.reshape(heads, count * rows, count * rows)


class _RotateOneAxis(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, basis: Tensor, diagonal: Tensor, table: Tensor, positions: Tensor, *xs: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(basis, table, positions, *xs)
        return tuple(plane_rotation(_times(x, basis), table, "interleaved") for x in xs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        basis, table, positions, *xs = ctx.saved_tensors
        with full_precision(basis):
            prefix = xs[0].shape[2] - len(positions)
            weights = torch.nn.functional.pad(positions, (prefix, 0))[:, None]
            grad_basis, grad_diagonal = torch.zeros_like(basis), torch.zeros_like(basis)
            grad_xs = []
            for x, grad in zip(xs, grads, strict=True):
                back = plane_rotation(grad, table, "interleaved", inverse=True)
                grad_xs.append(_times(back, basis.mT))
                grad_basis += _outer(x, back, len(basis))
                grad_diagonal += _outer(x, back.mul_(weights.to(back.dtype)), len(basis))
            return grad_basis, basis.mT @ grad_diagonal, None, None, *grad_xs


def _times(x: Tensor, basis: Tensor) -> Tensor:
    """x Q for every head: [B, N, S, H] by [N or 1, H, H]."""
    basis = basis.to(x.dtype)
    if not _rows_merge(x):
        return x @ basis
    batch, heads, length, channels = x.shape
    rows = torch.bmm(_head_rows(x, len(basis)), basis)
    return rows.view(heads, batch, length, channels).transpose(0, 1)


def _outer(x: Tensor, y: Tensor, bases: int) -> Tensor:
    """x^T y for every head, or over all heads where they share one basis: [bases, H, H]."""
    if _rows_merge(x) and _rows_merge(y):
        return torch.bmm(_head_rows(x, bases).mT, _head_rows(y, bases))
    outer = (x.mT @ y).sum(0)
    return outer if bases > 1 else outer.sum(0, keepdim=True)


def _rows_merge(x: Tensor) -> bool:
    """Whether batch and sequence are one dimension in memory, as in a view of a projection."""
    return x.stride(0) == x.shape[2] * x.stride(2)


def _head_rows(x: Tensor, heads: int) -> Tensor:
    """[B, N, S, H] as [N, B*S, H], or [1, N*B*S, H] for one basis; a view where strides allow."""
    return x.transpose(0, 1).reshape(heads, -1, x.shape[-1])
