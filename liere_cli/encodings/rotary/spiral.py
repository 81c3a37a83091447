"""Spiral RoPE: groups of channels on evenly spread directions."""

import math

import torch
from pydantic import Field
from torch import Tensor

from liere_cli.encodings.base import Shape
from liere_cli.encodings.rotary.base import Rotary, RotaryOptions, geometric, split_planes
from liere_cli.errors import UsageError
from liere_cli.rotations import phases


class SpiralOptions(RotaryOptions):
    """Options of ``spiral``."""

    theta: float = Field(10_000.0, gt=1, description="base of the frequencies")
    count: int = Field(
        4, ge=2, multiple_of=2, description="directions, an even number; the code's rotate is half"
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

    A plane turns by fastest * theta^(-t/m) * (p . u), u one of ``count`` directions evenly spread
    over a half-circle. The m frequencies are shared by directions at right angles, and dealt to
    them two at a time in turn: of the planes for each of two perpendicular axes, number t belongs
    to direction (t // 2) mod (count / 2). Two directions are ``axial``.

    The public code turns the table of angles of one axis by resampling it, clamped at its border:
    corners whose projection lies beyond the grid stop there (``clamp``), which the paper's
    equations do not say, and which makes scores depend on absolute positions.

    The paper has two axes. One axis has one direction, so ``rope`` at this spectrum; further axes
    before the last two, such as time, get an even share of the planes each, as in ``axial``.

    Raises:
        UsageError: ``clamp`` without a square training grid of two axes.
    """

    name = "spiral"
    summary = "rotary with groups of planes on evenly spread directions of the plane"
    source = "arXiv 2602.03227"
    formula = "plane turns by f theta^(-t/m) (p . u), u one of K directions"
    Options = SpiralOptions

    def __init__(self, shape: Shape, options: SpiralOptions | None = None) -> None:
        super().__init__(shape, options)
        grid = shape.grid
        if self.options.clamp and (grid is None or len(grid) != 2 or grid[0] != grid[1]):
            raise UsageError(
                f"encoding '{self.name}': clamp=true needs a square training grid of two axes, "
                f"not {grid}"
            )
        #: projections that stop at an edge are no longer linear in the position
        self.relative = not self.options.clamp
        shares = split_planes(self.planes, shape.axes)
        parts = [self.options.fastest * geometric(self.options.theta, share) for share in shares]
        frequencies = torch.block_diag(*(part[None] for part in parts))
        if shape.axes > 1:
            self._spread(frequencies, shares)
        self.start_at(frequencies, learned=False)

    def _spread(self, frequencies: Tensor, shares: list[int]) -> None:
        """Turns the frequencies of the last two axes into their directions, in place."""
        start, middle = sum(shares[:-2]), sum(shares[:-1])
        half = self.options.count // 2
        for first, last, turned in ((start, middle, 0.0), (middle, sum(shares), math.pi / 2)):
            order = torch.arange(last - first)
            angles = (order // 2 % half).double() * (math.pi / 2 / half) + turned
            magnitudes = frequencies[-2:, first:last].sum(0)
            frequencies[-2, first:last] = angles.cos() * magnitudes
            frequencies[-1, first:last] = angles.sin() * magnitudes

    def prepare(self, positions: Tensor) -> Tensor:
        if not self.options.clamp:
            return super().prepare(positions)
        assert self.shape.grid is not None
        middle = (self.shape.grid[0] - 1) / 2
        magnitudes = self.frequencies.norm(dim=0)
        directions = self.frequencies / magnitudes
        projected = ((positions - middle)[:, :, None] * directions).sum(1)
        return phases((projected.clamp(-middle, middle) + middle) * magnitudes)[None]
