"""The common base of the rotary family: planes rotated by angles linear in the position.

Shapes: as in ``encodings.base``; P = H/2 planes.
"""

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn
from torch.nn import functional as F

from liere_cli.config.section import added
from liere_cli.encodings.base import Family, PositionedOptions, PositionEncoding, Shape, Stream
from liere_cli.rotations import (
    LayerAngles,
    Layout,
    layer_angles,
    linear_angles,
    phases,
    rotate_planes,
    rotate_projected,
    rotate_projected_by_angles,
)

#: description of the option ``layout``
LAYOUTS = "channels that form a plane: interleaved (2i, 2i+1) or half-split (i, i + H/2)"
#: how the planes of several axes are arranged
Order = Literal["concatenated", "interleaved"]
_LEARNED = "learn the frequencies of each layer and head, starting at the fixed ones"
Learned = Annotated[bool, Field(description=_LEARNED)]
Share = Literal["none", "layers", "heads", "all"]


def _learned(value: object) -> object:
    if isinstance(value, bool) or value == "scale":
        return value
    raise ValueError("must be true, false or scale")


LearnedOrScale = Annotated[
    bool | Literal["scale"],
    BeforeValidator(_learned),
    Field(description=f"{_LEARNED}; scale: a factor on each frequency, in log space (LeRoPE)"),
]


def share_field() -> Any:
    """The option ``share`` of what is learned."""
    return added(
        None,
        description="what shares learned frequencies or scales: none, layers (one for each head), "
        "heads (one for each layer) or all; null: all with learned=scale (LeRoPE), else none",
    )


def part_field() -> Any:
    """The option ``part``."""
    return added(
        1.0,
        gt=0,
        le=1,
        description="share of the planes that rotate, the first ones, with the frequencies of a "
        "head of that many planes",
    )


#: cosines and sines, or what they are computed from, see :meth:`Rotary.prepare`
RotaryState = Tensor | LayerAngles


class RotaryOptions(PositionedOptions):
    layout: Layout = Field("interleaved", description=LAYOUTS)


class ValueOptions(RotaryOptions):
    values: bool = added(
        False,
        description="rotate values too, and attention's outputs back, so that values depend on "
        "relative positions as scores do (RoVE)",
    )


class PlaneOptions(ValueOptions):
    """Options of encodings that rotate planes and nothing else."""

    part: float = part_field()


class Rotary(PositionEncoding):
    """Rotates plane i of head n in layer l at position p by the angle p . f[l, n, :, i].

    A subclass sets ``frequencies``: a buffer [A, P], [N, A, P] by heads or [L, N, A, P] by layers
    and heads, whose cosines and sines are computed once a forward pass; or a parameter
    [L, N or 1, A, P].

    With the option ``part`` the last planes do not rotate, as in GPT-NeoX (arXiv 2204.06745 section
    2.1.1): P is then the number of those that do. With ``values`` (RoVE, arXiv 2606.11275 section
    1) the value at p_j is rotated by the angles of its position too, and attention's output at p_i
    by those of p_i, backwards: the sum over j of a_ij R(p_j - p_i) v_j.
    """

    family: ClassVar[Family] = "rotary"
    relative = True
    orthogonal = True
    optional_places = ("values",)
    Options: ClassVar[type[PositionedOptions]] = RotaryOptions
    frequencies: Tensor
    #: logarithms of factors on fixed frequencies, [L or 1, N or 1, 1, P], with learned=scale
    scales: nn.Parameter | None
    #: multiplies queries and keys: YaRN's temperature, see :mod:`liere_cli.encodings.extension`
    amplitude: float = 1.0

    def __init__(self, shape: Shape, options: PositionedOptions | None = None) -> None:
        super().__init__(shape, options)
        self.register_parameter("scales", None)
        planes = self.count_planes()
        #: planes that rotate, and the last ones, which don't
        self.planes = self.count_rotated(planes)
        self.unrotated = planes - self.planes
        self.layout: Layout = getattr(self.options, "layout", "interleaved")

    def count_planes(self) -> int:
        """Planes of a head; UsageError for an odd head_dim, or fewer planes than axes."""
        head_dim, axes = self.shape.head_dim, self.shape.axes
        if head_dim % 2:
            raise self.error(f"rotates pairs of channels, so head_dim must be even, not {head_dim}")
        if head_dim // 2 < axes:
            needed = f"needs at least one plane, two channels, for each of {axes} axes"
            raise self.error(f"{needed}; head_dim={head_dim} has {head_dim // 2}")
        return head_dim // 2

    def count_rotated(self, planes: int) -> int:
        """How many of the planes of a head rotate, at least one for each axis."""
        return max(self.shape.axes, round(getattr(self.options, "part", 1.0) * planes))

    def start_at(
        self,
        frequencies: Tensor,
        learned: bool | Literal["scale"],
        share: Share | None = None,
    ) -> None:
        """Fixed frequencies [A, P] or [N, A, P]; or learned ones that start there, [L, N, A, P];
        or, with ``scale``, logarithms of factors on the fixed ones, initially 0, [L, N, 1, P]
        (LeRoPE, arXiv 2607.10134 section 3.1). L and N are 1 for what ``share`` names. UsageError
        for ``share`` without anything learned.
        """
        if not learned:
            if share is not None:
                raise self.error(
                    f"has nothing to share: share={share} needs learned=true or learned=scale"
                )
            self.register_buffer("frequencies", frequencies, persistent=False)
            return
        share = share or ("all" if learned == "scale" else "none")
        layers = 1 if share in ("layers", "all") else self.shape.depth
        heads = 1 if share in ("heads", "all") else self.shape.heads
        axes = 1 if learned == "scale" else self.shape.axes
        learned_numbers = nn.Parameter(torch.empty(layers, heads, axes, self.planes))
        if learned == "scale":
            self.scales = learned_numbers
        else:
            self.frequencies = learned_numbers
        self.register_buffer("_start", frequencies, persistent=False)
        self._start: Tensor
        Rotary.initialise(self)

    def initialise(self, stream: Stream = lambda name: None) -> None:
        if not hasattr(self, "_start"):
            return
        if self.scales is not None:
            nn.init.zeros_(self.scales)
            return
        with torch.no_grad():
            start = self._start
            if len(self.frequencies[0]) == 1 and start.ndim == 3:
                start = start[:1]  # one for all heads: that of the first
            self.frequencies.copy_(start)

    def frequencies_of(self, layer: int | slice) -> Tensor:
        """Learned frequencies of a layer, [N or 1, A, P], or of several, [L or 1, N or 1, A, P]."""
        learned = self.frequencies if self.scales is None else self.scales
        if isinstance(layer, int) and len(learned) == 1:
            layer = 0
        return learned[layer] if self.scales is None else self._start * learned[layer].exp()

    def prepare(self, positions: Tensor) -> RotaryState:
        """Cosines and sines [N or 1, T, P, 2], or [L, N, T, P, 2], of fixed frequencies, and of
        learned scales that all layers share. For other learned ones positions, or the angles of all
        layers where a kernel on a GPU has gradients to angles: few operations.
        """
        if self.scales is not None and len(self.scales) == 1:
            table = self.phases(linear_angles(positions, self.frequencies_of(0)))
        elif "frequencies" in self._buffers:
            table = self.phases(linear_angles(positions, self.frequencies))
        else:
            angles = None if self.unrotated else layer_angles(positions, self.frequencies_of)
            return angles or positions
        return table if table.ndim > 3 else table[None]

    def phases(self, angles: Tensor) -> Tensor:
        """Cosines and sines [..., P + unrotated, 2] of the angles [..., P] of rotating planes."""
        table = phases(angles)
        if not self.unrotated:
            return table
        cos, sin = table.unbind(-1)
        still = (0, self.unrotated)
        return torch.stack((F.pad(cos, still, value=1.0), F.pad(sin, still)), -1)

    def encode_qk(
        self, q: Tensor, k: Tensor, state: RotaryState, layer: int, prefix_tokens: int = 0
    ) -> tuple[Tensor, Tensor]:
        table = self.table_for(state, layer, prefix_tokens, q, k)
        return self.turn(q, table), self.turn(k, table)

    def encode_q(self, q: Tensor, state: RotaryState, layer: int, prefix_tokens: int = 0) -> Tensor:
        return self.turn(q, self.table_for(state, layer, prefix_tokens, q))

    def encode_k(self, k: Tensor, state: RotaryState, layer: int, prefix_tokens: int = 0) -> Tensor:
        return self.turn(k, self.table_for(state, layer, prefix_tokens, k))

    def project(
        self, x: Tensor, weight: Tensor, state: RotaryState, layer: int, prefix_tokens: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        cls = type(self)
        if cls.turn is not Rotary.turn or cls.encode_qk is not Rotary.encode_qk:
            return super().project(x, weight, state, layer, prefix_tokens)
        return self.rotate_projection(x, weight, state, layer, prefix_tokens)

    def rotate_projection(
        self, x: Tensor, weight: Tensor, state: RotaryState, layer: int, prefix_tokens: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of ``project``, rotated by the table of the layer."""
        by_angles = isinstance(state, LayerAngles) and type(self).table is Rotary.table
        if isinstance(state, LayerAngles) and by_angles and self.amplitude == 1:
            angles, table = state.of(layer)
        else:
            angles, table = None, self.table(state, layer)
        self.check_tokens(x.shape[1], table.shape[-3], prefix_tokens)
        qkv = nn.functional.linear(x, weight).unflatten(-1, (3, self.shape.heads, -1))
        if angles is not None:
            return rotate_projected_by_angles(qkv, angles, table, self.layout)
        return rotate_projected(qkv, table, self.layout)

    def encode_v(self, v: Tensor, state: RotaryState, layer: int, prefix_tokens: int = 0) -> Tensor:
        table = self.rotation(state, layer)
        self.check_sequences(table.shape[-3], prefix_tokens, v)
        return rotate_planes(v, table, self.layout)

    def decode_v(self, y: Tensor, state: RotaryState, layer: int, prefix_tokens: int = 0) -> Tensor:
        table = self.rotation(state, layer)
        self.check_sequences(table.shape[-3], prefix_tokens, y)
        cos, sin = table.unbind(-1)
        return rotate_planes(y, torch.stack((cos, -sin), -1), self.layout)

    def turn(self, x: Tensor, table: Tensor) -> Tensor:
        """Queries or keys [B, N, S, H] rotated by a layer's ``table``; the prefix is not."""
        return rotate_planes(x, table, self.layout)

    def rotation(self, state: RotaryState, layer: int) -> Tensor:
        """Cosines and sines of a layer, [N or 1, T, H/2, 2], from the state of the positions."""
        if isinstance(state, LayerAngles):
            return phases(state.of(layer)[0])
        if state.ndim == 5:
            return state[layer]
        if state.ndim == 4:
            return state
        return self.phases(linear_angles(state, self.frequencies_of(layer)))

    def table(self, state: RotaryState, layer: int) -> Tensor:
        """``rotation`` times ``amplitude``, for queries and keys."""
        table = self.rotation(state, layer)
        return table if self.amplitude == 1 else self.amplitude * table

    def table_for(self, state: RotaryState, layer: int, prefix_tokens: int, *xs: Tensor) -> Tensor:
        """``table``, which must fit the tokens of each [B, N, S, H]."""
        table = self.table(state, layer)
        self.check_sequences(table.shape[-3], prefix_tokens, *xs)
        return table


def split_planes(planes: int, axes: int) -> list[int]:
    """Planes of each axis: an even share, and one more for the first axes if some are left."""
    share, left = divmod(planes, axes)
    return [share + (axis < left) for axis in range(axes)]


def geometric(theta: float, planes: int) -> Tensor:
    """theta^(-i / planes) for i = 0 .. planes - 1, [planes] float32: RoFormer's spectrum."""
    return (theta ** -(torch.arange(planes, dtype=torch.float64) / planes)).to(torch.float32)


def axial_frequencies(
    theta: float, planes: int, axes: int, order: Order = "concatenated"
) -> Tensor:
    """Frequencies [axes, planes] float32 with each plane on one axis, plane i of the m of an axis
    at theta^(-i/m): axis after axis (concatenated), or axes in turn (interleaved).
    """
    parts = [geometric(theta, share) for share in split_planes(planes, axes)]
    frequencies: Tensor = torch.block_diag(*(part[None] for part in parts))
    if order == "interleaved":
        index = torch.arange(planes)
        axis = torch.arange(axes).repeat_interleave(torch.tensor([len(part) for part in parts]))
        within = index - torch.tensor([0, *map(len, parts)]).cumsum(0)[axis]
        frequencies = frequencies[:, torch.argsort(within * axes + axis)]
    return frequencies
