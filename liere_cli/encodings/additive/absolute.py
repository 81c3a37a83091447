"""Learned absolute positions.

Shapes: B batch, T tokens, A axes, n taps of an interpolation.
"""

import math
from itertools import product
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from liere_cli.config.section import added
from liere_cli.encodings.additive.base import Additive
from liere_cli.encodings.base import EncodingOptions, Shape, Stream
from liere_cli.positions.grid import finite_or_nan

#: coefficient of the cubic kernel, as in torch and OpenCV; PIL has -0.5
CUBIC = -0.75


class AbsoluteOptions(EncodingOptions):
    init: float = Field(
        0.02,
        ge=0,
        le=10,
        description="standard deviation of the initial table: 0.02 in DeiT, 1 in LieRE's "
        "repository, and in x-transformers, which multiplies the table by dim^-0.5",
    )
    resize: Literal["linear", "cubic"] | None = added(
        None,
        description="interpolation of the table on another grid; null: cubic for two axes, linear "
        "for one or three, as in LieRE's repository and ViTs",
    )


class Absolute(Additive):
    """A learned vector for each token of the training grid, added to its embedding.

    Initially normal with standard deviation 0.02, as in DeiT (arXiv 2012.12877). On a grid of
    another shape the table is resized to it with edges aligned, as
    ``torch.nn.functional.interpolate`` does, because an image at another resolution shows the same
    scene. Text that is shorter than in training keeps its positions; longer text stretches the
    table.
    """

    name = "absolute"
    summary = "learned vector for each position, added to the embedding"
    source = "arXiv 2012.12877 (DeiT), arXiv 1810.04805 (BERT)"
    formula = "x + table[p]"
    Options = AbsoluteOptions

    def __init__(self, shape: Shape, options: AbsoluteOptions | None = None) -> None:
        super().__init__(shape, options)
        if shape.grid is None:
            raise self.error("needs the training grid: pass grid=(...)")
        self.scaling = "resized"
        self.cubic = (self.options.resize or ("cubic" if shape.axes == 2 else "linear")) == "cubic"
        self.table = nn.Parameter(torch.zeros(math.prod(shape.grid), shape.dim))

    def initialise(self, stream: Stream = lambda name: None) -> None:
        nn.init.normal_(self.table, std=self.options.init, generator=stream("table"))

    def at(self, positions: Tensor) -> Tensor:
        """As the base class; positions on the training grid, between its tokens too."""
        assert self.shape.grid is not None
        columns = finite_or_nan(positions).unbind(1)
        taps = [self._taps(p, n) for p, n in zip(columns, self.shape.grid, strict=True)]
        rows, weights = [], []
        for corner in product(*(range(index.shape[1]) for index, _ in taps)):
            row, weight = torch.zeros_like(taps[0][0][:, 0]), torch.ones_like(positions[:, 0])
            for tap, length, (index, share) in zip(corner, self.shape.grid, taps, strict=True):
                row = row * length + index[:, tap]
                weight = weight * share[:, tap]
            rows.append(row)
            weights.append(weight)
        vectors = F.embedding(torch.stack(rows, 1), self.table)  # [T, n, dim]
        return (vectors * torch.stack(weights, 1)[..., None].to(vectors.dtype)).sum(1)

    def _taps(self, coordinates: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Rows of the table that are interpolated at coordinates [T] of an axis, and their weights,
        [T, n] each.
        """
        # beyond these every tap is the last row, and no integer overflows
        beyond = 2 if self.cubic else 0
        coordinates = coordinates.clamp(-beyond, length - 1 + beyond)
        floor = coordinates.floor()
        t = (coordinates - floor)[:, None]
        if self.cubic:
            weights = torch.cat([_outer(t + 1), _inner(t), _inner(1 - t), _outer(2 - t)], 1)
            first = -1
        else:
            weights, first = torch.cat([1 - t, t], 1), 0
        offsets = torch.arange(weights.shape[1], device=coordinates.device) + first
        return (floor.long()[:, None] + offsets).clamp(0, length - 1), weights


def _inner(t: Tensor) -> Tensor:
    """Cubic convolution (Keys 1981) at a distance t up to 1."""
    return ((CUBIC + 2) * t - (CUBIC + 3)) * t * t + 1


def _outer(t: Tensor) -> Tensor:
    """Cubic convolution at a distance t from 1 to 2."""
    return ((CUBIC * t - 5 * CUBIC) * t + 8 * CUBIC) * t - 4 * CUBIC
