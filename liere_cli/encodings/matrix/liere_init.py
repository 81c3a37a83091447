"""Frequencies of random generators, and generators with the frequencies of others.

A block of b rows whose entries above the diagonal are uniform in [0, s) rotates b // 2 planes.
Their mean squared frequency is s^2 (b - 1) / 3 (for even b), and the highest is near
(s / 2) cot(pi / 2b), that of a block whose entries are all s / 2: it grows with b, as s b / pi.

Shapes: L layers, N heads, n blocks of b rows, A axes, e = b (b - 1) / 2 entries above the diagonal.
"""

import math

import torch
from torch import Tensor

from liere_cli.rotations import skew_from_upper


def frequencies_of(entries: Tensor, rows: int) -> Tensor:
    """Frequencies of generators of that many rows, ascending: [..., e] to [..., b // 2] float64."""
    values: Tensor = torch.linalg.eigvalsh(1j * skew_from_upper(entries.double(), rows))
    return values[..., (rows + 1) // 2 :]


def mean_highest_frequency(entries: Tensor, rows: int) -> float:
    """The highest frequency of a generator, on average over all of them."""
    return float(frequencies_of(entries, rows)[..., -1].mean())


def with_spectrum_of(
    entries: Tensor, rows: int, other: int, generator: torch.Generator | None
) -> Tensor:
    """Generators with the same planes, at the frequencies of blocks of ``other`` rows.

    On each axis every head draws enough generators of ``other`` rows, and assigns their frequencies
    to its blocks at random; within a block higher frequencies go to the planes that were faster. So
    each head has the distribution of frequencies of the other size, while the planes, and how they
    relate over the axes, stay those of its own draw.

    Entries are [L, N, n, A, e], uniform in [0, 1); the result is float32.
    """
    layers, heads, blocks, axes, _ = entries.shape
    planes = rows // 2
    drawn = math.ceil(blocks * planes / (other // 2))
    size = (layers, heads, axes, drawn, other * (other - 1) // 2)
    pool = frequencies_of(torch.rand(size, generator=generator), other).flatten(-2)
    order = torch.rand(pool.shape, generator=generator).argsort(-1)[..., : blocks * planes]
    assigned = pool.gather(-1, order).unflatten(-1, (blocks, planes)).transpose(2, 3)
    assigned = assigned.sort(-1).values
    # i A = V diag(w) V*, w ascending: the frequencies and their negatives, and 0 for an odd row
    _, vectors = torch.linalg.eigh(1j * skew_from_upper(entries.double(), rows))
    zero = assigned.new_zeros(*assigned.shape[:-1], rows % 2)
    spectrum = torch.cat((-assigned.flip(-1), zero, assigned), -1)
    matrix: Tensor = (-1j * (vectors * spectrum[..., None, :]) @ vectors.mH).real
    i, j = torch.triu_indices(rows, rows, 1).unbind()
    return matrix[..., i, j].float()
