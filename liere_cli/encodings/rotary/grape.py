"""GRAPE's multiplicative form: planes with learned logarithmic frequencies."""

import torch
from pydantic import Field
from torch import Tensor, nn

from liere_cli.encodings.base import Shape, Stream
from liere_cli.encodings.rotary.base import LAYOUTS, PlaneOptions, Rotary, geometric
from liere_cli.rotations import Layout


class GRAPEOptions(PlaneOptions):
    layout: Layout = Field("half-split", description=LAYOUTS)
    theta: float = Field(10_000.0, gt=1, description="base of the initial frequencies")
    share: bool = Field(
        True, description="one spectrum for all heads of a layer, as the code; false: one per head"
    )
    slower: float = Field(
        16.0,
        gt=0,
        description="factor on the stored logarithms, which divides their effective learning "
        "rate; the code's grape_log_freq_scale, 16 in its configuration",
    )


class GRAPE(Rotary):
    """Multiplicative, non-contextual GRAPE (arXiv 2512.07805 section 3.1; model-architectures/GRAPE
    model/llama-mha-grape-m-nonctx.py).

    Commuting rotations of coordinate planes: plane i of layer l rotates by p * exp(a[l, i] /
    slower) with a learned, initially RoFormer's spectrum. It differs from ``rope:learned=true`` in
    the logarithm, which keeps frequencies positive and makes updates relative to their size. The
    code rotates in the opposite sense: it has the scores of queries and keys whose two channels of
    each plane are exchanged, which exchanged rows of the projections make up for.
    """

    name = "grape"
    summary = "rotary with learned logarithmic frequencies"
    source = "arXiv 2512.07805"
    formula = "plane i rotates by p exp(a_i), a learned for each layer"
    max_axes = 1
    Options = GRAPEOptions

    def __init__(self, shape: Shape, options: GRAPEOptions | None = None) -> None:
        super().__init__(shape, options)
        heads = 1 if self.options.share else shape.heads
        #: logarithms of the frequencies, times ``slower``: [L, N or 1, 1, P]
        self.logarithms = nn.Parameter(torch.empty(shape.depth, heads, 1, self.planes))
        self.initialise()

    def initialise(self, stream: Stream = lambda name: None) -> None:
        start = geometric(self.options.theta, self.planes).double().log() * self.options.slower
        with torch.no_grad():
            self.logarithms.copy_(start)

    def frequencies_of(self, layer: int | slice) -> Tensor:
        frequencies: Tensor = (self.logarithms[layer] / self.options.slower).exp()
        return frequencies
