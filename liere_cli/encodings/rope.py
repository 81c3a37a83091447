"""Rotary position embedding of one axis."""

import torch
from pydantic import Field
from torch import nn

from liere_cli.encodings.base import Shape, Stream
from liere_cli.encodings.rotary import Rotary, RotaryOptions, geometric


class RoPEOptions(RotaryOptions):
    """Options of ``rope``."""

    theta: float = Field(10_000.0, gt=1, description="base of the frequencies")
    learned: bool = Field(
        False,
        description="learn the frequencies of each layer and head, starting at the fixed ones",
    )


class RoPE(Rotary):
    """RoFormer's rotary embedding (arXiv 2104.09864, equations 14 and 15).

    Plane i turns by p * theta^(-2i/H), p = 0 .. T-1. With ``learned`` every layer and head has
    frequencies of its own: the fair rival of LieRE in one dimension, where both have the same
    capacity.
    """

    name = "rope"
    summary = "rotary with fixed frequencies, or learned ones (learned=true)"
    source = "arXiv 2104.09864"
    formula = "plane i turns by p theta^(-2i/H)"
    max_axes = 1
    Options = RoPEOptions

    def __init__(self, shape: Shape, options: RoPEOptions | None = None) -> None:
        super().__init__(shape, options)
        if self.options.learned:
            size = (shape.depth, shape.heads, 1, self.planes)
            self.frequencies = nn.Parameter(torch.empty(size))
            self.initialise()
        else:
            frequencies = geometric(self.options.theta, self.planes)[None]
            self.register_buffer("frequencies", frequencies, persistent=False)

    def initialise(self, stream: Stream = lambda name: None) -> None:
        if self.options.learned:
            with torch.no_grad():
                self.frequencies.copy_(geometric(self.options.theta, self.planes))
