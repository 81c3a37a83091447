"""Scaling and squaring of exponentials in the form E = exp(X) - I, forward and backward.

While E is small its rounding errors are small too; squaring exp(X) itself doubles, at every step, a
rounding error of the size of the identity, so only the last steps do that.

Shapes: G matrices, b rows. Gradients are kept transposed, so that no product needs a transpose.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.polynomial.chebyshev import cheb2poly, poly2cheb
from torch import Tensor

from liere_cli.rotations.kernels.exponential import ExponentialKernel, exponential_kernel
from liere_cli.rotations.kernels.triton import exponential as triton

AnyExponentialKernel = ExponentialKernel | triton.ExponentialKernel

#: largest spectral norm at which the polynomial is as accurate as its dtype
RADIUS = {torch.float32: 1.1, torch.float64: 0.09}
#: after more squarings no digit of the result is correct
MAX_SQUARINGS = {torch.float32: 22, torch.float64: 48}
#: the last squarings, of exp(X) itself: each saves a pass over memory, together they multiply the
#: rounding error of an entry by 2^4
PLAIN_SQUARINGS = 4
#: rows that fill the vector registers of a CPU
FULL_ROWS = 16
#: norm, per row of a matrix, up to which no squaring needs a mask where values can't be read: eight
#: times the largest of LieRE's initialisation on two axes
NORM_PER_ROW = 32.0


class Polynomial(NamedTuple):
    """exp(X) - I to degree 8 in three products, the first being X^2.

    P = X^2 (x3 I + x1 X + X^2),  exp(X) - I = y1 X + y2 X^2 + P (x4 I + x5 X + x6 X^2 + x7 P)
    (Bader, Blanes, Casas, Mathematics 2019, 7, 1174, equation 14, for any coefficients).
    """

    y1: float
    y2: float
    x1: float
    x3: float
    x4: float
    x5: float
    x6: float
    x7: float


def coefficients(radius: float) -> list[float]:
    """c_0 .. c_8 of exp(X) - I for skew-symmetric X of at most that spectral norm.

    X times the Chebyshev series of (exp(X) - 1) / X on the imaginary axis to degree 7, whose
    radius is nearly twice that of Taylor's at the same error.
    """
    axis = (1j * radius) ** np.arange(16)
    taylor = np.array([1 / math.factorial(k + 1) for k in range(16)])
    dropped = poly2cheb(taylor * axis)
    dropped[:8] = 0
    # Taylor's minus a small correction, which loses no digits at small radii
    return [0.0, *(taylor - (cheb2poly(dropped) / axis).real)[:8].tolist()]


def in_three_products(c: list[float]) -> Polynomial:
    """The polynomial with these coefficients, by comparing those of X^8 down to X^2.

    All follow from x3, and comparing X^3 gives a quadratic equation for x3.
    """
    x7, x1 = c[8], c[7] / (2 * c[8])
    slope = c[6] - x7 * x1**2
    x5 = c[5] - x1 * slope
    linear = x5 - x1 * slope
    constant = x1 * c[4] - x1**2 * x5 - c[3]
    x3 = (math.sqrt(linear**2 - 4 * x1 * x7 * constant) - linear) / (2 * x1 * x7)
    x4 = c[4] - x1 * x5 - slope * x3 + x7 * x3**2
    return Polynomial(c[1], c[2] - x3 * x4, x1, x3, x4, x5, slope - 2 * x7 * x3, x7)


COEFFICIENTS = {dtype: coefficients(radius) for dtype, radius in RADIUS.items()}
POLYNOMIALS = {dtype: in_three_products(c) for dtype, c in COEFFICIENTS.items()}


@dataclass(frozen=True)
class Squarings:
    """How often the exponentials of a batch of matrices are squared.

    Args:
        fixed: squarings of all of them, the last ones.
        factor: of the rotations, [G] or 1: NaN where no number of squarings leaves a correct digit.
        masks: which matrices each of M further squarings applies to, [M, G] bool.
    """

    fixed: int
    factor: Tensor | float = 1.0
    masks: Tensor | None = None

    def scale(self) -> Tensor | float:
        """2^-m for the m further squarings of each matrix, [G], or 1; exact."""
        if self.masks is None or not isinstance(self.factor, Tensor):
            return 1.0
        return (1 - self.masks.to(self.factor.dtype) / 2).prod(0)

    def masks_of_blocks(self) -> list[Tensor]:
        """The masks as [G, 1, 1] each."""
        return [] if self.masks is None else list(self.masks[..., None, None].unbind())


@dataclass(frozen=True)
class Exponential:
    """exp of a batch of skew-symmetric matrices A, and what its backward pass needs.

    With c = 2^-n and X = c A the terms are stored in multiples that need no scaled copies:
    S = A^2, P' = P / (x1 c^3) and Q' = (x4 I + x5 X + x6 X^2 + x7 P) / (x5 c). Where further
    squarings have masks, A stands for the scaled matrices.

    Args:
        rotations: exp of the matrices, [G, b, b].
        a, square, p, q: A, S, P' and Q'.
        squarings: n fixed ones, and further ones.
        levels: exp of the multiples of X, one before each squaring.
    """

    rotations: Tensor
    a: Tensor
    square: Tensor
    p: Tensor
    q: Tensor
    squarings: Squarings
    levels: list[Tensor]

    def adjoint(self, grad_t: Tensor) -> Tensor:
        """The skew part of the gradient to A from the transposed one to the rotations, in 2 n + 5
        products.
        """
        grad = repeated_squares_backward(grad_t, self.levels, self.squarings)
        poly, c = POLYNOMIALS[grad.dtype], 0.5**self.squarings.fixed
        # E = y1 c A + y2 c^2 S + scale P' Q'; gradients in units of scale
        scale = poly.x1 * poly.x5 * c**4
        grad_q = torch.bmm(grad, self.p)
        grad_p = torch.mul(grad_q, poly.x7 * poly.x1 * c**2 / poly.x5)
        grad_p = add_product(grad_p, self.q, grad)
        # P' = S L
        factor = _factor(self.a, self.square, poly, c)
        grad_l = torch.bmm(grad_p, self.square)
        grad_square = torch.bmm(factor, grad_p).add_(grad, alpha=poly.y2 * c**2 / scale)
        grad_square.add_(grad_q, alpha=poly.x6 * c / poly.x5).add_(grad_l, alpha=c / poly.x1)
        grad_a = grad_l.add_(grad_q).add_(grad, alpha=poly.y1 * c / scale)
        # for skew A only the symmetric part of the gradient to S reaches the skew part of that to A
        symmetric = grad_square.add(grad_square.mT)
        grad_a = add_product(grad_a, symmetric, self.a, beta=scale / 2, alpha=scale / 2)
        return _by_matrix(torch.sub(grad_a.mT, grad_a), self.squarings.scale())


def exponentiate(a: Tensor) -> Exponential:
    """exp of skew-symmetric [G, b, b] in n + 3 products, n squarings."""
    square = torch.bmm(a, a)
    squarings = choose_squarings(norm_bound(square), a.shape[-1])
    scale = squarings.scale()
    a, square = _by_matrix(a, scale), _by_matrix(_by_matrix(square, scale), scale)
    poly, c = POLYNOMIALS[a.dtype], 0.5**squarings.fixed
    p = torch.bmm(square, _factor(a, square, poly, c))
    q = torch.add(a, square, alpha=poly.x6 * c / poly.x5)
    q = _add_diagonal(q.add_(p, alpha=poly.x7 * poly.x1 * c**2 / poly.x5), poly.x4 / (poly.x5 * c))
    e = torch.add(a, square, alpha=poly.y2 * c / poly.y1)
    e = add_product(e, p, q, beta=poly.y1 * c, alpha=poly.x1 * poly.x5 * c**4)
    *levels, rotations = repeated_squares(e, squarings)
    rotations = _by_matrix(rotations, squarings.factor)
    return Exponential(rotations, a, square, p, q, squarings, levels)


def _by_matrix(x: Tensor, factor: Tensor | float) -> Tensor:
    """[G, b, b] times [G], or times 1."""
    return x * factor[:, None, None] if isinstance(factor, Tensor) else x


def _factor(a: Tensor, square: Tensor, poly: Polynomial, c: float) -> Tensor:
    """L = (x3 I + x1 X + X^2) / (x1 c)."""
    factor = torch.add(a, square, alpha=c / poly.x1)
    return _add_diagonal(factor, poly.x3 / (poly.x1 * c))


def repeated_squares(e: Tensor, squarings: Squarings) -> list[Tensor]:
    """exp(X), and the result of each squaring, from E = exp(X) - I, which is overwritten."""
    levels = []
    unmasked = squarings.fixed - PLAIN_SQUARINGS
    for mask in (*squarings.masks_of_blocks(), *[None] * unmasked):
        squared = add_product(e * 2, e, e)
        if mask is not None:
            squared = torch.where(mask, squared, e)
        levels.append(_add_diagonal(e, 1))
        e = squared
    levels.append(_add_diagonal(e, 1))
    for _ in range(min(squarings.fixed, PLAIN_SQUARINGS)):
        levels.append(torch.bmm(levels[-1], levels[-1]))
    return levels


def repeated_squares_backward(grad: Tensor, levels: list[Tensor], squarings: Squarings) -> Tensor:
    """The transposed gradient to the first level from the gradient to the square of the last."""
    masks = squarings.masks_of_blocks()
    for i, rotation in reversed(list(enumerate(levels))):
        before = add_product(torch.bmm(grad, rotation), rotation, grad)
        grad = torch.where(masks[i], before, grad) if i < len(masks) else before
    return grad


def add_product(
    total: Tensor, x: Tensor, y: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """beta total + alpha x y in place, of [G, b, b].

    Where rows don't fill the vector registers, MKL takes 1.5 times as long with a sum as without.
    """
    if total.shape[-1] % FULL_ROWS == 0 or total.device.type != "cpu":
        return total.baddbmm_(x, y, beta=beta, alpha=alpha)
    scaled = total if beta == 1 else total.mul_(beta)
    return scaled.add_(torch.bmm(x, y), alpha=alpha)


def _add_diagonal(x: Tensor, value: float) -> Tensor:
    """x + value I in place."""
    x.diagonal(dim1=-2, dim2=-1).add_(value)
    return x


def norm_bound(square: Tensor) -> Tensor:
    """Upper bounds of the spectral norms of skew-symmetric matrices, at most b^(1/4) too large,
    from their squares: the fourth root of the sum of fourth powers of the frequencies, [G].
    """
    largest: Tensor = torch.linalg.matrix_norm(square)
    return (largest * math.sqrt(0.5)).sqrt()


def choose_squarings(bounds: Tensor, rows: int) -> Squarings:
    """The squarings for matrices of ``rows`` rows whose norms are at most ``bounds``, [G].

    Where values can't be read, all that any norm may need are computed, and masks say where the
    result is used.
    """
    dtype = bounds.dtype
    if can_read_values(bounds):
        count = _squarings_for(float(bounds.amax()), dtype)
        if count <= MAX_SQUARINGS[dtype]:
            return Squarings(count)
        valid = bounds <= RADIUS[dtype] * 2.0 ** MAX_SQUARINGS[dtype]
        largest = float(bounds.masked_fill(~valid, 0.0).amax())
        factor = torch.ones_like(bounds).masked_fill(~valid, math.nan)
        return Squarings(_squarings_for(largest, dtype), factor)
    fixed = min(_squarings_for(NORM_PER_ROW * rows, dtype), MAX_SQUARINGS[dtype])
    more = torch.arange(MAX_SQUARINGS[dtype] - fixed, -1, -1, device=bounds.device)
    limits = RADIUS[dtype] * torch.exp2((fixed + more).to(dtype))  # largest norm first
    # also where a bound is not a number
    factor = torch.ones_like(bounds).masked_fill(~(bounds <= limits[0]), math.nan)
    return Squarings(fixed, factor, bounds > limits[1:, None])


def can_read_values(x: Tensor) -> bool:
    """Whether Python can read values without waiting for a device or breaking a graph."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def compiled_exponential(a: Tensor) -> AnyExponentialKernel | None:
    """The kernel for matrices like these, [..., b, b]; None where torch must do."""
    if a.dtype not in POLYNOMIALS:
        return None
    polynomial = (*POLYNOMIALS[a.dtype], RADIUS[a.dtype])
    kernel = exponential_kernel(a, polynomial) if can_read_values(a) else None
    return kernel or triton.exponential_kernel(a, polynomial)


def _squarings_for(norm: float, dtype: torch.dtype) -> int:
    """Halvings that bring a norm within the radius, at most MAX_SQUARINGS + 1."""
    squarings, radius = 0, RADIUS[dtype]
    # a loop, as torch.compile can't trace a logarithm
    while not norm <= radius and squarings <= MAX_SQUARINGS[dtype]:
        squarings, radius = squarings + 1, 2 * radius
    return squarings
