"""Scaling and squaring of exponentials in the form E = exp(X) - I, forward and backward.

While E is small its rounding errors are small too; squaring exp(X) itself would double, at every
step, a rounding error of the size of the identity.

Shapes: G matrices, b rows. Gradients are kept transposed, so that no product needs a transpose.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

#: largest spectral norm at which a Taylor polynomial of degree 8 is as exact as its dtype
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


@dataclass(frozen=True)
class Exponential:
    """exp of a batch of skew-symmetric matrices, and what its backward pass needs.

    Args:
        rotations: exp(X 2^n), [G, b, b].
        x, square, p: X, X^2 and the factor P of the scheme above.
        levels: exp(X 2^i) - I for i = 0 .. n - 1.
    """

    rotations: Tensor
    x: Tensor
    square: Tensor
    p: Tensor
    levels: list[Tensor]

    def adjoint(self, grad: Tensor) -> Tensor:
        """The skew part of the gradient to X 2^n from that to the rotations: 2 n + 5 products."""
        grad_t = square_down(grad.mT.contiguous(), self.levels)
        grad_x_t = _taylor_adjoint(grad_t, self.x, self.square, self.p)
        return torch.sub(grad_x_t.mT, grad_x_t).mul_(0.5 ** (1 + len(self.levels)))


def exponentiate(a: Tensor) -> Exponential:
    """exp of skew-symmetric [G, b, b] in n + 3 products, n squarings."""
    square = torch.bmm(a, a)
    squarings, factor = choose_squarings(norm_bound(square), a.shape[-1])
    x, square = a * (factor * 0.5**squarings), square.mul_(0.25**squarings)
    p = torch.bmm(square, torch.add(x, square, alpha=_X2 / _X1)).mul_(_X1).add_(square, alpha=_X3)
    e = torch.bmm(p, _second_factor(x, square, p)).mul_(_X5).add_(x).add_(square, alpha=_Y2)
    *levels, last = square_up(e, squarings)
    return Exponential(add_identity(last), x, square, p, levels)


def _second_factor(x: Tensor, square: Tensor, p: Tensor) -> Tensor:
    """(x4 I + x5 X + x6 X^2 + x7 P) / x5."""
    q = torch.add(x, square, alpha=_X6 / _X5).add_(p, alpha=_X7 / _X5)
    q.diagonal(dim1=-2, dim2=-1).add_(_X4 / _X5)
    return q


def _taylor_adjoint(grad: Tensor, x: Tensor, square: Tensor, p: Tensor) -> Tensor:
    """The transposed gradient to X, its skew part alone exact, from the transposed one to E."""
    grad_q = torch.bmm(grad, p)  # to x5 Q / x5
    grad_p = torch.bmm(_second_factor(x, square, p), grad).add_(grad_q, alpha=_X7 / _X5).mul_(_X5)
    # P = x3 X^2 + x1 X^2 L with L = X + (x2 / x1) X^2
    grad_l = torch.bmm(grad_p, square)
    l_grad = torch.bmm(torch.add(x, square, alpha=_X2 / _X1), grad_p)
    grad_square = l_grad.mul_(_X1).add_(grad_p, alpha=_X3)
    grad_square.add_(grad, alpha=_Y2).add_(grad_q, alpha=_X6).add_(grad_l, alpha=_X2)
    # for skew X only the symmetric part of the gradient to X^2 reaches the skew part of that to X
    grad_x = torch.bmm(grad_square.add(grad_square.mT), x)
    return grad_x.add_(grad).add_(grad_q, alpha=_X5).add_(grad_l, alpha=_X1)


def square_up(e: Tensor, squarings: int) -> list[Tensor]:
    """Every E on the way from exp(X) - I to exp(2^squarings X) - I, first and last included."""
    levels = [e]
    for _ in range(squarings):
        # two steps: baddbmm copies its addend before it multiplies
        levels.append(torch.bmm(levels[-1], levels[-1]).add_(levels[-1], alpha=2))
    return levels


def square_down(grad: Tensor, levels: list[Tensor]) -> Tensor:
    """The transposed gradient to the first level from that to the square of the last."""
    for e in reversed(levels):
        grad = torch.bmm(grad, e).add_(torch.bmm(e, grad)).add_(grad, alpha=2)
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
    largest: Tensor = torch.linalg.matrix_norm(square).amax()
    return (largest * math.sqrt(0.5)).sqrt()


def choose_squarings(bound: Tensor, rows: int) -> tuple[int, Tensor | float]:
    """How often to square for matrices of ``rows`` rows and at most that norm.

    Returns:
        The number, and a factor for the matrices: NaN where the number is fixed and the norm beyond
        what it serves, else 1.
    """
    if reading_is_free(bound):
        return _squarings_for(float(bound), bound.dtype), 1.0
    limit = NORM_PER_ROW * rows
    return _squarings_for(limit, bound.dtype), torch.where(bound <= limit, 1.0, math.nan)


def reading_is_free(x: Tensor) -> bool:
    """Whether Python may look at values without waiting for a device or breaking a graph."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def _squarings_for(norm: float, dtype: torch.dtype) -> int:
    squarings, reach = 0, RADIUS[dtype]
    # counted rather than taken from a logarithm, which a compiler can't follow; of infinite
    # matrices the result is NaN whatever the number
    while reach < norm < math.inf:
        squarings, reach = squarings + 1, 2 * reach
    return squarings
