"""exp(sum_a p_a A_a) for every position p of a grid.

Shapes: G sets of generators, A axes, T positions, b rows.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from liere_cli.errors import UsageError
from liere_cli.rotations.derivatives import backward_is_composed, composed, gradients
from liere_cli.rotations.exponential import shared_taylor
from liere_cli.rotations.exponential.chunks import (
    Chunk,
    ChunkExponential,
    Chunking,
    cached_entries,
    chunk_sizes,
    slices,
)
from liere_cli.rotations.exponential.scaling_squaring import (
    AnyExponentialKernel,
    can_read_values,
    compiled_exponential,
)
from liere_cli.rotations.exponential.skew_exp import compose_exp, skew_exp
from liere_cli.rotations.precision import check_square, full_precision

#: entries of a chunk of compiled exponentials on a GPU: 256 MiB
DEVICE_ENTRIES = 1 << 26


def grid_exp(generators: Tensor, positions: Tensor) -> Tensor:
    """exp(sum_a p_a A_a), a rotation for every position.

    The backward pass recomputes intermediate results, chunk by chunk, so that only the rotations
    are kept. Range and precision as for ``skew_exp``.

    Args:
        generators: [..., A, b, b] float32 or float64, skew-symmetric.
        positions: [T, A], any floating dtype. If they need a gradient, rotations are computed
        without the memory that chunks save.

    Returns:
        [..., T, b, b] in the dtype of the generators, autocast or not; the gradient to the
        generators, of any order, is exact up to their skew part.

    Raises:
        UsageError: not square, another dtype, or positions of another number of axes.
    """
    check_grid(generators, positions)
    *batch, axes, rows, _ = generators.shape
    if composed(positions):
        return compose_grid_exp(generators, positions)
    positions = positions.detach().to(generators.dtype)
    few = rows <= 3 or len(positions) <= shared_taylor.monomial_count(axes)
    with full_precision(generators):
        if few and compiled_exponential(generators) is None:
            return skew_exp(torch.einsum("ta,...aij->...tij", positions, generators))
        source, chunking = source_and_chunking(generators)
        rotations = cast(Tensor, _GridExp.apply(source, positions, chunking))  # type: ignore[no-untyped-call]
        return rotations.view(*batch, len(positions), rows, rows)


def compose_grid_exp(generators: Tensor, positions: Tensor) -> Tensor:
    """``grid_exp`` of operations that have derivatives of every kind, to the positions too."""
    with full_precision(generators):
        positions = positions.to(generators.dtype)
        return compose_exp(torch.einsum("ta,...aij->...tij", positions, generators))


def generators_in(source: Tensor, positions: Tensor) -> Tensor:
    """The generators of ``source_and_chunking``, [G, A, b, b], which a source begins with."""
    return source[:, : positions.shape[1]]


def check_grid(generators: Tensor, positions: Tensor) -> None:
    """Raises UsageError unless generators [..., A, b, b] and positions [T, A] fit each other."""
    check_square(generators)
    if generators.ndim < 3:
        raise UsageError(f"generators must be [..., axes, b, b], not {list(generators.shape)}")
    axes = generators.shape[-3]
    if positions.ndim != 2 or positions.shape[1] != axes:
        raise UsageError(f"positions must be [tokens, {axes}], not {list(positions.shape)}")


def source_and_chunking(generators: Tensor) -> tuple[Tensor, Chunking]:
    """The source of chunks of rotations, [G, ...], from generators [..., A, b, b], and the function
    that divides it: compiled exponentials for each position are as fast as from shared products.
    """
    flat = generators.reshape(-1, *generators.shape[-3:])
    kernel = compiled_exponential(flat)
    if kernel is None:
        return shared_taylor.shared_products(flat), shared_taylor.taylor_chunks
    return flat, partial(_compiled_chunks, kernel)


class _GridExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: Tensor, positions: Tensor, chunking: Chunking) -> Tensor:
        rows = source.shape[-1]
        ctx.chunks = chunking(source, positions)
        ctx.save_for_backward(source, positions)
        if len(ctx.chunks) == 1 and isinstance(ctx.chunks[0].tokens, slice):
            rotations: Tensor = ctx.chunks[0].build(source, positions).rotations()
            return rotations
        rotations = source.new_empty(len(source), len(positions), rows, rows)
        for chunk in ctx.chunks:
            chunk.put(rotations, chunk.build(source, positions).rotations())
        return rotations

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None]:
        source, positions = ctx.saved_tensors
        if backward_is_composed(grad):
            needed = ctx.needs_input_grad[:1]
            (grad_source,) = gradients(
                lambda x: compose_grid_exp(generators_in(x, positions), positions),
                (source,),
                needed,
                (grad,),
            )
            return grad_source, None, None
        with full_precision(grad):
            grad_source = torch.zeros_like(source)
            for chunk in ctx.chunks:
                part = chunk.build(source, positions)
                part.add_adjoint(chunk.get(grad.mT), grad_source)
        return grad_source, None, None


def _compiled_chunks(
    kernel: AnyExponentialKernel, generators: Tensor, positions: Tensor
) -> list[Chunk]:
    count, _, rows, _ = generators.shape
    entries = 4 * cached_entries() if can_read_values(generators) else DEVICE_ENTRIES
    parts, step = chunk_sizes(count, len(positions), rows, entries)
    tokens = slices(len(positions), step)
    return [_CompiledChunk(sets, run, kernel) for sets in parts for run in tokens]


@dataclass(frozen=True)
class _CompiledChunk(Chunk):
    """A chunk whose exponentials are computed one by one, in compiled code."""

    kernel: AnyExponentialKernel

    def build(self, source: Tensor, positions: Tensor) -> ChunkExponential:
        return _CompiledExponential(self, source, positions[self.tokens])


class _CompiledExponential(ChunkExponential):
    def __init__(self, chunk: _CompiledChunk, generators: Tensor, positions: Tensor) -> None:
        self._chunk, self._positions = chunk, positions
        flat = generators[chunk.sets].flatten(2)
        size = (len(flat), len(positions), *generators.shape[2:])
        self._exponents = torch.matmul(positions, flat).view(size)

    def rotations(self) -> Tensor:
        return self._chunk.kernel.exponential(self._exponents)

    def add_adjoint(self, grad_t: Tensor, grad_source: Tensor) -> Tensor:
        rotations = torch.empty_like(self._exponents)
        grad = self._chunk.kernel.exponential_backward(self._exponents, grad_t.mT, rotations)
        whole = torch.matmul(self._positions.T, grad.flatten(2))
        grad_source[self._chunk.sets] += whole.view(-1, *grad_source.shape[1:])
        return rotations
