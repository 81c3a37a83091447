"""Closed forms of exp for skew-symmetric blocks of two and three rows."""

import math

import torch
from torch import Tensor

#: squared angle below which Taylor series replace quotients whose derivatives would cancel
_TAYLOR_BELOW = 1.0
_TAYLOR_TERMS = 10


def exp2(a: Tensor) -> Tensor:
    """exp of [..., 2, 2] skew-symmetric matrices: one plane rotated by its entry."""
    angle = a[..., 0, 1]
    cos, sin = angle.cos(), angle.sin()
    return torch.stack((cos, sin, -sin, cos), -1).view(a.shape)


def exp3(a: Tensor) -> Tensor:
    """exp of [..., 3, 3] skew-symmetric matrices by Rodrigues' formula, differentiable at 0 too:
    I + sin(t)/t A + (1 - cos(t))/t^2 A^2, A^2 = v v^T - t^2 I, v the axis of A and t its length.
    """
    axis = torch.stack((a[..., 2, 1], a[..., 0, 2], a[..., 1, 0]), -1)
    squared = axis.square().sum(-1)[..., None, None]
    small = squared < _TAYLOR_BELOW
    angle = torch.where(small, 1.0, squared).sqrt()
    near = torch.where(small, squared, 0.0)
    first = torch.where(small, _taylor(near, 1), angle.sin() / angle)
    second = torch.where(small, _taylor(near, 2), (1 - angle.cos()) / angle.square())
    identity = torch.eye(3, dtype=a.dtype, device=a.device)
    outer = axis[..., :, None] * axis[..., None, :]
    return (1 - second * squared) * identity + first * a + second * outer


def _taylor(squared: Tensor, start: int) -> Tensor:
    """sum_k (-squared)^k / (2 k + start)!: sin(t)/t for start 1, (1 - cos(t))/t^2 for start 2."""
    total = torch.full_like(squared, 1 / math.factorial(2 * _TAYLOR_TERMS + start))
    for k in reversed(range(_TAYLOR_TERMS)):
        total = 1 / math.factorial(2 * k + start) - total * squared
    return total
