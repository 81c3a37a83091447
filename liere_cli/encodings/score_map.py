"""How an encoding makes a score depend on position: what ``liere encodings --plot`` draws.

Shapes: N heads, T tokens with a position, A axes, H head_dim, F vectors of a frame.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from liere_cli.encodings.base import Place, PositionEncoding
from liere_cli.errors import UsageError

#: random orthonormal frames that queries are taken from; if queries and keys are transformed
#: linearly one is exact, because the mean over a frame is then a trace
FRAMES = 8
#: values that are encoded at once
CHUNK = 2**24
#: relative difference up to which heads count as equal: sums of float32 in another order
ROUNDING = 1e-5
#: for an encoding that acts at a place: the label of the axis, and what is plotted
PLOTTED: dict[Place, tuple[str, str]] = {
    "encode_qk": ("mean score of q = k", "mean of q . k over random unit vectors q = k"),
    "bias": ("bias on the logit", "the bias that is added to the logit"),
    "embed": ("inner product", "inner products of the vectors that are added to the embeddings"),
}


@dataclass(frozen=True)
class ScoreMap:
    """The scores of keys at every token of a grid, for a few queries.

    Args:
        place: where the encoding acts; the first of PLOTTED, if at several places.
        grid: the training grid in tokens.
        references: indices of the queries on each axis, [A] each; the first is the middle.
        values: [references, heads, *grid] float32; one head, if all are equal but for rounding.
        relative: whether scores depend only on differences of positions; then there is one query.
    """

    place: Place
    grid: tuple[int, ...]
    references: tuple[tuple[int, ...], ...]
    values: NDArray[np.float32]
    relative: bool


@torch.no_grad()
def score_map(encoding: PositionEncoding, grid: tuple[int, ...], layer: int = 0) -> ScoreMap:
    """Measures an encoding with its current parameters on its training grid, in tokens. Raises
    UsageError: no such layer, or the encoding acts nowhere.
    """
    depth = encoding.shape.depth
    if not 0 <= layer < depth:
        raise UsageError(f"--layer {layer}: layers are 0 to {depth - 1}")
    place = next((place for place in PLOTTED if place in encoding.places), None)
    if place is None:
        raise UsageError(f"encoding '{encoding.name}' acts nowhere: there is nothing to plot")
    positions = encoding.positions(grid, grid)
    middle = tuple(n // 2 for n in grid)
    # an eighth of the grid from the corner: near an edge, but not at it
    corner = tuple(n // 8 for n in grid)
    references = (middle,) if encoding.relative else (middle, corner)
    rows = np.ravel_multi_index(np.transpose(references), grid).tolist()
    if place == "encode_qk":
        values = _mean_scores(encoding, positions, rows, layer)
    elif place == "bias":
        values = _biases(encoding, positions, rows, layer)
    else:
        vectors = encoding.embed(
            positions.new_zeros(1, len(positions), encoding.shape.dim), positions
        )[0]
        values = (vectors[rows] @ vectors.mT)[:, None]
    spread = (values - values[:, :1]).abs().max()
    if spread <= ROUNDING * values.abs().max():
        values = values[:, :1]
    return ScoreMap(
        place=place,
        grid=grid,
        references=references,
        values=values.float().unflatten(-1, grid).numpy(),
        relative=encoding.relative,
    )


def _mean_scores(
    encoding: PositionEncoding, positions: Tensor, rows: list[int], layer: int
) -> Tensor:
    """[references, N, T]: means of q . k with k = q at every token and q at the references."""
    shape = encoding.shape
    generator = torch.Generator().manual_seed(0)
    total = positions.new_zeros(len(rows), shape.heads, len(positions))
    state_k, state_q = encoding.prepare(positions), encoding.prepare(positions[rows])
    at_once = max(1, CHUNK // (shape.heads * len(positions) * shape.head_dim * encoding.qk_width))
    for _ in range(FRAMES):
        frame = torch.linalg.qr(
            torch.randn(shape.head_dim, shape.head_dim, generator=generator, dtype=torch.float32)
        )[0]
        for unit in frame.split(at_once):
            x = unit[:, None, None, :].expand(-1, shape.heads, -1, -1)
            q = encoding.encode_q(x.expand(-1, -1, len(rows), -1), state_q, layer)
            k = encoding.encode_k(x.expand(-1, -1, len(positions), -1), state_k, layer)
            total += torch.einsum("fnrh,fnth->rnt", q, k)
    return total / (FRAMES * shape.head_dim)


def _biases(encoding: PositionEncoding, positions: Tensor, rows: list[int], layer: int) -> Tensor:
    bias = encoding.bias(encoding.prepare(positions[rows]), encoding.prepare(positions), layer)
    assert bias is not None
    return bias.transpose(0, 1)


def default_grid(axes: int) -> tuple[int, ...]:
    """The grid for plots at initialisation: 128 tokens, 24 x 24, or 8 x 16 x 16."""
    return {1: (128,), 2: (24, 24), 3: (8, 16, 16)}.get(axes, (8,) * axes)
