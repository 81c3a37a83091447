"""The common base of the rotary family: planes rotated by angles linear in the position.

Shapes: as in ``encodings.base``; P = H/2 planes.
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

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


#: cosines and sines, or what they are computed from, see :meth:`Rotary.prepare`
RotaryState = Tensor | LayerAngles


class RotaryOptions(PositionedOptions):
    layout: Layout = Field("interleaved", description=LAYOUTS)


class Rotary(PositionEncoding):
    """Rotates plane i of head n in layer l at position p by the angle p . f[l, n, :, i].

    A subclass sets ``frequencies``: a buffer [A, P], or [N, A, P] by heads, that all layers share
    and whose cosines and sines are computed once a forward pass; or a parameter [L, N or 1, A, P].
    """

    family: ClassVar[Family] = "rotary"
    relative = True
    orthogonal = True
    Options: ClassVar[type[PositionedOptions]] = RotaryOptions
    frequencies: Tensor
    #: multiplies queries and keys: YaRN's temperature, see :mod:`liere_cli.encodings.extension`
    amplitude: float = 1.0

    def __init__(self, shape: Shape, options: PositionedOptions | None = None) -> None:
        super().__init__(shape, options)
        self.planes = self.count_planes()
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

    def start_at(self, frequencies: Tensor, learned: bool) -> None:
        """Fixed frequencies [A, P] or [N, A, P], or learned ones [L, N, A, P] that start there."""
        if not learned:
            self.register_buffer("frequencies", frequencies, persistent=False)
            return
        shape = self.shape
        self.frequencies = nn.Parameter(
            torch.empty(shape.depth, shape.heads, shape.axes, self.planes)
        )
        self.register_buffer("_start", frequencies, persistent=False)
        self._start: Tensor
        Rotary.initialise(self)

    def initialise(self, stream: Stream = lambda name: None) -> None:
        if hasattr(self, "_start"):
            with torch.no_grad():
                self.frequencies.copy_(self._start)

    def frequencies_of(self, layer: int | slice) -> Tensor:
        """Learned frequencies of a layer, [N or 1, A, P], or of several, [L, N or 1, A, P]."""
        frequencies: Tensor = self.frequencies[layer]
        return frequencies

    def prepare(self, positions: Tensor) -> RotaryState:
        """Cosines and sines [N or 1, T, P, 2] of fixed frequencies. For learned ones positions, or
        the angles of all layers where a kernel on a GPU has gradients to angles: few operations.
        """
        if "frequencies" not in self._buffers:
            return layer_angles(positions, self.frequencies_of) or positions
        table = phases(linear_angles(positions, self.frequencies))
        return table if table.ndim == 4 else table[None]

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

    def turn(self, x: Tensor, table: Tensor) -> Tensor:
        """Queries or keys [B, N, S, H] rotated by a layer's ``table``; the prefix is not."""
        return rotate_planes(x, table, self.layout)

    def table(self, state: RotaryState, layer: int) -> Tensor:
        """Cosines and sines of a layer, [N or 1, T, P, 2], from the state of the positions."""
        if isinstance(state, LayerAngles):
            table = phases(state.of(layer)[0])
        elif state.ndim != 4:
            table = phases(linear_angles(state, self.frequencies_of(layer)))
        else:
            table = state
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
