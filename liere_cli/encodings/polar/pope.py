"""PoPE: content sets the magnitude of a channel, position its phase.

Shapes: as in ``encodings.base``.
"""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from liere_cli.encodings.base import PositionedOptions, Shape, Stream
from liere_cli.encodings.polar.base import Polar, with_prefix
from liere_cli.encodings.rotary.base import Learned, RotaryState, axial_frequencies
from liere_cli.encodings.rotary.golden_gate import golden_directions, log_spaced
from liere_cli.positions.grid import UNITS, Scaling


class PolarOptions(PositionedOptions):
    bias: Literal["zero", "uniform", "none"] = Field(
        "zero",
        description="initial phases of the keys, learned: zero (better on longer text), uniform in "
        "[-2 pi, 0] (better at the training length), or none at all",
    )
    share: Literal["layers", "none"] = Field(
        "layers", description="what shares the phases of the keys: layers, as the code, or none"
    )
    magnitude: Literal["softplus", "relu", "none"] = Field(
        "softplus",
        description="what makes magnitudes of channels; relu and none are the paper's ablations",
    )
    learned: Learned = False


class PoPEOptions(PolarOptions):
    theta: float = Field(10_000.0, gt=1, description="base of the frequencies, on every axis")


class PoPE(Polar):
    """PoPE (arXiv 2509.10534; lucidrains/PoPE-pytorch, PoPE and for several axes AxialPoPE; the
    same in x-transformers' PolarEmbedding).

    Channel i has the magnitude softplus(x_i) and the phase p_a theta^(-i/m), i of the m channels of
    axis a; keys have a learned phase d[n, i] in addition, kept in [-2 pi, 0]. Scores are
    sum_i softplus(q_i) softplus(k_i) cos((p_k - p_q) . f_i + d_i), so that content does not change
    phases. As in the code a phase outside its bounds is clamped, and has no gradient. AxialPoPE
    takes the axes in reverse, which is a permutation of channels.

    Prefix tokens have magnitudes too, and phase 0 (keys d_i). PoPE-pytorch multiplies those
    unchanged instead, which encodings that transform queries and keys separately can't do.
    """

    name = "pope"
    summary = "magnitudes of channels from content, phases from position"
    source = "arXiv 2509.10534"
    formula = "q . k = sum_i softplus(q_i) softplus(k_i) cos((p_k - p_q) . f_i + d_i)"
    prefix = "have magnitudes and phase 0"
    Options: ClassVar[type[PositionedOptions]] = PoPEOptions

    def __init__(self, shape: Shape, options: PolarOptions | None = None) -> None:
        super().__init__(shape, options)
        self.orthogonal = self.options.magnitude == "none"
        self.start_at(self.first_frequencies(), self.options.learned)
        #: phases of the keys, [L or 1, N, H]; None with bias=none
        self.phase: nn.Parameter | None = None
        if self.options.bias != "none":
            layers = shape.depth if self.options.share == "none" else 1
            self.phase = nn.Parameter(torch.empty(layers, shape.heads, shape.head_dim))
        self.initialise()

    def first_frequencies(self) -> Tensor:
        """[A, H] or [N, A, H] float32."""
        return axial_frequencies(self.options.theta, self.planes, self.shape.axes)

    def initialise(self, stream: Stream = lambda name: None) -> None:
        super().initialise(stream)
        if self.phase is not None:
            lowest = -2 * math.pi if self.options.bias == "uniform" else 0.0
            nn.init.uniform_(self.phase, lowest, 0.0, generator=stream("phase"))

    def magnitude(self, x: Tensor) -> Tensor:
        if self.options.magnitude == "softplus":
            return F.softplus(x)
        return x.relu() if self.options.magnitude == "relu" else x

    def encode_qk(
        self, q: Tensor, k: Tensor, state: RotaryState, layer: int, prefix_tokens: int = 0
    ) -> tuple[Tensor, Tensor]:
        table = self.table_for(state, layer, prefix_tokens, q, k)
        return self.turn(q, table), self.turn_keys(k, table, layer)

    def encode_k(self, k: Tensor, state: RotaryState, layer: int, prefix_tokens: int = 0) -> Tensor:
        return self.turn_keys(k, self.table_for(state, layer, prefix_tokens, k), layer)

    def turn_keys(self, k: Tensor, table: Tensor, layer: int) -> Tensor:
        """``turn`` with a layer's phases of the keys added."""
        if self.phase is None:
            return self.turn(k, table)
        phase = self.phase[layer if len(self.phase) > 1 else 0].clamp(-2 * math.pi, 0.0)
        cos, sin = phase.cos()[:, None], phase.sin()[:, None]  # [N, 1, H]
        x, y = with_prefix(table, k).unbind(-1)  # [N or 1, S, H]
        return self.spread(k, torch.stack((x * cos - y * sin, x * sin + y * cos), -1))


class GoldenGatePoPEOptions(PolarOptions):
    scaling: Scaling = Field("aspect", description=UNITS)
    slowest: float = Field(0.2, gt=0, description="lowest frequency; vit-pytorch: 1")
    fastest: float = Field(20.0, gt=0, description="highest frequency; vit-pytorch: 10000")
    zero: float = Field(
        0.0, ge=0, lt=1, description="share of the channels whose phase is constant"
    )


class GoldenGatePoPE(PoPE):
    """PoPE on any number of axes (lucidrains/vit-pytorch vit_nd_pope.py, after arXiv 2509.10534 and
    jerryxio.ng/posts/nd-rope).

    ``pope`` with the frequencies of ``golden-gate``: channel i of head n has the phase
    w_i (p . u[n, i]). As there, ``scaling=index,slowest=1,fastest=10000`` is vit-pytorch's.

    Raises:
        UsageError: ``fastest`` below ``slowest``.
    """

    name = "golden-gate-pope"
    summary = "pope with phases in evenly spread directions, different in every head"
    source = "arXiv 2509.10534; jerryxio.ng/posts/nd-rope"
    formula = "q . k = sum_i softplus(q_i) softplus(k_i) cos(w_i ((p_k - p_q) . u_ni) + d_i)"
    Options = GoldenGatePoPEOptions

    def first_frequencies(self) -> Tensor:
        chosen, heads = self.options, self.shape.heads
        magnitudes = log_spaced(self.name, chosen.slowest, chosen.fastest, chosen.zero, self.planes)
        directions = golden_directions(heads * self.planes, self.shape.axes)
        return (directions.view(heads, self.planes, -1).mT * magnitudes).to(torch.float32)
