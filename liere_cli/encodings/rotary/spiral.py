"""Spiral RoPE: groups of planes along evenly spread directions."""

import math

import torch
from pydantic import Field
from torch import Tensor

from liere_cli.encodings.base import Shape
from liere_cli.encodings.rotary.base import (
    PlaneOptions,
    Rotary,
    RotaryState,
    geometric,
    split_planes,
)
from liere_cli.errors import UsageError
from liere_cli.positions.grid import finite_or_nan


class SpiralOptions(PlaneOptions):
    theta: float = Field(10_000.0, gt=1, description="base of the frequencies")
    count: int = Field(
        4, ge=2, multiple_of=2, description="directions, an even number; twice the code's rotate"
    )
    fastest: float = Field(
        1.5, gt=0, description="highest frequency; the code's max_freq_lang, 1.5 in its recipes"
    )
    clamp: bool = Field(
        False,
        description="stop projections at the edges of a square training grid, as the public code's "
        "resampling does; false: the paper's equations",
    )


class Spiral(Rotary):
    """Spiral RoPE (arXiv 2602.03227 section 3; code in huajianduzhuo-code/Spiral_RoPE rope.py).

    A plane rotates by fastest * theta^(-t/m) * (p . u), u one of ``count`` directions evenly spread
    over a half-circle. Perpendicular directions have the same m frequencies, which are assigned to
    directions in turn, two at a time: plane t of the planes of an axis belongs to direction
    (t // 2) mod (count / 2). With two directions this is ``axial``.

    The public code rotates the table of angles of one axis by resampling it, clamped at its border:
    projections beyond the grid stop there (``clamp``), which is not in the paper's equations and
    makes scores depend on absolute positions. At other resolutions it divides positions by the
    growth of the grid, as ``liere eval --extend pi`` does.

    The paper has two axes. With one axis this is ``rope`` at this spectrum; axes before the last
    two, such as time, get an even share of the planes each, as in ``axial``.

    Raises:
        UsageError: ``clamp`` without a square training grid of two axes.
    """

    name = "spiral"
    summary = "rotary with groups of planes along evenly spread directions"
    source = "arXiv 2602.03227"
    formula = "plane rotates by f theta^(-t/m) (p . u), u one of K directions"
    Options = SpiralOptions

    def __init__(self, shape: Shape, options: SpiralOptions | None = None) -> None:
        super().__init__(shape, options)
        grid = shape.grid
        if self.options.clamp and (grid is None or len(grid) != 2 or grid[0] != grid[1]):
            raise UsageError(
                f"encoding '{self.name}': clamp=true needs a square training grid of two axes, "
                f"not {grid}"
            )
        # clamped projections are not linear in the position
        self.relative = not self.options.clamp
        shares = split_planes(self.planes, shape.axes)
        parts = [self.options.fastest * geometric(self.options.theta, share) for share in shares]
        frequencies = torch.block_diag(*(part[None] for part in parts))
        if shape.axes > 1:
            self._spread(frequencies, shares)
        self.start_at(frequencies, learned=False)

    def _spread(self, frequencies: Tensor, shares: list[int]) -> None:
        """Rotates the frequencies of the last two axes to their directions, in place."""
        start, middle = sum(shares[:-2]), sum(shares[:-1])
        half = self.options.count // 2
        for first, last, offset in ((start, middle, 0.0), (middle, sum(shares), math.pi / 2)):
            order = torch.arange(last - first)
            angles = (order // 2 % half).double() * (math.pi / 2 / half) + offset
            magnitudes = frequencies[-2:, first:last].sum(0)
            frequencies[-2, first:last] = angles.cos() * magnitudes
            frequencies[-1, first:last] = angles.sin() * magnitudes

    def prepare(self, positions: Tensor) -> RotaryState:
        if not self.options.clamp:
            return super().prepare(positions)
        assert self.shape.grid is not None
        middle = (self.shape.grid[0] - 1) / 2
        magnitudes = self.frequencies.norm(dim=0)
        directions = self.frequencies / magnitudes
        projected = ((finite_or_nan(positions) - middle)[:, :, None] * directions).sum(1)
        return self.phases((projected.clamp(-middle, middle) + middle) * magnitudes)[None]
