"""The basis in which rotations along one generator rotate planes, and changes to it and back.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim = n * b.
"""

from typing import Any, cast

import torch
from torch import Tensor

from liere_cli.rotations.apply.blocks import compose_blocks
from liere_cli.rotations.derivatives import backward_is_composed, composed
from liere_cli.rotations.exponential.skew_exp import compose_exp
from liere_cli.rotations.precision import accumulation_dtype, full_precision
from liere_cli.rotations.schur import SchurForm


def fold_basis(schur: SchurForm, weight: Tensor) -> Tensor:
    """Q^T W for queries and keys of every head: ``rotate_projected_one_axis`` of the projection has
    the scores of ``rotate_one_axis``, at the cost of rotary for each token.

    Args:
        schur: Schur forms of the generators [N or 1, n, b, b], in whose dtype it is computed.
        weight: [3 * N * n*b, D], of queries, keys and values; the result has its dtype.
    """
    with full_precision(schur.frame):
        if schur.trivial:
            return weight
        if composed():
            return _fold(block_diagonal(schur.frame).mT, weight)
        folded = _FoldBasis.apply(block_diagonal(schur.frame), weight)  # type: ignore[no-untyped-call]
    return cast(Tensor, folded)


class _FoldBasis(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, basis: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(basis, weight)
        return _fold(basis.mT, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor]:
        basis, weight = ctx.saved_tensors
        if backward_is_composed(grad):
            return None, _fold(basis, grad)
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
    rotated = torch.matmul(basis, _of_queries_and_keys(weight, basis))
    return torch.cat((rotated.flatten(0, 2).to(weight.dtype), weight[2 * len(weight) // 3 :]))


def change_basis(schur: SchurForm, x: Tensor, back: bool = False) -> Tensor:
    """Q^T x of every token [B, N, S, n*b], or Q x (``back``), Q of [N or 1, n, b, b]."""
    with full_precision(schur.frame):
        basis = block_diagonal(schur.frame)
        return x if schur.trivial else change(x, basis.mT if back else basis)


def compose_steps(
    generators: Tensor, steps: Tensor, basis: Tensor, *xs: Tensor
) -> tuple[Tensor, ...]:
    """Q^T exp(s A) Q x, ``rotate_by_steps`` of operations that have derivatives of every kind.

    Args:
        generators: A, [N or 1, n, b, b].
        steps: s, [T, n or 1]; the first S - T tokens stay unchanged.
        basis: Q, [N or 1, n*b, n*b].
        xs: each [B, N, S, n*b].
    """
    with full_precision(generators):
        s = steps.to(generators.dtype).mT[..., None, None]  # [n or 1, T, 1, 1]
        rotations = compose_exp(s * generators[:, :, None])
        turned = compose_blocks(rotations, *[compose_change(x, basis.mT) for x in xs])
        return tuple(compose_change(x, basis) for x in turned)


def compose_change(x: Tensor, basis: Tensor) -> Tensor:
    """x Q, [B, N, S, H] by [N or 1, H, H], of operations that have derivatives of every kind."""
    wide = accumulation_dtype(x.dtype)
    return (x.to(wide) @ basis.to(wide)).to(x.dtype)


def change(x: Tensor, basis: Tensor) -> Tensor:
    """``compose_change`` with a backward pass of its own."""
    if composed():
        return compose_change(x, basis)
    return cast(Tensor, _ChangeBasis.apply(x, basis))  # type: ignore[no-untyped-call]


class _ChangeBasis(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, basis: Tensor) -> Tensor:
        ctx.save_for_backward(x, basis)
        return times(x, basis)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        x, basis = ctx.saved_tensors
        if backward_is_composed(grad):
            return compose_change(grad, basis.mT), None
        with full_precision(basis):
            return times(grad, basis.mT), outer_product(x, grad, len(basis)).to(basis.dtype)


def block_diagonal(blocks: Tensor) -> Tensor:
    """[N, n, b, b] as [N, n*b, n*b]."""
    heads, count, rows, _ = blocks.shape
    if count == 1:
        return blocks[:, 0]
    identity = torch.eye(count, dtype=blocks.dtype, device=blocks.device)
    whole = blocks[:, :, :, None] * identity[:, None, :, None]
    return whole.reshape(heads, count * rows, count * rows)


def times(x: Tensor, basis: Tensor) -> Tensor:
    """x Q for every head: [B, N, S, H] by [N or 1, H, H]. Half precision is multiplied in float32
    and rounded once.
    """
    wide = accumulation_dtype(x.dtype)
    basis = basis.to(wide)
    if not _rows_merge(x):
        return (x.to(wide) @ basis).to(x.dtype)
    batch, heads, length, channels = x.shape
    rows = torch.bmm(_head_rows(x, len(basis)).to(wide), basis).to(x.dtype)
    return rows.view(heads, batch, length, channels).transpose(0, 1)


def outer_product(x: Tensor, y: Tensor, bases: int) -> Tensor:
    """x^T y for every head, or over all heads where they share one basis: [bases, H, H], float32
    for half precision.
    """
    wide = accumulation_dtype(x.dtype)
    x, y = x.to(wide), y.to(wide)
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
