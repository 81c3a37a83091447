"""KERPLE: logits that decay with the logarithm of the distance, with learned parameters."""

from typing import Literal

import torch
from torch import Tensor, nn

from liere_cli.config.section import added
from liere_cli.encodings.base import PositionedOptions, Shape, Stream
from liere_cli.encodings.bias.base import BiasState, LogitBias, distances

#: lower bound of both parameters, as in the paper's code (chijames/KERPLE, mpu/layers.py)
FLOOR = 0.01


class KERPLEOptions(PositionedOptions):
    floor: Literal["parameters", "values"] = added(
        "parameters",
        before="values",
        description="what 0.01 bounds: the parameters r1 and r2, at each forward pass in training "
        "as in the code, or only the values in use, so that parameters may drift below",
    )


class KERPLE(LogitBias):
    """KERPLE's logarithmic kernel (arXiv 2205.09921, equation 4): head n of layer l adds
    -r1 log(1 + r2 |p_q - p_k|) to its logits, with learned r1, r2 of at least 0.01.

    Initially r1 is uniform in (0, 2) and r2 in (0, 1). The kernel is conditionally positive
    definite in Euclidean distances, which are used on several axes. As in the code, a forward pass
    in training raises parameters below 0.01 to that bound, so that the next step away from it has
    an effect (``floor``).
    """

    name = "kerple"
    summary = "logits decay with the logarithm of the distance, with learned parameters"
    source = "arXiv 2205.09921"
    formula = "logit - r1 log(1 + r2 |p_q - p_k|)"
    layered = True
    Options = KERPLEOptions

    def __init__(self, shape: Shape, options: KERPLEOptions | None = None) -> None:
        super().__init__(shape, options)
        #: r1 and r2, [L, 2, N]
        self.rates = nn.Parameter(torch.empty(shape.depth, 2, shape.heads))
        self.initialise()

    def initialise(self, stream: Stream = lambda name: None) -> None:
        draw = torch.rand(self.rates.shape, generator=stream("rates"))
        with torch.no_grad():
            self.rates.copy_(draw * torch.tensor([2.0, 1.0])[:, None])

    def prepare(self, positions: Tensor) -> BiasState:
        learns = self.training and torch.is_grad_enabled()
        # torch.func puts other tensors in the place of parameters, which are not ours to change
        if learns and self.options.floor == "parameters" and isinstance(self.rates, nn.Parameter):
            self.rates.data.clamp_(min=FLOOR)
        return super().prepare(positions)

    def between(self, queries: Tensor, keys: Tensor, layer: int) -> Tensor:
        # the gradient passes the bound, or a parameter below it would stay there
        rates = self.rates + (self.rates.clamp(min=FLOOR) - self.rates).detach()
        strength, growth = rates[layer][..., None, None]
        bias: Tensor = -strength * (growth * distances(queries, keys)).log1p()
        return bias
