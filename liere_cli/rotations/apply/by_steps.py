"""Rotations along one generator for each block, by steps of its own.

Shapes: B batch, N heads, S sequence (prefix + T), H head_dim = n * b.
"""

from typing import Any, cast

import torch
from torch import Tensor

from liere_cli.rotations.apply.eigenbasis import block_diagonal, compose_steps, outer_product
from liere_cli.rotations.apply.planes import phases, plane_rotation
from liere_cli.rotations.derivatives import backward_is_composed, composed, gradients
from liere_cli.rotations.precision import full_precision
from liere_cli.rotations.schur import SchurForm, frequencies_of


def rotate_by_steps(schur: SchurForm, steps: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
    """exp(s D) x for every block of every token, each block at its own coordinate s: for generators
    on several axes that are multiples of one.

    Args:
        schur: Schur forms of the generators [N or 1, n, b, b].
        steps: s, [S, n], in the dtype of the Schur forms.
        xs: in the eigenbasis, each [B, N, S, n*b] of one shape and dtype.

    Returns:
        As many tensors of that shape and dtype; exact gradients of any order flow to them, to the
        steps, and through ``schur`` to the generators as for ``rotate_one_axis``.
    """
    with full_precision(schur.frame):
        basis = schur.frame
        if schur.trivial or composed():
            return compose_steps(schur.generators, steps, block_diagonal(basis), *xs)
        diagonal = block_diagonal(schur.quasi_diagonal)
        rotated = _RotateBySteps.apply(schur.generators, basis, diagonal, steps, *xs)  # type: ignore[no-untyped-call]
    return cast(tuple[Tensor, ...], rotated)


class _RotateBySteps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, generators: Tensor, basis: Tensor, diagonal: Tensor, steps: Tensor, *xs: Tensor
    ) -> tuple[Tensor, ...]:
        steps_of_planes = _for_every(steps, diagonal.shape[-1] // 2)
        table = phases(frequencies_of(diagonal)[:, None] * steps_of_planes)
        ctx.save_for_backward(generators, basis, diagonal, steps, table, *xs)
        return tuple(plane_rotation(x, table, "interleaved") for x in xs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        generators, basis, diagonal, steps, table, *xs = ctx.saved_tensors
        if backward_is_composed(*grads):

            def composition(generators: Tensor, steps: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
                return compose_steps(generators, steps, block_diagonal(basis), *xs)

            needed = (ctx.needs_input_grad[0], *ctx.needs_input_grad[3:])
            to_all = gradients(composition, (generators, steps, *xs), needed, grads)
            return to_all[0], None, None, *to_all[1:]
        with full_precision(diagonal):
            channels = diagonal.shape[-1]
            grad_diagonal, moments = torch.zeros_like(diagonal), torch.zeros_like(table[..., 0])
            grad_xs = []
            for x, grad in zip(xs, grads, strict=True):
                back = plane_rotation(grad, table, "interleaved", inverse=True)
                grad_xs.append(back)
                weighted = back * _for_every(steps, channels).to(back.dtype)
                grad_diagonal += outer_product(x, weighted, len(diagonal))
                if ctx.needs_input_grad[3]:
                    pairs = (z.to(moments.dtype).unflatten(-1, (-1, 2)) for z in (x, back))
                    (x1, x2), (y1, y2) = (pair.unbind(-1) for pair in pairs)
                    moments += (x1 * y2 - x2 * y1).sum(0).sum_to_size(moments.shape)
            to_steps = (moments * frequencies_of(diagonal)[:, None]).sum(0)
            grad_steps = to_steps.unflatten(-1, (steps.shape[-1], -1)).sum(-1)
            return None, None, grad_diagonal, grad_steps, *grad_xs


def _for_every(steps: Tensor, count: int) -> Tensor:
    """The steps of n blocks, [S, n], for each of their channels or planes, [S, count]."""
    return steps.repeat_interleave(count // steps.shape[-1], -1)
