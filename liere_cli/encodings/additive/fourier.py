"""Learnable Fourier features, added to the embedding.

Shapes: B batch, T tokens, A axes, F features.
"""

import math

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from liere_cli.encodings.additive.base import Additive
from liere_cli.encodings.base import PositionedOptions, Shape, Stream
from liere_cli.positions.grid import UNITS, Scaling
from liere_cli.rotations.precision import full_precision


class FourierOptions(PositionedOptions):
    features: int | None = Field(
        None, ge=2, description="number of cosines and sines together; null: dim, or dim - 1 if odd"
    )
    hidden: int | None = Field(None, ge=1, description="hidden units; null: as many as features")
    gamma: float = Field(
        0.1,
        gt=0,
        description="the initial W is normal with standard deviation 1/gamma, in radians per unit "
        "of position",
    )
    init: float = Field(0.02, ge=0, le=10, description="standard deviation of the last matrix")
    scaling: Scaling = Field("unit", description=UNITS)


class Fourier(Additive):
    """Learnable Fourier features (arXiv 2106.02795, equations 4 and 5): r = [cos(W p), sin(W p)]
    / sqrt(F) with learned W, initially normal with variance gamma^-2, then
    W_2 GELU(W_1 r + b_1) + b_2, which is added to the embedding.

    The paper groups coordinates in some of its tasks; here all axes form one group.
    """

    name = "fourier"
    summary = "learned sines and cosines of the position through a small network"
    source = "arXiv 2106.02795"
    formula = "x + W2 gelu(W1 [cos Wp, sin Wp] / sqrt(F) + b1) + b2"
    Options = FourierOptions

    def __init__(self, shape: Shape, options: FourierOptions | None = None) -> None:
        super().__init__(shape, options)
        waves = (self.options.features or max(shape.dim, 2)) // 2
        self.waves, hidden = waves, self.options.hidden or 2 * waves
        self.directions = nn.Parameter(torch.empty(waves, shape.axes))
        self.hidden = nn.Parameter(torch.empty(hidden, 2 * waves))
        self.hidden_bias = nn.Parameter(torch.empty(hidden))
        self.out = nn.Parameter(torch.empty(shape.dim, hidden))
        self.out_bias = nn.Parameter(torch.empty(shape.dim))
        self.initialise()

    def initialise(self, stream: Stream = lambda name: None) -> None:
        """The paper specifies W only."""
        hidden = (2 * self.waves) ** -0.5
        stds = {"directions": 1 / self.options.gamma, "hidden": hidden, "out": self.options.init}
        for name, std in stds.items():
            nn.init.normal_(getattr(self, name), std=std, generator=stream(name))
        nn.init.zeros_(self.hidden_bias)
        nn.init.zeros_(self.out_bias)

    def at(self, positions: Tensor) -> Tensor:
        with full_precision(positions):
            angles = positions.to(self.directions.dtype) @ self.directions.T
            waves = torch.cat([angles.cos(), angles.sin()], -1) / math.sqrt(2 * self.waves)
            hidden = F.gelu(F.linear(waves, self.hidden, self.hidden_bias))
            return F.linear(hidden, self.out, self.out_bias)
