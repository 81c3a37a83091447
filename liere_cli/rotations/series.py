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
    """exp of a batch of skew-symmetric matrices A, and what its backward pass needs.

    With c = 2^-n and X = c A the scheme is kept in multiples that need no scaled copies:
    S = A^2, P' = P / (x1 c^3) and Q' = (x4 I + x5 X + x6 X^2 + x7 P) / (x5 c).

    Args:
        rotations: exp(A), [G, b, b].
        a, square, p, q: A, S, P' and Q'.
        levels: exp(X 2^i) - I for i = 0 .. n - 1.
    """

    rotations: Tensor
    a: Tensor
    square: Tensor
    p: Tensor
    q: Tensor
    levels: list[Tensor]

    def adjoint(self, grad: Tensor) -> Tensor:
        """The skew part of the gradient to A from that to the rotations: 2 n + 5 products."""
        grad_t = square_down(grad.mT.contiguous(), self.levels)
        return self._taylor_adjoint(grad_t, 0.5 ** len(self.levels))

    def _taylor_adjoint(self, grad: Tensor, c: float) -> Tensor:
        # E = c A + y2 c^2 S + k P' Q', gradients to P' and Q' in units of k
        grad_q = torch.bmm(grad, self.p)
        grad_p = torch.bmm(self.q, grad).add_(grad_q, alpha=_X7 * _X1 * c**2 / _X5)
        # P' = x3 / (x1 c) S + S L with L = A + (x2 c / x1) S
        grad_l = torch.bmm(grad_p, self.square)
        factor = torch.add(self.a, self.square, alpha=_X2 * c / _X1)
        grad_square = torch.bmm(factor, grad_p).add_(grad_p, alpha=_X3 / (_X1 * c))
        grad_square.add_(grad_q, alpha=_X6 * c / _X5).add_(grad_l, alpha=_X2 * c / _X1)
        scale = _X1 * _X5 * c**4
        grad_square.add_(grad, alpha=_Y2 * c**2 / scale)
        grad_a = grad_l.add_(grad_q).add_(grad, alpha=c / scale)
        # for skew A only the symmetric part of the gradient to S reaches the skew part of that to A
        grad_a.add_(torch.bmm(grad_square.add(grad_square.mT), self.a))
        return torch.sub(grad_a.mT, grad_a).mul_(scale / 2)


def exponentiate(a: Tensor) -> Exponential:
    """exp of skew-symmetric [G, b, b] in n + 3 products, n squarings."""
    square = torch.bmm(a, a)
    squarings, valid = choose_squarings(norm_bound(square), a.shape[-1])
    c = 0.5**squarings
    factor = torch.add(a, square, alpha=_X2 * c / _X1)
    p = torch.bmm(square, factor).add_(square, alpha=_X3 / (_X1 * c))
    q = torch.add(a, square, alpha=_X6 * c / _X5).add_(p, alpha=_X7 * _X1 * c**2 / _X5)
    q.diagonal(dim1=-2, dim2=-1).add_(_X4 / (_X5 * c))
    e = torch.bmm(p, q).mul_(valid * (_X1 * _X5 * c**4)).add_(a, alpha=c)
    *levels, last = square_up(e.add_(square, alpha=_Y2 * c**2), squarings)
    return Exponential(add_identity(last), a, square, p, q, levels)


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
    valid = torch.ones_like(bound).masked_fill(bound > limit, math.nan)
    return _squarings_for(limit, bound.dtype), valid


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
