"""The common base of the rotary family: planes turned by angles linear in the position.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim, A axes,
L depth, P = H/2 planes.
"""

import torch
from pydantic import Field
from torch import Tensor

from liere_cli.encodings.base import PositionedOptions, PositionEncoding, Shape
from liere_cli.errors import UsageError
from liere_cli.rotations import Layout, linear_angles, phases, rotate_planes


class RotaryOptions(PositionedOptions):
    """Options of every rotary encoding."""

    layout: Layout = Field(
        "interleaved",
        description="channels that form a plane: interleaved (2i, 2i+1) or half-split (i, i + H/2)",
    )


class Rotary(PositionEncoding):
    """Turns plane i of head n in layer l at position p by the angle p . f[l, n, :, i].

    A subclass gives ``frequencies``: a buffer [A, P] that all layers and heads share, whose cosines
    and sines are computed once a forward pass, or a parameter [L, N, A, P].
    """

    family = "rotary"
    relative = True
    orthogonal = True
    Options = RotaryOptions
    frequencies: Tensor

    def __init__(self, shape: Shape, options: RotaryOptions | None = None) -> None:
        super().__init__(shape, options)
        if shape.head_dim % 2:
            raise UsageError(
                f"encoding '{self.name}' turns pairs of channels, so head_dim must be even, not "
                f"{shape.head_dim}"
            )
        self.planes = shape.head_dim // 2
        if self.planes < shape.axes:
            raise UsageError(
                f"encoding '{self.name}' needs at least one plane, two channels, for each of "
                f"{shape.axes} axes; head_dim={shape.head_dim} has {self.planes}"
            )

    def prepare(self, positions: Tensor) -> Tensor:
        """Cosines and sines [1, T, P, 2] of fixed frequencies; the positions for learned ones."""
        if self.frequencies.ndim == 2:
            return phases(linear_angles(positions, self.frequencies))[None]
        return positions

    def encode_qk(self, q: Tensor, k: Tensor, state: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        table, layout = self.table(state, layer), self.options.layout
        return rotate_planes(q, table, layout), rotate_planes(k, table, layout)

    def encode_q(self, q: Tensor, state: Tensor, layer: int) -> Tensor:
        return rotate_planes(q, self.table(state, layer), self.options.layout)

    def encode_k(self, k: Tensor, state: Tensor, layer: int) -> Tensor:
        return rotate_planes(k, self.table(state, layer), self.options.layout)

    def table(self, state: Tensor, layer: int) -> Tensor:
        """Cosines and sines of a layer, [N or 1, T, P, 2], from what ``prepare`` returned."""
        if self.frequencies.ndim == 2:
            return state
        return phases(linear_angles(state, self.frequencies[layer]))


def split_planes(planes: int, axes: int) -> list[int]:
    """How many planes each axis gets: an even share, what is left over going to the first axes."""
    share, left = divmod(planes, axes)
    return [share + (axis < left) for axis in range(axes)]


def geometric(theta: float, planes: int) -> Tensor:
    """theta^(-i / planes) for i = 0 .. planes - 1, [planes] float32: RoFormer's spectrum."""
    return (theta ** -(torch.arange(planes, dtype=torch.float64) / planes)).to(torch.float32)
