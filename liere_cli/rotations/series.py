"""Scaling and squaring of exponentials in the form E = exp(X) - I, forward and backward.

While E is small its rounding errors are small too; squaring exp(X) itself would double, at every
step, a rounding error of the size of the identity.
"""

import math

import torch
from torch import Tensor

#: largest spectral norm of X at which the Taylor polynomial of degree 8 is as exact as its dtype
RADIUS = {torch.float32: 0.6, torch.float64: 0.03}
#: norm up to which a fixed number of squarings serves, for each row of a matrix
NORM_PER_ROW = 32.0

# Degree 8 in three products (Bader, Blanes, Casas, Mathematics 2019, 7, 1174, equation 14):
#   P = x3 X^2 + X^2 (x1 X + x2 X^2),  exp(X) - I = X + y2 X^2 + P (x4 I + x5 X + x6 X^2 + x7 P)
# with x6 counted from P instead of P - x3 X^2.
_ROOT = math.sqrt(177)
_X3 = 2 / 3
_X1 = _X3 * (1 + _ROOT) / 88
_X2 = _X3 * (1 + _ROOT) / 352
_X4 = (-271 + 29 * _ROOT) / (315 * _X3)
_X5 = 11 * (-1 + _ROOT) / (1260 * _X3)
_X7 = (89 - _ROOT) / (5040 * _X3**2)
_X6 = 11 * (-9 + _ROOT) / (5040 * _X3) - _X7 * _X3
_Y2 = (857 - 58 * _ROOT) / 630


def taylor(x: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
    """exp(x) - I to degree 8 for [G, b, b] of norm within RADIUS, given x and x^2.

    Returns:
        E, and the factor P of the scheme above for the backward, each [G, b, b].
    """
    p = torch.baddbmm(square, square, torch.add(x, square, alpha=_X2 / _X1), beta=_X3, alpha=_X1)
    e = torch.add(x, square, alpha=_Y2)
    return e.baddbmm_(p, _second_factor(x, square, p), alpha=_X5), p


def _second_factor(x: Tensor, square: Tensor, p: Tensor) -> Tensor:
    """(x4 I + x5 X + x6 X^2 + x7 P) / x5."""
    q = torch.add(x, square, alpha=_X6 / _X5).add_(p, alpha=_X7 / _X5)
    q.diagonal(dim1=-2, dim2=-1).add_(_X4 / _X5)
    return q


def taylor_backward(grad: Tensor, x: Tensor, square: Tensor, p: Tensor) -> Tensor:
    """The skew part of the gradient to x, which must be skew-symmetric, from that to E."""
    grad_q = torch.bmm(p.mT, grad)  # to x5 Q / x5
    grad_p = torch.bmm(grad, _second_factor(x, square, p).mT).mul_(_X5)
    grad_p.add_(grad_q, alpha=_X7)
    grad_x = torch.add(grad, grad_q, alpha=_X5)
    # P = x3 X^2 + x1 X^2 L with L = X + (x2 / x1) X^2
    factor = torch.add(x, square, alpha=_X2 / _X1)
    grad_factor = torch.bmm(square, grad_p)
    grad_square = torch.baddbmm(grad_p, grad_p, factor.mT, beta=_X3, alpha=_X1)
    grad_square.add_(grad, alpha=_Y2).add_(grad_q, alpha=_X6).add_(grad_factor, alpha=_X2)
    grad_x.add_(grad_factor, alpha=_X1)
    # for skew X only the symmetric part of the gradient to X^2 reaches the skew part of that to X
    symmetric = grad_square.add(grad_square.mT)
    return skew_part(grad_x.baddbmm_(symmetric, x, alpha=-1))


def skew_part(a: Tensor) -> Tensor:
    """(a - a^T) / 2 over the last two dimensions."""
    return torch.sub(a, a.mT).mul_(0.5)


def square_up(e: Tensor, squarings: int) -> list[Tensor]:
    """Every E on the way from exp(X) - I to exp(2^squarings X) - I, first and last included."""
    levels = [e]
    for _ in range(squarings):
        levels.append(torch.baddbmm(levels[-1], levels[-1], levels[-1], beta=2))
    return levels


def square_down(grad: Tensor, levels: list[Tensor]) -> Tensor:
    """The gradient to the first of the levels from that to the square of the last."""
    for e in reversed(levels):
        grad = torch.baddbmm(grad, grad, e.mT, beta=2).baddbmm_(e.mT, grad)
    return grad


def add_identity(e: Tensor) -> Tensor:
    """E + I in place."""
    e.diagonal(dim1=-2, dim2=-1).add_(1)
    return e


def norm_bound(square: Tensor) -> Tensor:
    """The largest spectral norm of a batch of skew matrices, at most b^(1/4) too large.

    Args:
        square: [..., b, b], the squares of the matrices.

    Returns:
        A scalar on the device: the fourth root of the sum of fourth powers of the rotation rates.
    """
    return (torch.linalg.matrix_norm(square).amax() * math.sqrt(0.5)).sqrt()


def choose_squarings(bound: Tensor, rows: int) -> tuple[int, Tensor | float]:
    """How often to square for matrices of ``rows`` rows and at most that norm.

    Returns:
        The number, and a factor for the matrices: NaN where the number is fixed and the norm beyond
        what it serves, else 1.
    """
    if bound.device.type == "cpu" and not torch.compiler.is_compiling():
        return _squarings_for(float(bound), bound.dtype), 1.0
    limit = NORM_PER_ROW * rows
    return _squarings_for(limit, bound.dtype), torch.where(bound <= limit, 1.0, math.nan)


def _squarings_for(norm: float, dtype: torch.dtype) -> int:
    if not math.isfinite(norm):  # the result is NaN whatever the number
        return 0
    return max(0, math.ceil(math.log2(max(norm, 1e-30) / RADIUS[dtype])))
