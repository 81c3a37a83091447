"""Rotations of a grid in chunks that fit the cache.

Shapes: G sets of generators, A axes, T positions, b rows; g, t those of a chunk.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

#: entries of a chunk of matrices for each thread, so that products find their factors in the cache
CHUNK_ENTRIES = 1 << 16


def cached_entries() -> int:
    """Entries of a chunk that fits the caches of all threads."""
    return CHUNK_ENTRIES * torch.get_num_threads()


class ChunkExponential(ABC):
    """The rotations of a chunk, [g, t, b, b], and their gradient."""

    @abstractmethod
    def rotations(self) -> Tensor:
        """All NaN where norms are too large for any digit."""

    @abstractmethod
    def add_adjoint(self, grad_t: Tensor, grad_source: Tensor) -> Tensor:
        """Adds the gradient to the source of the chunk.

        Args:
            grad_t: gradient to the rotations, each matrix transposed, [g, t, b, b].
            grad_source: in the shape of the source.

        Returns:
            The rotations, which are an intermediate result.
        """


@dataclass(frozen=True)
class Chunk(ABC):
    """Sets of generators and positions (or their indices) whose rotations are built together."""

    sets: slice
    tokens: slice | Tensor

    @abstractmethod
    def build(self, source: Tensor, positions: Tensor) -> ChunkExponential:
        """From the source of all sets, [G, ...], and all positions, [T, A]."""

    def get(self, whole: Tensor) -> Tensor:
        """The chunk's part of [G, T, ...]."""
        part = whole[self.sets]
        if isinstance(self.tokens, slice):
            return part[:, self.tokens]
        return part.index_select(1, self.tokens)

    def put(self, whole: Tensor, part: Tensor) -> None:
        """Writes that part."""
        if isinstance(self.tokens, slice):
            whole[self.sets, self.tokens] = part
        else:
            whole[self.sets].index_copy_(1, self.tokens, part)


#: divides the rotations of a source [G, ...] at positions [T, A] into chunks
Chunking = Callable[[Tensor, Tensor], list[Chunk]]


def chunk_sizes(count: int, tokens: int, rows: int, entries: int) -> tuple[list[slice], int]:
    """Sets [G] and the number of T positions that make chunks of about so many entries."""
    sets = max(1, entries // (max(1, tokens) * rows**2))
    return slices(count, sets), max(1, entries // (sets * rows**2))


def slices(count: int, step: int) -> list[slice]:
    """0 .. count in steps."""
    return [slice(i, min(i + step, count)) for i in range(0, count, step)]
