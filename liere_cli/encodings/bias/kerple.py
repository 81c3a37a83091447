"""KERPLE: logits that decay with the logarithm of the distance, with learned parameters."""

import torch
from torch import Tensor, nn

from liere_cli.encodings.base import PositionedOptions, Shape, Stream
from liere_cli.encodings.bias.base import LogitBias, distances

#: lower bound of both parameters, as in the paper's code (chijames/KERPLE, mpu/layers.py)
FLOOR = 0.01


class KERPLE(LogitBias):
    """KERPLE's logarithmic kernel (arXiv 2205.09921, equation 4): head n of layer l adds
    -r1 log(1 + r2 |p_q - p_k|) to its logits, with learned r1, r2 of at least 0.01.

    Initially r1 is uniform in (0, 2) and r2 in (0, 1). The kernel is conditionally positive
    definite in Euclidean distances, which are used on several axes.
    """

    name = "kerple"
    summary = "logits decay with the logarithm of the distance, with learned parameters"
    source = "arXiv 2205.09921"
    formula = "logit - r1 log(1 + r2 |p_q - p_k|)"
    layered = True
    Options = PositionedOptions

    def __init__(self, shape: Shape, options: PositionedOptions | None = None) -> None:
        super().__init__(shape, options)
        #: r1 and r2, [L, 2, N]
        self.rates = nn.Parameter(torch.empty(shape.depth, 2, shape.heads))
        self.initialise()

    def initialise(self, stream: Stream = lambda name: None) -> None:
        draw = torch.rand(self.rates.shape, generator=stream("rates"))
        with torch.no_grad():
            self.rates.copy_(draw * torch.tensor([2.0, 1.0])[:, None])

    def between(self, queries: Tensor, keys: Tensor, layer: int) -> Tensor:
        # the gradient passes the bound, or a parameter that reaches it would stay there
        rates = self.rates + (self.rates.clamp(min=FLOOR) - self.rates).detach()
        strength, growth = rates[layer][..., None, None]
        bias: Tensor = -strength * (growth * distances(queries, keys)).log1p()
        return bias
