"""LookHere: attention heads that see in one direction, with penalties that grow with distance."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from liere_cli.encodings.base import PositionedOptions, Shape
from liere_cli.encodings.bias.base import LogitBias, distances

#: the logit of a key that a head does not see: finite, and small enough for a weight of 0
HIDDEN = -1e4
#: penalties of undirected heads, in turn
_UNDIRECTED = tuple(4.0**-n for n in range(1, 5))
#: middles of the fields of view of directed heads, in eighths of a turn from the right, clockwise
#: as rows grow downwards, in the order of the code's configurations
_MIDDLES: dict[int, tuple[float, ...]] = {
    180: (6, 2, 4, 0, 7, 5, 1, 3),
    90: (5, 7, 3, 1, 6, 2, 4, 0),
    45: (5.5, 2.5, 4.5, 7.5, 6.5, 1.5, 3.5, 0.5),
}


class LookHereOptions(PositionedOptions):
    view: Literal[180, 90, 45] = Field(
        90, description="field of view of directed heads, in degrees: LH-180, LH-90 or LH-45"
    )
    slope: float = Field(1.0, gt=0, description="multiplies all penalties; the code's global_slope")
    first: float = Field(1.5, ge=0, description="factor of the penalties in the first layer")
    last: float = Field(
        0.5, ge=0, description="factor in the last layer; linear between, as in the code"
    )


class LookHere(LogitBias):
    """LookHere (arXiv 2405.13985; code in GreenCUBIC/lookhere lookhere.py).

    Two thirds of the heads are directed: each sees the keys within its field of view, a sector with
    its tip at the query, edges and tip included, and no other key. Head n of layer l adds
    -slope s_l m_n |p_q - p_k| to the logits of the keys that it sees: s_l from ``first`` to
    ``last``, m_n = 1/2 for directed heads and 1/4, 1/16, 1/64, 1/256 in turn for the others.

    With 12 heads this is the code's layout of three groups of four: halves, diagonals, none
    (LH-180), corners, triangles, none (LH-90), eighths1, eighths2, none (LH-45); with 6 heads its
    four directed and two undirected ones. Names of the configurations are from the code alone: its
    published weights contain them, and could not be read. Other numbers of heads take the eight
    directions in turn, the last third undirected. The code fills hidden keys with the lowest
    bfloat16; here it is -1e4, of which the weight is 0 too.
    """

    name = "lookhere"
    summary = "heads that see one direction only, and logits that decay with distance"
    source = "arXiv 2405.13985"
    formula = "logit - s_l m_n |p_q - p_k| for keys in the head's field of view, none for others"
    min_axes = max_axes = 2
    layered = True
    Options = LookHereOptions

    def __init__(self, shape: Shape, options: LookHereOptions | None = None) -> None:
        super().__init__(shape, options)
        chosen = self.options
        directed = shape.heads - shape.heads // 3
        slopes = [0.5] * directed
        slopes += [_UNDIRECTED[n % 4] for n in range(shape.heads - directed)]
        layers = torch.linspace(chosen.first, chosen.last, shape.depth, dtype=torch.float64)
        penalties = chosen.slope * layers[:, None] * torch.tensor(slopes, dtype=torch.float64)
        #: [L, N, 1, 1]
        self.register_buffer("penalties", penalties.float()[..., None, None], persistent=False)
        self.penalties: Tensor
        middles = [_MIDDLES[chosen.view][n % 8] for n in range(directed)]
        #: normals of the two edges of each sector, pointing inwards: [directed, 2, (row, column)]
        self.register_buffer("edges", _edges(middles, chosen.view), persistent=False)
        self.edges: Tensor

    def between(self, queries: Tensor, keys: Tensor, layer: int) -> Tensor:
        bias = -self.penalties[layer] * distances(queries, keys)
        rows, columns = (keys[None] - queries[:, None]).unbind(-1)
        normals = self.edges[..., None, None]  # [directed, 2, 2, 1, 1]
        outside = normals[:, :, 0] * rows + normals[:, :, 1] * columns < 0
        hidden = outside.any(1)  # not where a position is NaN
        directed = bias[: len(hidden)].masked_fill(hidden, HIDDEN)
        return torch.cat((directed, bias[len(hidden) :]))


def _edges(middles: list[float], view: int) -> Tensor:
    """Normals [heads, 2, 2] float32, whole numbers: exact on grids, where keys lie on edges."""
    half = view / 90  # in eighths of a turn
    normals = []
    for middle in middles:
        for angle in (middle - half + 2, middle + half - 2):
            turn = angle * math.pi / 4
            normals.append([round(2 * math.sin(turn)), round(2 * math.cos(turn))])
    signs = torch.tensor(normals, dtype=torch.float32).sign()
    return signs.view(len(middles), 2, 2)
