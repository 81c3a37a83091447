"""How fast random generators turn, and generators that turn as fast as others.

A block of b rows whose entries above the diagonal are uniform in [0, s) turns b // 2 planes. Their
mean squared rate is s^2 (b - 1) / 3 (for even b), and the fastest is near (s / 2) cot(pi / 2b), the
rate of a block whose entries are all s / 2: it grows with b, as s b / pi.

Shapes: L layers, N heads, n blocks of b rows, A axes, e = b (b - 1) / 2 entries above the diagonal.
"""

import math

import torch
from torch import Tensor

from liere_cli.rotations import skew_from_upper


def rates_of(entries: Tensor, rows: int) -> Tensor:
    """Rates of generators of that many rows, ascending: [..., e] to [..., b // 2] float64."""
    values: Tensor = torch.linalg.eigvalsh(1j * skew_from_upper(entries.double(), rows))
    return values[..., (rows + 1) // 2 :]


def mean_fastest(entries: Tensor, rows: int) -> float:
    """The fastest rate of a generator, on average over all of them."""
    return float(rates_of(entries, rows)[..., -1].mean())


def with_rates_of(
    entries: Tensor, rows: int, other: int, generator: torch.Generator | None
) -> Tensor:
    """Generators that turn the same planes, at rates as blocks of another size have.

    Every head draws as many generators of ``other`` rows as give enough rates on each axis. They
    are dealt at random to its blocks, where a faster rate goes to a plane that was faster. So each
    head has the distribution of rates of the other size, while what its generators have in common
    over the axes stays that of its own.

    Args:
        entries: [L, N, n, A, e] uniform in [0, 1).
        rows, other: rows of these blocks, and of the others.

    Returns:
        [L, N, n, A, e] float32.
    """
    layers, heads, blocks, axes, _ = entries.shape
    planes = rows // 2
    drawn = math.ceil(blocks * planes / (other // 2))
    size = (layers, heads, axes, drawn, other * (other - 1) // 2)
    pool = rates_of(torch.rand(size, generator=generator), other).flatten(-2)
    order = torch.rand(pool.shape, generator=generator).argsort(-1)[..., : blocks * planes]
    dealt = pool.gather(-1, order).unflatten(-1, (blocks, planes)).transpose(2, 3).sort(-1).values
    # i A = V diag(w) V*, w ascending: the rates and their negatives, and 0 for an odd row
    _, vectors = torch.linalg.eigh(1j * skew_from_upper(entries.double(), rows))
    still = dealt.new_zeros(*dealt.shape[:-1], rows % 2)
    turning = torch.cat((-dealt.flip(-1), still, dealt), -1)
    matrix: Tensor = (-1j * (vectors * turning[..., None, :]) @ vectors.mH).real
    i, j = torch.triu_indices(rows, rows, 1).unbind()
    return matrix[..., i, j].float()
