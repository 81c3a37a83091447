"""Positions that are whole multiples of others: R(k p) = R(p)^k, a product instead of a series.

On a grid that starts at the origin two in five positions are such multiples.

Shapes: G sets of generators, T positions, F of them first on their rays, b rows.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from liere_cli.rotations.exponential.scaling_squaring import can_read_values

#: digits by which directions are told apart; too few or too many only lose products
_DIGITS = 6
#: how far from a multiple a position may lie, in roundings of its own size
_ROUNDINGS = 4


class Step(NamedTuple):
    """Positions that are sums of two earlier ones on their rays, by index."""

    to: Tensor
    left: Tensor
    right: Tensor


class Rays(NamedTuple):
    """How the rotations of all positions follow from those of some.

    Args:
        first: indices of those, [F].
        steps: the products that give the others, in order.
    """

    first: Tensor
    steps: tuple[Step, ...]


def find_rays(positions: Tensor) -> Rays | None:
    """The rays of positions [T, A]; None where there are none, or where looking would wait.

    Grids without the origin, as displaced ones, are not searched: halves of their multiples lie
    between their positions.
    """
    if not can_read_values(positions) or positions.any(1).all():
        return None
    return _kept_rays(positions.numpy().tobytes(), tuple(positions.shape), positions.dtype)


@lru_cache(maxsize=64)
def _kept_rays(content: bytes, shape: tuple[int, int], dtype: torch.dtype) -> Rays | None:
    points = np.frombuffer(content, str(dtype).removeprefix("torch.")).reshape(shape)
    points = points.astype(np.float64)
    lengths = np.linalg.norm(points, axis=1)
    slack = _ROUNDINGS * torch.finfo(dtype).eps
    first: list[int] = []
    steps: dict[int, list[tuple[int, int, int]]] = {}
    rays: dict[tuple[float, ...], dict[int, int]] = {}
    for index in np.argsort(lengths, kind="stable").tolist():
        point, length = points[index], lengths[index]
        direction = tuple(np.round(point / (length or 1.0), _DIGITS).tolist())
        multiples = rays.setdefault(direction, {1: index})
        start = points[multiples[1]]
        times = round(length / lengths[multiples[1]]) if length else 1
        halves = times - times // 2, times // 2
        is_multiple = np.abs(point - times * start).max() <= slack * length
        if times > 1 and is_multiple and all(half in multiples for half in halves):
            multiples[times] = index
            left, right = (multiples[half] for half in halves)
            steps.setdefault(math.ceil(math.log2(times)), []).append((index, left, right))
        else:
            first.append(index)
    if not steps:
        return None
    return Rays(
        torch.tensor(first),
        tuple(_step(steps[level]) for level in sorted(steps)),
    )


def _step(sums: Sequence[tuple[int, int, int]]) -> Step:
    to, left, right = torch.tensor(sums).unbind(1)
    return Step(to, left, right)


def along_rays(rotations: Tensor, rays: Rays) -> Tensor:
    """Rotations of all positions from those that are first: [G, F, b, b] to [G, T, b, b]."""
    return cast(Tensor, _AlongRays.apply(rotations, rays))  # type: ignore[no-untyped-call]


class _AlongRays(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rotations: Tensor, rays: Rays) -> Tensor:
        count, firsts, *matrix = rotations.shape
        tokens = firsts + sum(len(step.to) for step in rays.steps)
        whole = rotations.new_empty(count, tokens, *matrix)
        whole.index_copy_(1, rays.first, rotations)
        for step in rays.steps:
            left, right = (whole.index_select(1, part) for part in (step.left, step.right))
            whole.index_copy_(1, step.to, torch.matmul(left, right))
        ctx.rays = rays
        ctx.save_for_backward(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (whole,) = ctx.saved_tensors
        # in the order in which it lies: transposed, if it comes from batched products
        transposed = grad.mT.is_contiguous()
        total = (grad.mT if transposed else grad).clone(memory_format=torch.contiguous_format)
        for step in reversed(ctx.rays.steps):
            part = total.index_select(1, step.to)
            left, right = (whole.index_select(1, index) for index in (step.left, step.right))
            if transposed:
                to_left, to_right = torch.matmul(right, part), torch.matmul(part, left)
            else:
                to_left, to_right = torch.matmul(part, right.mT), torch.matmul(left.mT, part)
            total.index_add_(1, step.left, to_left).index_add_(1, step.right, to_right)
        firsts = total.index_select(1, ctx.rays.first)
        return firsts.mT if transposed else firsts, None
