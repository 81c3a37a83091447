"""Application of a grid's rotations in bounded memory, recomputed in the backward pass.

Rotations are built, applied and freed chunk by chunk, in both passes, so that memory does not grow
with positions, heads or layers.

Shapes: as in ``blocks`` and ``shared_taylor``; G = N * n sets of generators.
"""

from typing import Any, cast

import torch
from torch import Tensor

from liere_cli.rotations.apply.blocks import check_fit, compose_blocks, pack, unpack
from liere_cli.rotations.derivatives import backward_is_composed, composed, gradients
from liere_cli.rotations.exponential.chunks import Chunking
from liere_cli.rotations.exponential.grid_exp import (
    check_grid,
    compose_grid_exp,
    generators_in,
    source_and_chunking,
)
from liere_cli.rotations.precision import full_precision


def rotate_on_grid(generators: Tensor, positions: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
    """``rotate_blocks(grid_exp(generators, positions), *xs)`` with bounded memory.

    Args:
        generators: [N or 1, n, A, b, b] float32 or float64, skew-symmetric.
        positions: [T, A]; memory is not bounded if they need a gradient.
        xs: each [B, N, S, n*b]; the first S - T tokens stay unchanged.

    Returns:
        As many tensors of that shape and dtype; exact gradients flow to them, to the generators and
        to the positions.

    Raises:
        UsageError: shapes or dtypes that don't fit.
    """
    check_grid(generators, positions)
    heads, blocks, _, rows, _ = generators.shape
    shape = torch.Size((heads, blocks, len(positions), rows, rows))
    check_fit(shape, xs)
    if composed(positions):
        return compose_blocks(compose_grid_exp(generators, positions), *xs)
    with full_precision(generators):
        source, chunking = source_and_chunking(generators)
        positions = positions.detach().to(generators.dtype)
        rotated = _RotateOnGrid.apply(shape, chunking, source, positions, *xs)  # type: ignore[no-untyped-call]
    return cast(tuple[Tensor, ...], rotated)


class _RotateOnGrid(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        shape: torch.Size,
        chunking: Chunking,
        source: Tensor,
        positions: Tensor,
        *xs: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.shape, ctx.chunks = shape, chunking(source, positions)
        ctx.save_for_backward(source, positions, *xs)
        rows = _on_grid(pack(xs, shape), shape)
        rotated = torch.empty_like(rows)
        for chunk in ctx.chunks:
            rotations = chunk.build(source, positions).rotations().to(rows.dtype)
            chunk.put(rotated, torch.matmul(chunk.get(rows), rotations.mT))
        return unpack(rotated, xs, shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        source, positions, *xs = ctx.saved_tensors
        if backward_is_composed(*grads):
            heads, blocks, *_ = ctx.shape

            def composition(source: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
                rotations = compose_grid_exp(generators_in(source, positions), positions)
                return compose_blocks(rotations.unflatten(0, (heads, blocks)), *xs)

            needed = (ctx.needs_input_grad[2], *ctx.needs_input_grad[4:])
            grad_source, *grad_xs = gradients(composition, (source, *xs), needed, grads)
            return None, None, grad_source, None, *grad_xs
        with full_precision(source):
            rows = _on_grid(pack(tuple(xs), ctx.shape), ctx.shape)
            grad_rows = _on_grid(pack(grads, ctx.shape), ctx.shape)
            back = torch.empty_like(rows)
            grad_source = torch.zeros_like(source)
            for chunk in ctx.chunks:
                part = chunk.build(source, positions)
                grad = chunk.get(grad_rows)
                grad_t = torch.matmul(chunk.get(rows).mT, grad).to(source.dtype)
                rotations = part.add_adjoint(grad_t, grad_source).to(rows.dtype)
                chunk.put(back, torch.matmul(grad, rotations))
            return None, None, grad_source, None, *unpack(back, grads, ctx.shape)


def _on_grid(rows: Tensor, shape: torch.Size) -> Tensor:
    """[G T, K, b] as [G, T, K, b]."""
    heads, blocks, tokens, size, _ = shape
    return rows.view(heads * blocks, tokens, rows.shape[1], size)
