"""Rotations of one axis: all exp(p A) commute, so no position needs a matrix of its own.

With the real Schur form A = Q D Q^T, exp(p A) = Q exp(p D) Q^T. The outer Q cancels in products of
queries and keys and is omitted: one change of basis for every head, then plane rotations as in
rotary.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim = n * b.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from liere_cli.rotations.angles import linear_angles
from liere_cli.rotations.apply.blocks import check_fit
from liere_cli.rotations.apply.eigenbasis import (
    block_diagonal,
    change,
    compose_change,
    compose_steps,
    outer_product,
    times,
)
from liere_cli.rotations.apply.planes import (
    AnyPlaneKernel,
    compiled_planes,
    phases,
    plane_rotation,
    queries_and_keys,
    rotate_projection,
    rotate_projection_backward,
    split_projection,
    unrotated_projection,
)
from liere_cli.rotations.derivatives import (
    backward_is_composed,
    composed,
    gradients,
    with_value,
)
from liere_cli.rotations.precision import accumulation_dtype, full_precision
from liere_cli.rotations.schur import SchurForm


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
        As many tensors of that shape and dtype; exact gradients of any order flow to them, and
        through ``schur`` to the generators for any loss of products of rotated tensors.
    """
    heads, blocks, rows, _ = schur.frame.shape
    check_fit(torch.Size((heads, blocks, len(positions), rows, rows)), xs)
    dtype = xs[0].dtype
    with full_precision(schur.frame):
        basis = block_diagonal(schur.frame)
        prefix = xs[0].shape[2] - len(positions)
        # half precision is rounded once, after all steps
        xs = tuple(x.to(accumulation_dtype(dtype)) for x in xs)
        rotated: tuple[Tensor, ...]
        if schur.trivial or composed(positions):
            turned = [compose_change(x, basis) for x in xs]
            rotated = compose_steps(schur.generators, positions[:, None], basis, *turned)
        else:
            diagonal = block_diagonal(schur.quasi_diagonal)
            args = (schur.generators, basis, diagonal, table.phases, positions.detach(), *xs)
            rotated = _RotateOneAxis.apply(*args)  # type: ignore[no-untyped-call]
        if prefix or not in_eigenbasis:
            rotated = tuple(
                torch.cat((x[:, :, :prefix], change(y[:, :, prefix:], basis.mT)), 2)
                for x, y in zip(xs, rotated, strict=True)
            )
        return tuple(x.to(dtype) for x in rotated)


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
    constant = (schur.generators, positions.detach(), schur.frame)
    if schur.trivial or composed(positions):
        return _compose_projected(schur.generators, positions, schur.frame, qkv)
    kernel = compiled_planes(qkv, table.phases, "interleaved") if schur.distinct else None
    if kernel is None:
        diagonal = block_diagonal(schur.quasi_diagonal)
        args = (*constant, diagonal, table.phases, qkv)
        rotated = _RotateProjectedOneAxis.apply(*args)  # type: ignore[no-untyped-call]
    else:
        rotated = _CompiledProjectedOneAxis.apply(*constant, *table, qkv, kernel)  # type: ignore[no-untyped-call]
    return cast(tuple[Tensor, Tensor, Tensor], rotated)


class _CompiledProjectedOneAxis(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        generators: Tensor,
        positions: Tensor,
        basis: Tensor,
        angles: Tensor,
        table: Tensor,
        qkv: Tensor,
        kernel: AnyPlaneKernel,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.kernel, ctx.shape = kernel, angles.shape
        kernel.rotate(qkv, table)
        ctx.save_for_backward(generators, positions, basis, table, qkv)
        return split_projection(qkv)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *constant, table, qkv = ctx.saved_tensors
        if backward_is_composed(*grads):
            before = unrotated_projection(qkv.detach(), table, "interleaved")
            needed = (ctx.needs_input_grad[0], ctx.needs_input_grad[5])
            to_both = _projected_gradients(constant, with_value(qkv, before), needed, grads)
            return to_both[0], None, None, None, None, to_both[1], None
        grad, grad_angles = ctx.kernel.rotate_backward(grads, table, qkv, "cross")
        return None, None, None, grad_angles.sum_to_size(ctx.shape), None, grad, None


class _RotateProjectedOneAxis(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        generators: Tensor,
        positions: Tensor,
        basis: Tensor,
        diagonal: Tensor,
        table: Tensor,
        qkv: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(generators, positions, basis, diagonal, table, qkv)
        return rotate_projection(qkv, table, "interleaved", overwrite=False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        generators, positions, basis, diagonal, table, qkv = ctx.saved_tensors
        if backward_is_composed(*grads):
            needed = (ctx.needs_input_grad[0], ctx.needs_input_grad[5])
            to_both = _projected_gradients((generators, positions, basis), qkv, needed, grads)
            return to_both[0], None, None, None, None, to_both[1]
        with full_precision(diagonal):
            grad = rotate_projection_backward(grads, table, "interleaved")
            weighted = queries_and_keys(grad) * positions[:, None].to(grad.dtype)
            heads = len(diagonal) if len(diagonal) == 1 else 2 * len(diagonal)
            outer = outer_product(queries_and_keys(qkv), weighted, heads)
            to_diagonal = outer.unflatten(0, (-1, len(diagonal))).sum(0)
            return None, None, None, to_diagonal, None, grad


def _projected_gradients(
    constant: Sequence[Tensor], qkv: Tensor, needed: Sequence[bool], grads: Sequence[Tensor]
) -> list[Tensor | None]:
    """Gradients to generators and projection that can be differentiated; ``constant`` holds the
    generators, positions and Q.
    """
    generators, positions, basis = constant

    def composition(generators: Tensor, qkv: Tensor) -> tuple[Tensor, ...]:
        return _compose_projected(generators, positions, basis, qkv)

    return gradients(composition, (generators, qkv), needed, grads)


def _compose_projected(
    generators: Tensor, positions: Tensor, basis: Tensor, qkv: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """``rotate_projected_one_axis`` of operations that have derivatives of every kind."""
    q, k, v = split_projection(qkv)
    q, k = compose_steps(generators, positions[:, None], block_diagonal(basis), q, k)
    return q, k, v


class _RotateOneAxis(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        generators: Tensor,
        basis: Tensor,
        diagonal: Tensor,
        table: Tensor,
        positions: Tensor,
        *xs: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(generators, basis, table, positions, *xs)
        return tuple(plane_rotation(times(x, basis), table, "interleaved") for x in xs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        generators, basis, table, positions, *xs = ctx.saved_tensors
        if backward_is_composed(*grads):

            def composition(generators: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
                turned = [compose_change(x, basis) for x in xs]
                return compose_steps(generators, positions[:, None], basis, *turned)

            needed = (ctx.needs_input_grad[0], *ctx.needs_input_grad[5:])
            to_generators, *to_xs = gradients(composition, (generators, *xs), needed, grads)
            return to_generators, None, None, None, None, *to_xs
        with full_precision(basis):
            prefix = xs[0].shape[2] - len(positions)
            weights = torch.nn.functional.pad(positions, (prefix, 0))[:, None]
            grad_basis, grad_diagonal = torch.zeros_like(basis), torch.zeros_like(basis)
            grad_xs = []
            for x, grad in zip(xs, grads, strict=True):
                back = plane_rotation(grad, table, "interleaved", inverse=True)
                grad_xs.append(times(back, basis.mT))
                grad_basis += outer_product(x, back, len(basis))
                grad_diagonal += outer_product(x, back.mul_(weights.to(back.dtype)), len(basis))
            return None, grad_basis, basis.mT @ grad_diagonal, None, None, *grad_xs
