"""exp(sum_a p_a A_a) for every position p of a grid.

The powers of a combination of generators are combinations of few products: with S(0) = I and
S(alpha) = sum_a A_a S(alpha - e_a), (sum_a p_a A_a)^m = sum_{|alpha| = m} p^alpha S(alpha). So all
positions share the S up to degree 4, one matrix product combines them, and one product a position
brings the sum to degree 8. Only the squarings remain, and these for positions that are no multiple
of another one.

Shapes: G sets of generators, A axes, T positions, M monomials of degree 1 to 4, b rows.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor

from liere_cli.errors import UsageError
from liere_cli.rotations.precision import check_square, full_precision
from liere_cli.rotations.rays import along_rays, find_rays
from liere_cli.rotations.series import (
    COEFFICIENTS,
    Squares,
    choose_squarings,
    compiled_for,
    reading_is_free,
)
from liere_cli.rotations.skew import cached_entries, skew_exp

#: degree up to which positions share products
DEGREE = 4
#: entries of a chunk where launching work, not the cache, limits the speed
DEVICE_CHUNK_ENTRIES = 1 << 24
#: blocks up to which a compiled series for every position takes less than what is saved by sharing
SMALL_ROWS = 16
#: norms computed from sums that cancel are trusted down to this part of the sum of the norms
_TRUST = 0.2


def grid_exp(generators: Tensor, positions: Tensor) -> Tensor:
    """exp(sum_a p_a A_a), a rotation for every position.

    The backward pass computes the squares again, chunk by chunk, so that nothing but the result
    is kept, and of small blocks the exponents. Range and precision as for ``skew_exp``.

    Args:
        generators: [..., A, b, b] float32 or float64, skew-symmetric.
        positions: [T, A], any floating dtype; they get no gradient.

    Returns:
        [..., T, b, b] in the dtype of the generators, autocast or not; the gradient to the
        generators is exact up to their skew part.

    Raises:
        UsageError: not square, another dtype, or positions of another number of axes.
    """
    check_grid(generators, positions)
    *batch, axes, rows, _ = generators.shape
    positions = positions.detach().to(generators.dtype)
    with full_precision(generators):
        if (
            rows <= 3
            or len(positions) <= monomial_count(axes)
            or (rows <= SMALL_ROWS and compiled_for(generators))
        ):
            exponents = torch.einsum("ta,...aij->...tij", positions, generators)
            return skew_exp(exponents)
        flat = generators.reshape(-1, axes, rows, rows)
        rays = find_rays(positions)
        firsts = positions if rays is None else positions[rays.first]
        rotations = cast(
            Tensor,
            _GridExp.apply(shared_products(flat), firsts),  # type: ignore[no-untyped-call]
        )
        if rays is not None:
            rotations = along_rays(rotations, rays)
        return rotations.view(*batch, len(positions), rows, rows)


def check_grid(generators: Tensor, positions: Tensor) -> None:
    """Raises UsageError unless generators [..., A, b, b] and positions [T, A] fit each other."""
    check_square(generators)
    if generators.ndim < 3:
        raise UsageError(f"generators must be [..., axes, b, b], not {list(generators.shape)}")
    axes = generators.shape[-3]
    if positions.ndim != 2 or positions.shape[1] != axes:
        raise UsageError(f"positions must be [tokens, {axes}], not {list(positions.shape)}")


class _GridExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, products: Tensor, positions: Tensor) -> Tensor:
        count, _, rows, _ = products.shape
        ctx.chunks = plan(products, positions)
        ctx.save_for_backward(products, positions)
        rotations = products.new_empty(count, len(positions), rows, rows)
        for chunk in ctx.chunks:
            chunk.put(rotations, GridExponential(products, positions, chunk).rotations)
        return rotations

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        products, positions = ctx.saved_tensors
        with full_precision(grad):
            grad_products = torch.zeros_like(products)
            for chunk in ctx.chunks:
                part = GridExponential(products, positions, chunk)
                part.add_adjoint(chunk.get(grad.mT), grad_products)
        return grad_products, None


@dataclass(frozen=True)
class Chunk:
    """Positions of some sets of generators that go through the series together.

    Args:
        sets: the generators.
        tokens: indices of the positions; None means all.
        squarings: how often to square.
        factor: multiplies the result: NaN where the norms are beyond what was provided for.
    """

    sets: slice
    tokens: Tensor | None
    squarings: int
    factor: Tensor | float

    def get(self, whole: Tensor) -> Tensor:
        """The chunk's part of [G, T, ...]."""
        part = whole[self.sets]
        return part if self.tokens is None else part.index_select(1, self.tokens)

    def put(self, whole: Tensor, part: Tensor) -> None:
        """Writes that part."""
        if self.tokens is None:
            whole[self.sets] = part
        else:
            whole[self.sets].index_copy_(1, self.tokens, part)


class GridExponential:
    """The rotations of a chunk, and the intermediate results that their gradient needs.

    Args:
        products: ``shared_products`` of all generators, [G, M, b, b].
        positions: [T, A].
    """

    def __init__(self, products: Tensor, positions: Tensor, chunk: Chunk) -> None:
        if chunk.tokens is not None:
            positions = positions[chunk.tokens]
        self.chunk = chunk
        self.rows = products.shape[-1]
        powers = [
            power * 0.5 ** (degree * chunk.squarings)
            for degree, power in enumerate(monomials(positions), start=1)
        ]
        self.low = _weighted(powers, 0)
        self.high = _weighted(powers, DEGREE)
        self.top = powers[-1]
        flat = products[chunk.sets].flatten(2)  # [g, M, b * b]
        self.x4 = self._combine(self.top, flat[:, -self.top.shape[1] :])
        self.q = self._combine(self.high, flat)
        e = self._combine(self.low, flat).add_(torch.bmm(self.x4, self.q))
        self.squares = Squares(e, chunk.squarings)
        rotations = self.squares.rotations
        if isinstance(chunk.factor, Tensor):
            rotations = rotations * chunk.factor
        self.rotations = rotations.view(len(flat), len(positions), self.rows, self.rows)

    def _combine(self, weights: Tensor, flat: Tensor) -> Tensor:
        return torch.matmul(weights, flat).view(-1, self.rows, self.rows)

    def add_adjoint(self, grad_t: Tensor, grad_products: Tensor) -> None:
        """Adds the gradient to the shared products.

        Args:
            grad_t: gradient to the rotations, each matrix transposed, [g, T, b, b] as the chunk's.
            grad_products: [G, M, b, b].
        """
        grad_t = self.squares.adjoint(grad_t.contiguous().view(-1, self.rows, self.rows))
        grad_q = torch.bmm(grad_t, self.x4)
        grad_x4 = torch.bmm(self.q, grad_t)
        tokens = len(self.low)
        whole = self.low.T @ grad_t.view(-1, tokens, self.rows**2)
        whole += self.high.T @ grad_q.view(-1, tokens, self.rows**2)
        top = self.top.T @ grad_x4.view(-1, tokens, self.rows**2)
        whole[:, -top.shape[1] :] += top
        grad_products[self.chunk.sets] += whole.view(*whole.shape[:2], self.rows, self.rows).mT


def monomials(positions: Tensor) -> list[Tensor]:
    """p^alpha for |alpha| = 1 .. DEGREE: one [T, number of alpha] for each degree.

    In lexicographic order the monomials without the first axes are the last ones.
    """
    axes = positions.shape[1]
    powers = [positions]
    for degree in range(2, DEGREE + 1):
        parts = []
        for axis in range(axes):
            without = monomials_of_degree(axes - axis, degree - 1)
            parts.append(positions[:, axis, None] * powers[-1][:, -without:])
        powers.append(torch.cat(parts, 1))
    return powers


def monomials_of_degree(axes: int, degree: int) -> int:
    """How many monomials in that many variables have exactly that degree."""
    return math.comb(axes + degree - 1, degree)


def monomial_count(axes: int) -> int:
    """M: how many monomials have degree 1 to DEGREE."""
    return sum(monomials_of_degree(axes, degree) for degree in range(1, DEGREE + 1))


def _weighted(powers: list[Tensor], shift: int) -> Tensor:
    """c_(|alpha| + shift) p^alpha, [T, M]."""
    weights = COEFFICIENTS[powers[0].dtype][1 + shift :]
    return torch.cat([power * c for power, c in zip(powers, weights, strict=False)], 1)


def shared_products(generators: Tensor) -> Tensor:
    """S(alpha) for |alpha| = 1 .. DEGREE in the order of ``monomials``; differentiable.

    Args:
        generators: [G, A, b, b].

    Returns:
        [G, M, b, b].
    """
    axes = generators.shape[1]
    products = [generators]
    find_places = _places if torch.compiler.is_compiling() else _kept_places
    for degree in range(2, DEGREE + 1):
        terms = torch.matmul(generators[:, :, None], products[-1][:, None]).flatten(1, 2)
        places = find_places(axes, degree, generators.device)
        size = (len(terms), monomials_of_degree(axes, degree), *terms.shape[2:])
        products.append(terms.new_zeros(size).index_add(1, places, terms))
    return torch.cat(products, 1)


def _places(axes: int, degree: int, device: torch.device) -> Tensor:
    """Where alpha + e_a is among the monomials of a degree, for every axis a and alpha below it."""
    places = {word: place for place, word in enumerate(_words(axes, degree))}
    lower = _words(axes, degree - 1)
    above = [tuple(sorted((axis, *word))) for axis in range(axes) for word in lower]
    return torch.tensor([places[word] for word in above], device=device)


@cache
def _kept_places(axes: int, degree: int, device: torch.device) -> Tensor:
    """An index that is on the device already lets a CUDA graph record the call."""
    with torch.inference_mode(False):  # else a first call in that mode spoils it for training
        return _places(axes, degree, device)


def _words(axes: int, degree: int) -> list[tuple[int, ...]]:
    """The monomials of a degree in lexicographic order, each as its sorted axes."""
    words: list[tuple[int, ...]] = [()]
    for _ in range(degree):
        words = [
            (axis, *word)
            for axis in range(axes)
            for word in words
            if axis <= min(word, default=axis)
        ]
    return words


def norm_bounds(products: Tensor, positions: Tensor) -> Tensor:
    """At most how large the spectral norm of sum_a p_a A_a is, [G, T].

    The fourth powers are in the products: the eighth root of the sum of eighth powers of all
    rotation rates exceeds the largest by at most b^(1/8).
    """
    top = products[:, -monomials_of_degree(positions.shape[1], DEGREE) :].flatten(2)
    if reading_is_free(products):
        top, positions = top.double(), positions.double()
    gram = top @ top.mT

    def norms(at: Tensor) -> Tensor:
        weights = monomials(at)[-1]
        squared = ((weights @ gram) * weights).sum(-1)
        return (squared.clamp(min=0) / 2) ** (1 / 8)

    unit = torch.eye(positions.shape[1], dtype=positions.dtype, device=positions.device)
    return torch.maximum(norms(positions), _TRUST * norms(unit) @ positions.abs().T)


def plan(products: Tensor, positions: Tensor) -> list[Chunk]:
    """How to cut [G, T] into chunks that fit the cache, positions of similar norm together."""
    count, rows, tokens = len(products), products.shape[-1], len(positions)
    bounds = norm_bounds(products, positions)
    if not reading_is_free(products):
        step = max(1, DEVICE_CHUNK_ENTRIES // (tokens * rows**2))
        squarings, factor = choose_squarings(bounds.amax().to(products.dtype), rows)
        starts = range(0, count, step)
        return [Chunk(slice(i, i + step), None, squarings, factor) for i in starts]
    # larger than for exponentials one by one: each chunk also reads all shared products
    entries = 2 * cached_entries()
    step = max(1, entries // (tokens * rows**2))
    token_step = max(1, entries // (step * rows**2))
    chunks = []
    for i in range(0, count, step):
        sets = slice(i, i + step)
        highest = bounds[sets].amax(0).to(products.dtype)
        order = [None] if token_step >= tokens else highest.argsort().split(token_step)
        for part in order:
            bound = (highest if part is None else highest[part]).amax()
            chunks.append(Chunk(sets, part, *choose_squarings(bound, rows)))
    return chunks
