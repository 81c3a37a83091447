"""Learned absolute positions.

Shapes: B batch, T tokens, A axes.
"""

import math
from itertools import product

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from liere_cli.encodings.base import EncodingOptions, PositionEncoding, Shape, Stream
from liere_cli.errors import UsageError


class AbsoluteOptions(EncodingOptions):
    """Options of ``absolute``."""

    init: float = Field(0.02, ge=0, le=10, description="standard deviation of the initial table")


class Absolute(PositionEncoding):
    """A learned vector for each token of the training grid, added to its embedding.

    As in DeiT (arXiv 2012.12877): normal initialisation with standard deviation 0.02. On a grid of
    another shape the table is resized to it, corners on corners, by (bi-, tri-)linear
    interpolation, because an image at another resolution shows the same scene. Text that is shorter
    than in training keeps its positions; longer text stretches the table.
    """

    name = "absolute"
    summary = "learned vector for each position, added to the embedding"
    source = "arXiv 2012.12877 (DeiT), arXiv 1810.04805 (BERT)"
    family = "embedding"
    formula = "x + table[p]"
    Options = AbsoluteOptions

    def __init__(self, shape: Shape, options: AbsoluteOptions | None = None) -> None:
        super().__init__(shape, options)
        if shape.grid is None:
            raise UsageError("encoding 'absolute' needs the training grid: pass grid=(...)")
        self.table = nn.Parameter(torch.zeros(math.prod(shape.grid), shape.dim))

    def initialise(self, stream: Stream = lambda name: None) -> None:
        nn.init.normal_(self.table, std=self.options.init, generator=stream("table"))

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        return x + self.at(positions).to(x.dtype)

    def at(self, positions: Tensor) -> Tensor:
        """Vectors at grid positions [T, A], read from the resized table: [T, dim]."""
        assert self.shape.grid is not None
        last = torch.tensor(self.shape.grid, device=positions.device) - 1
        # extents stay on the device: no synchronisation to find out whether the grid changed
        extent = positions.amax(0)
        if self.shape.axes == 1:
            extent = extent.maximum(last)
        coordinates = (positions * (last / extent.clamp(min=1))).clamp(min=0).minimum(last)
        floor = coordinates.floor()
        share = coordinates - floor
        vectors = torch.zeros(len(positions), self.shape.dim, device=self.table.device)
        for corner in product((0, 1), repeat=self.shape.axes):
            upper = torch.tensor(corner, device=positions.device)
            weight = torch.where(upper == 1, share, 1 - share).prod(1, keepdim=True)
            index = (floor + upper).minimum(last).long()
            row = torch.zeros(len(positions), dtype=torch.long, device=positions.device)
            for axis, length in enumerate(self.shape.grid):
                row = row * length + index[:, axis]
            vectors = vectors + weight * F.embedding(row, self.table)
        return vectors
