"""xPos: rotary whose scores decay with distance, plane by plane.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim, P planes.
"""

import math
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from liere_cli.encodings.base import Shape
from liere_cli.encodings.rotary.base import (
    Learned,
    Rotary,
    RotaryOptions,
    RotaryState,
    geometric,
    part_field,
)
from liere_cli.positions.grid import Grid
from liere_cli.rotations.angles import can_read


class XPosOptions(RotaryOptions):
    theta: float = Field(10_000.0, gt=1, description="base of the frequencies")
    span: float = Field(
        512.0, gt=0, description="distance over which plane i decays to zeta_i; scale_base in code"
    )
    gamma: float = Field(
        0.4, gt=0, description="zeta_i = (i/P + gamma) / (1 + gamma); large values decay little"
    )
    learned: Learned = False
    part: float = part_field()


#: queries and keys are assumed to be below the exponential of this
_MARGIN = 2.0


@dataclass(frozen=True)
class XPosState:
    """The state of ``Rotary``; zeta_i^(p / span), [T, P, 1] float32; and the largest logarithm of
    these and their inverses, 0 where Python can't read values without waiting.
    """

    rotary: RotaryState
    decay: Tensor
    exponent: float = 0.0


class XPos(Rotary):
    """xPos (arXiv 2212.10554; microsoft/torchscale torchscale/component/xpos_relative_position.py).

    Plane i rotates by p * theta^(-i/P) as in RoFormer; in addition the query is multiplied by
    zeta_i^(p / span) and the key divided by it, with zeta_i = (i/P + gamma) / (1 + gamma) below 1.
    The score of a key decays by zeta_i^((p_q - p_k) / span); that of a later key grows, so a causal
    mask is needed. The paper's blockwise attention belongs to the model and is not part of this.

    Scores depend only on differences, so the origin of the factors is free. The public codes centre
    them on the current sequence, which invalidates cached keys when it grows; here they are centred
    on the training grid, if one is given. The largest factor reaches zeta_0^(-T / span) at a
    distance T from there: at the defaults float32 and bfloat16 represent that, with room for
    queries and keys, up to T = 35,000, float16 up to 3,700. Positions beyond are refused on a CPU;
    on a GPU and in compiled graphs, where reading positions would wait, results are NaN.
    """

    name = "xpos"
    summary = "rotary whose scores decay with distance, fast planes most; for causal models"
    source = "arXiv 2212.10554"
    formula = "plane i rotates by p theta^(-i/P), q times zeta_i^(p/span), k over it"
    max_axes = 1
    orthogonal = False
    Options = XPosOptions

    def __init__(self, shape: Shape, options: XPosOptions | None = None) -> None:
        super().__init__(shape, options)
        chosen = self.options
        self.start_at(geometric(chosen.theta, self.planes)[None], chosen.learned)
        share = torch.arange(self.planes, dtype=torch.float64) / self.planes
        rate = ((share + chosen.gamma) / (1 + chosen.gamma)).log() / chosen.span
        #: logarithms of the factors for one unit of position, [P]
        self.register_buffer("rate", rate.to(torch.float32), persistent=False)
        self.rate: Tensor
        trained = Grid(shape.grid).positions(self.scaling) if shape.grid else torch.zeros(1)
        self.centre = float(trained.mean())

    def prepare(self, positions: Tensor) -> XPosState:  # type: ignore[override]
        centred = positions.to(self.rate.dtype) - self.centre  # [T, 1]
        largest = 0.0
        if can_read(centred, self.rate) and centred.numel():
            farthest = centred.detach().abs().nan_to_num(0.0, 0.0).amax()
            largest = float(farthest * self.rate.abs().amax())
        decay = F.pad((centred * self.rate).exp(), (0, self.unrotated), value=1.0)[..., None]
        return XPosState(super().prepare(positions), decay, largest)

    def factors(self, state: XPosState, *xs: Tensor) -> Tensor:
        """zeta_i^(p / span), [T, P, 1]; UsageError if results in the dtype of the tensors would not
        be finite.
        """
        for x in xs:
            limit = math.log(torch.finfo(x.dtype).max) - _MARGIN
            # factors are float32, unless the module is float64
            limit = min(limit, math.log(torch.finfo(self.rate.dtype).max) - _MARGIN)
            if state.exponent > limit:
                fastest = float(self.rate.abs().max())
                reached, most = state.exponent / fastest, limit / fastest
                raise self.error(
                    f"is computed at positions up to {reached:,.0f} from {self.centre:g}; at "
                    f"span={self.options.span:g} {str(x.dtype).removeprefix('torch.')} represents "
                    f"its factors up to {most:,.0f}: a larger span, a wider dtype, or positions "
                    "relative to a later one serve more"
                )
        return state.decay

    def encode_qk(  # type: ignore[override]
        self, q: Tensor, k: Tensor, state: XPosState, layer: int, prefix_tokens: int = 0
    ) -> tuple[Tensor, Tensor]:
        table = self.table_for(state.rotary, layer, prefix_tokens, q, k)
        decay = self.factors(state, q, k)
        return self.turn(q, table * decay), self.turn(k, table / decay)

    def encode_q(  # type: ignore[override]
        self, q: Tensor, state: XPosState, layer: int, prefix_tokens: int = 0
    ) -> Tensor:
        table = self.table_for(state.rotary, layer, prefix_tokens, q)
        return self.turn(q, table * self.factors(state, q))

    def encode_k(  # type: ignore[override]
        self, k: Tensor, state: XPosState, layer: int, prefix_tokens: int = 0
    ) -> Tensor:
        table = self.table_for(state.rotary, layer, prefix_tokens, k)
        return self.turn(k, table / self.factors(state, k))
