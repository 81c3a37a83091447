"""Exponentials of combinations of generators from products that all positions share.

The powers of a combination of generators are combinations of few products: with S(0) = I and
S(alpha) = sum_a A_a S(alpha - e_a), (sum_a p_a A_a)^m = sum_{|alpha| = m} p^alpha S(alpha). So all
positions share the S up to degree 4, one matrix product combines them, and one product for each
position extends the sum to degree 8. Only the squarings remain.

Shapes: G sets of generators, A axes, T positions, M monomials of degree 1 to 4, b rows.
"""

import math
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from liere_cli.rotations.exponential.chunks import (
    Chunk,
    ChunkExponential,
    cached_entries,
    chunk_sizes,
)
from liere_cli.rotations.exponential.scaling_squaring import (
    COEFFICIENTS,
    Squarings,
    can_read_values,
    choose_squarings,
    repeated_squares,
    repeated_squares_backward,
)

#: degree up to which positions share products
DEGREE = 4
#: entries of a chunk on devices where launches, not the cache, limit the speed
DEVICE_CHUNK_ENTRIES = 1 << 23
#: norms of sums that cancel are assumed to be at least this fraction of the sum of the norms
_TRUST = 0.2


@dataclass(frozen=True)
class TaylorChunk(Chunk):
    """Squared together; factor and masks of the squarings are by position."""

    squarings: Squarings

    def build(self, source: Tensor, positions: Tensor) -> ChunkExponential:
        return _TaylorExponential(self, source, positions[self.tokens])


class _TaylorExponential(ChunkExponential):
    """From ``shared_products`` of all generators, [G, M, b, b], at positions [t, A]."""

    def __init__(self, chunk: TaylorChunk, products: Tensor, positions: Tensor) -> None:
        self.chunk = chunk
        self.rows = products.shape[-1]
        squarings = chunk.squarings
        if isinstance(scale := squarings.scale(), Tensor):
            positions = positions * scale[:, None]
        powers = [
            power * 0.5 ** (degree * squarings.fixed)
            for degree, power in enumerate(monomials(positions), start=1)
        ]
        self.low = _weighted(powers, 0)
        self.high = _weighted(powers, DEGREE)
        self.top = powers[-1]
        flat = products[chunk.sets].flatten(2)  # [g, M, b * b]
        self.x4 = self._combine(self.top, flat[:, -self.top.shape[1] :])
        self.q = self._combine(self.high, flat)
        e = self._combine(self.low, flat).add_(torch.bmm(self.x4, self.q))
        if squarings.masks is not None:  # the same for every set
            squarings = replace(squarings, masks=squarings.masks.repeat(1, len(flat)))
        self.squarings = squarings
        *self.levels, rotations = repeated_squares(e, squarings)
        self._rotations = rotations.view(len(flat), len(positions), self.rows, self.rows)
        if isinstance(squarings.factor, Tensor):
            self._rotations = self._rotations * squarings.factor[:, None, None]

    def rotations(self) -> Tensor:
        return self._rotations

    def _combine(self, weights: Tensor, flat: Tensor) -> Tensor:
        return torch.matmul(weights, flat).view(-1, self.rows, self.rows)

    def add_adjoint(self, grad_t: Tensor, grad_source: Tensor) -> Tensor:
        grad_t = repeated_squares_backward(
            grad_t.contiguous().view(-1, self.rows, self.rows), self.levels, self.squarings
        )
        grad_q = torch.bmm(grad_t, self.x4)
        grad_x4 = torch.bmm(self.q, grad_t)
        tokens = len(self.low)
        whole = self.low.T @ grad_t.view(-1, tokens, self.rows**2)
        whole += self.high.T @ grad_q.view(-1, tokens, self.rows**2)
        top = self.top.T @ grad_x4.view(-1, tokens, self.rows**2)
        whole[:, -top.shape[1] :] += top
        grad_source[self.chunk.sets] += whole.view(*whole.shape[:2], self.rows, self.rows).mT
        return self._rotations


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
    """Number of monomials of exactly that degree in that many variables."""
    return math.comb(axes + degree - 1, degree)


def monomial_count(axes: int) -> int:
    """M: number of monomials of degree 1 to DEGREE."""
    return sum(monomials_of_degree(axes, degree) for degree in range(1, DEGREE + 1))


def _weighted(powers: list[Tensor], shift: int) -> Tensor:
    """c_(|alpha| + shift) p^alpha, [T, M]."""
    weights = COEFFICIENTS[powers[0].dtype][1 + shift :]
    return torch.cat([power * c for power, c in zip(powers, weights, strict=False)], 1)


def shared_products(generators: Tensor) -> Tensor:
    """S(alpha) for |alpha| = 1 .. DEGREE in the order of ``monomials``, [G, M, b, b], of generators
    [G, A, b, b]; differentiable.
    """
    axes = generators.shape[1]
    products = [generators]
    index_of = _term_index if torch.compiler.is_compiling() else _cached_term_index
    for degree in range(2, DEGREE + 1):
        terms = torch.matmul(generators[:, :, None], products[-1][:, None]).flatten(1, 2)
        index = index_of(axes, degree, generators.device)
        size = (len(terms), monomials_of_degree(axes, degree), *terms.shape[2:])
        products.append(terms.new_zeros(size).index_add(1, index, terms))
    return torch.cat(products, 1)


def _term_index(axes: int, degree: int, device: torch.device) -> Tensor:
    """Indices of alpha + e_a among monomials of a degree, for all a and alpha of a degree less."""
    index = {alpha: i for i, alpha in enumerate(_sorted_axes(axes, degree))}
    lower = _sorted_axes(axes, degree - 1)
    products = [tuple(sorted((axis, *alpha))) for axis in range(axes) for alpha in lower]
    return torch.tensor([index[product] for product in products], device=device)


@cache
def _cached_term_index(axes: int, degree: int, device: torch.device) -> Tensor:
    """Kept on the device, so that a CUDA graph can record the call."""
    with torch.inference_mode(False):  # an inference tensor could not be used in training later
        return _term_index(axes, degree, device)


def _sorted_axes(axes: int, degree: int) -> list[tuple[int, ...]]:
    """The monomials of a degree in lexicographic order, each as a tuple of sorted axes."""
    products: list[tuple[int, ...]] = [()]
    for _ in range(degree):
        products = [
            (axis, *alpha)
            for axis in range(axes)
            for alpha in products
            if axis <= min(alpha, default=axis)
        ]
    return products


def norm_bounds(products: Tensor, positions: Tensor) -> Tensor:
    """Upper bounds of the spectral norms of sum_a p_a A_a, [G, T].

    The products contain the fourth powers: the eighth root of the sum of eighth powers of all
    frequencies exceeds the largest by at most b^(1/8).
    """
    top = products[:, -monomials_of_degree(positions.shape[1], DEGREE) :].flatten(2)
    size = extent = torch.ones((), dtype=positions.dtype, device=positions.device)
    if can_read_values(products):
        top, positions = top.double(), positions.double()
    else:  # eighth powers of large norms are not finite in float32
        smallest = torch.finfo(top.dtype).tiny
        size = top.abs().amax().clamp(min=smallest)
        extent = positions.abs().nan_to_num(0.0, 0.0).amax().clamp(min=smallest)
        top = top / size
    gram = top @ top.mT

    def norms(at: Tensor) -> Tensor:
        weights = monomials(at)[-1]
        squared = ((weights @ gram) * weights).sum(-1)
        return (squared.clamp(min=0) / 2) ** (1 / 8) * size**0.25

    unit = torch.eye(positions.shape[1], dtype=positions.dtype, device=positions.device)
    apart = norms(positions / extent) * extent
    return torch.maximum(apart, _TRUST * norms(unit) @ positions.abs().T)


def taylor_chunks(products: Tensor, positions: Tensor) -> list[Chunk]:
    """Divides [G, T] into chunks; positions of similar norm share one."""
    count, rows, tokens = len(products), products.shape[-1], len(positions)
    if not tokens:
        return []
    bounds = norm_bounds(products, positions)
    if not can_read_values(products):
        parts, _ = chunk_sizes(count, tokens, rows, DEVICE_CHUNK_ENTRIES)
        return [
            TaylorChunk(sets, slice(None), choose_squarings(bounds[sets].amax(0), rows))
            for sets in parts
        ]
    # larger than for single exponentials, as each chunk also reads all shared products
    parts, step = chunk_sizes(count, tokens, rows, 2 * cached_entries())
    chunks: list[Chunk] = []
    for sets in parts:
        highest = bounds[sets].amax(0).to(products.dtype)
        runs = [slice(None)] if step >= tokens else highest.argsort().split(step)
        for run in runs:
            chunks.append(TaylorChunk(sets, run, choose_squarings(highest[run], rows)))
    return chunks
