"""Rotations of one axis: all exp(p A) commute, so no position needs a matrix of its own.

A = Q D Q^T with D turning b/2 planes gives exp(p A) = Q exp(p D) Q^T. What queries and keys have in
common cancels in their products, so the outer Q is dropped: one change of basis for every head,
then plain rotary.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim = n * b.
"""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from liere_cli.rotations.apply.blocks import check_fit
from liere_cli.rotations.apply.planes import (
    compiled_turning,
    linear_angles,
    phases,
    queries_and_keys,
    split_projection,
    turn,
    turn_projection,
    turn_projection_back,
)
from liere_cli.rotations.kernels.planes import Turning
from liere_cli.rotations.precision import full_precision
from liere_cli.rotations.schur import Spectrum, rates_of


class LineTable(NamedTuple):
    """What turns planes at every position.

    Args:
        angles: p r, [..., T, n * b/2].
        phases: their cosines and sines, [..., T, n * b/2, 2].
    """

    angles: Tensor
    phases: Tensor

    def unbind(self) -> tuple["LineTable", ...]:
        """One for each index of the first dimension."""
        parts = zip(self.angles.unbind(), self.phases.unbind(), strict=True)
        return tuple(LineTable(*part) for part in parts)


def line_table(lines: Spectrum, positions: Tensor) -> LineTable:
    """Angles and phases of spectra [..., n, b, b] at positions [T]."""
    angles = linear_angles(positions[:, None], lines.speeds.flatten(-2)[..., None, :])
    return LineTable(angles, phases(angles.detach()))


def rotate_line(
    lines: Spectrum, table: LineTable, positions: Tensor, *xs: Tensor, in_eigenbasis: bool = True
) -> tuple[Tensor, ...]:
    """exp(p A) x for every token, up to the rotation Q that all tokens of a head share.

    With a prefix, Q is applied too, so that the prefix passes unchanged; and so without
    ``in_eigenbasis``, for products with what another call turned.

    Args:
        lines: spectra of the generators [N or 1, n, b, b].
        table: ``line_table`` of them.
        positions: [T].
        xs: each [B, N, S, n*b] of one shape and dtype.

    Returns:
        As many tensors of that shape and dtype; exact gradients flow to them, and through ``lines``
        to the generators for any loss of products of rotated tensors.
    """
    heads, blocks, rows, _ = lines.basis.shape
    check_fit(torch.Size((heads, blocks, len(positions), rows, rows)), xs)
    with full_precision(lines.basis):
        basis = _block_diagonal(lines.basis)
        rates = _block_diagonal(lines.rates)
        args = (basis, rates, table.phases, positions.detach(), *xs)
        turned: tuple[Tensor, ...] = _RotateLine.apply(*args)  # type: ignore[no-untyped-call]
        prefix = xs[0].shape[2] - len(positions)
        if prefix or not in_eigenbasis:
            turned = tuple(
                torch.cat((x[:, :, :prefix], y[:, :, prefix:] @ basis.mT.to(y.dtype)), 2)
                for x, y in zip(xs, turned, strict=True)
            )
    return turned


def fold_line(lines: Spectrum, weight: Tensor) -> Tensor:
    """A projection whose queries and keys end in the eigenbasis: Q^T W of every head.

    ``turn_line`` of what it projects has the scores of ``rotate_line``, at the cost of plain rotary
    for each token.

    Args:
        lines: spectra of the generators [N or 1, n, b, b].
        weight: [3 * N * n*b, D], of queries, keys and values.

    Returns:
        The same of another projection, computed in the dtype of the spectra.
    """
    with full_precision(lines.basis):
        folded = _FoldLine.apply(_block_diagonal(lines.basis), weight)  # type: ignore[no-untyped-call]
    return cast(Tensor, folded)


class _FoldLine(torch.autograd.Function):
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
    """Heads of queries and keys from the left by [N or 1, H, H], those of values as they are."""
    folded = weight.clone()
    turned = torch.matmul(basis, _of_queries_and_keys(weight, basis))
    folded[: 2 * len(weight) // 3] = turned.flatten(0, 2)
    return folded


def turn_line(
    lines: Spectrum, table: LineTable, positions: Tensor, qkv: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """exp(p D) of the queries and keys that ``fold_line`` projected: their ``rotate_line``.

    Args:
        lines, table, positions: as for ``rotate_line``; as many positions as tokens.
        qkv: [B, T, 3, N, n*b], queries, keys and values, which nothing else reads: overwritten
            where that saves a pass.

    Returns:
        Queries, keys and values, each [B, N, T, n*b] in the dtype of ``qkv``.
    """
    compiled = compiled_turning(qkv, table.phases, "interleaved") if lines.distinct else None
    if compiled is None:
        rates = _block_diagonal(lines.rates)
        turned = _TurnLine.apply(rates, table.phases, positions.detach(), qkv)  # type: ignore[no-untyped-call]
    else:
        turned = _CompiledTurnLine.apply(*table, qkv, compiled)  # type: ignore[no-untyped-call]
    return cast(tuple[Tensor, Tensor, Tensor], turned)


class _CompiledTurnLine(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, angles: Tensor, table: Tensor, qkv: Tensor, compiled: Turning
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.compiled, ctx.shape = compiled, angles.shape
        compiled.turn(qkv, table)
        ctx.save_for_backward(table, qkv)
        return split_projection(qkv)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, Tensor, None]:
        grad, to_angles = ctx.compiled.turn_back(grads, *ctx.saved_tensors, "across")
        return to_angles.sum_to_size(ctx.shape), None, grad, None


class _TurnLine(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rates: Tensor, table: Tensor, positions: Tensor, qkv: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(rates, table, positions, qkv)
        return turn_projection(qkv, table, "interleaved", overwrite=False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, Tensor]:
        rates, table, positions, qkv = ctx.saved_tensors
        with full_precision(rates):
            grad = turn_projection_back(grads, table, "interleaved")
            weighted = queries_and_keys(grad) * positions[:, None].to(grad.dtype)
            heads = len(rates) if len(rates) == 1 else 2 * len(rates)
            outer = _outer(queries_and_keys(qkv), weighted, heads)
            return outer.unflatten(0, (-1, len(rates))).sum(0), None, None, grad


def change_basis(lines: Spectrum, x: Tensor, back: bool = False) -> Tensor:
    """Q^T x of every token, or Q x (``back``): what ``fold_line`` does to a projection.

    Args:
        lines: spectra of the generators [N or 1, n, b, b].
        x: [B, N, S, n*b].
    """
    with full_precision(lines.basis):
        basis = _block_diagonal(lines.basis)
        return _times(x, basis.mT if back else basis)


def turn_steps(lines: Spectrum, steps: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
    """exp(s D) x for every block of every token, where each block has gone its own way s along its
    generator: ``turn_line`` for generators on several axes that are multiples of one.

    Args:
        lines: spectra of the generators [N or 1, n, b, b].
        steps: s, [S, n], in the dtype of the spectra.
        xs: in the eigenbasis, each [B, N, S, n*b] of one shape and dtype.

    Returns:
        As many tensors of that shape and dtype; exact gradients flow to them, to the steps, and
        through ``lines`` to the generators as for ``rotate_line``.
    """
    with full_precision(lines.basis):
        turned: tuple[Tensor, ...] = _TurnSteps.apply(  # type: ignore[no-untyped-call]
            _block_diagonal(lines.rates), steps, *xs
        )
    return turned


class _TurnSteps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rates: Tensor, steps: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
        table = phases(rates_of(rates)[:, None] * _for_every(steps, rates.shape[-1] // 2))
        ctx.save_for_backward(rates, steps, table, *xs)
        return tuple(turn(x, table, "interleaved") for x in xs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        rates, steps, table, *xs = ctx.saved_tensors
        with full_precision(rates):
            channels = rates.shape[-1]
            grad_rates, moments = torch.zeros_like(rates), torch.zeros_like(table[..., 0])
            grad_xs = []
            for x, grad in zip(xs, grads, strict=True):
                back = turn(grad, table, "interleaved", inverse=True)
                grad_xs.append(back)
                weighted = back * _for_every(steps, channels).to(back.dtype)
                grad_rates += _outer(x, weighted, len(rates))
                if ctx.needs_input_grad[1]:
                    (x1, x2), (y1, y2) = (
                        pair.to(moments.dtype).unflatten(-1, (-1, 2)).unbind(-1)
                        for pair in (x, back)
                    )
                    moments += (x1 * y2 - x2 * y1).sum(0).sum_to_size(moments.shape)
            speeds = (moments * rates_of(rates)[:, None]).sum(0)
            grad_steps = speeds.unflatten(-1, (steps.shape[-1], -1)).sum(-1)
            return grad_rates, grad_steps, *grad_xs


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


class _RotateLine(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, basis: Tensor, rates: Tensor, table: Tensor, positions: Tensor, *xs: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(basis, table, positions, *xs)
        return tuple(turn(_times(x, basis), table, "interleaved") for x in xs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        basis, table, positions, *xs = ctx.saved_tensors
        with full_precision(basis):
            prefix = xs[0].shape[2] - len(positions)
            weights = torch.nn.functional.pad(positions, (prefix, 0))[:, None]
            grad_basis, grad_rates = torch.zeros_like(basis), torch.zeros_like(basis)
            grad_xs = []
            for x, grad in zip(xs, grads, strict=True):
                back = turn(grad, table, "interleaved", inverse=True)
                grad_xs.append(_times(back, basis.mT))
                grad_basis += _outer(x, back, len(basis))
                grad_rates += _outer(x, back.mul_(weights.to(back.dtype)), len(basis))
            return grad_basis, basis.mT @ grad_rates, None, None, *grad_xs


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
