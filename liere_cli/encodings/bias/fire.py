"""FIRE: a small learned function of the distance over the query's own position."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from liere_cli.encodings.base import PositionedOptions, Shape, Stream
from liere_cli.encodings.bias.base import LogitBias
from liere_cli.rotations.precision import full_precision

#: keeps the quotient finite at the first position
EPSILON = 1e-6


class FIREOptions(PositionedOptions):
    width: int = Field(32, ge=1, le=1024, description="hidden units of the function")
    threshold: float = Field(
        512.0, gt=0, description="initial L, in positions: earlier queries are all normalised by it"
    )
    curvature: float = Field(0.1, gt=0, description="initial c of psi(x) = log(1 + c x)")
    share: Literal["none", "layers"] = Field(
        "none", description="what shares a function: none, or layers (the paper's FIRE-S)"
    )


class FIRE(LogitBias):
    """FIRE (arXiv 2310.04418, equation 5): adds f(psi(|p_q - p_k|) / psi(max(p_q, L))) to the
    logits, psi(x) = log(1 + c x), with learned c, L and f, one hidden layer of ReLU units with an
    output for each head.

    The paper's model is causal. In a bidirectional one the distance is symmetric, as the absolute
    value in the paper's code makes it.
    """

    name = "fire"
    summary = "learned function of the distance relative to the query's position"
    source = "arXiv 2310.04418"
    formula = "logit + f_n(psi(|p_q - p_k|) / psi(max(p_q, L)))"
    max_axes = 1
    relative = False
    Options = FIREOptions

    def __init__(self, shape: Shape, options: FIREOptions | None = None) -> None:
        super().__init__(shape, options)
        self.layered = self.options.share == "none"
        layers, width = shape.depth if self.layered else 1, self.options.width
        self.hidden = nn.Parameter(torch.empty(layers, width))
        self.hidden_bias = nn.Parameter(torch.empty(layers, width))
        self.out = nn.Parameter(torch.empty(layers, shape.heads, width))
        self.out_bias = nn.Parameter(torch.empty(layers, shape.heads))
        self.curvature = nn.Parameter(torch.empty(layers))
        #: multiplies ``threshold``
        self.reach = nn.Parameter(torch.empty(layers))
        self.initialise()

    def initialise(self, stream: Stream = lambda name: None) -> None:
        """Uniform in +-fan_in^-1/2, as PyTorch's linear layers, which the paper's code uses."""
        limits = {"hidden": 1.0, "out": self.options.width**-0.5}
        for name, limit in limits.items():
            for own in (name, f"{name}_bias"):
                nn.init.uniform_(getattr(self, own), -limit, limit, generator=stream(own))
        nn.init.constant_(self.curvature, self.options.curvature)
        nn.init.ones_(self.reach)

    def between(self, queries: Tensor, keys: Tensor, layer: int) -> Tensor:
        with full_precision(queries):
            queries = queries.to(self.hidden.dtype)  # [Tq, 1]
            distance = (queries - keys.to(queries.dtype).mT).abs()
            threshold = (self.reach[layer] * self.options.threshold).abs()
            c = self.curvature[layer]
            ceiling = (c * queries.maximum(threshold)).abs().log1p() + EPSILON
            share = (c * distance).abs().log1p() / ceiling
            units = torch.relu(share[..., None] * self.hidden[layer] + self.hidden_bias[layer])
            bias = units @ self.out[layer].T + self.out_bias[layer]
            return bias.permute(2, 0, 1)
