"""Spherical RoPE: triples of channels rotated about one axis, then about another."""

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from liere_cli.encodings.base import PositionedOptions, Shape, Stream
from liere_cli.encodings.matrix.base import MatrixRotation
from liere_cli.encodings.rotary.base import geometric
from liere_cli.positions.grid import UNITS, Scaling
from liere_cli.rotations import linear_angles, phases


@dataclass(frozen=True)
class SphericalState:
    """Positions [T, 2]; cosines and sines of fixed frequencies for each axis, [1, T, n, 2]."""

    positions: Tensor
    tables: tuple[Tensor, ...] = ()


class SphericalOptions(PositionedOptions):
    scaling: Scaling = Field("angle", description=f"{UNITS}; the paper has angle")
    theta: float = Field(100.0, gt=1, description="base of the fixed frequencies")
    learned: bool = Field(
        False,
        description="learn the frequencies of each layer, head and axis, initially uniform in "
        "[0, 1) as in the code",
    )


class Spherical(MatrixRotation):
    """Spherical RoPE (arXiv 2511.08368 section 4 and appendices F and G; Spherical_RoPE and
    Learned_Spherical_RoPE in the code of its authors' CARE).

    Three neighbouring channels (u, v, w) are a vector. At row y and column x it is rotated by
    f x in the plane of u and w (yaw), and then by f y in the plane of v and w (roll). Triple d of
    the n has f = theta^(-2 d / 3 n) on both axes, or learned frequencies. The two do not commute,
    so scores depend on absolute positions: the smallest change to ``rope-mixed`` that is not
    relative.

    The source has heads of 60 or 63 channels. Here head_dim need not be divisible by three: the
    remaining one or two channels are not rotated.

    Raises:
        UsageError: head_dim below 3.
    """

    name = "spherical"
    summary = "triples of channels rotated by columns, then by rows; cheap, and not commuting"
    source = "arXiv 2511.08368"
    formula = "triple d is rotated by roll(y f_d) yaw(x f_d)"
    min_axes = max_axes = 2
    Options = SphericalOptions
    #: learned [L, N, 2, n], or fixed for all layers and heads [1, 2, n]
    frequencies: Tensor

    def __init__(self, shape: Shape, options: SphericalOptions | None = None) -> None:
        super().__init__(shape, options)
        self.triples = shape.head_dim // 3
        if not self.triples:
            needed = "rotates triples of channels, so head_dim must be at least 3"
            raise self.error(f"{needed}, not {shape.head_dim}")
        if self.options.learned:
            size = (shape.depth, shape.heads, shape.axes, self.triples)
            self.frequencies = nn.Parameter(torch.empty(size))
        else:
            fixed = geometric(self.options.theta ** (2 / 3), self.triples)
            self.register_buffer("frequencies", fixed.expand(1, 2, -1).clone(), persistent=False)
        self.initialise()

    def initialise(self, stream: Stream = lambda name: None) -> None:
        if self.options.learned:
            draw = torch.rand(self.frequencies.shape, generator=stream("frequencies"))
            with torch.no_grad():
                self.frequencies.copy_(draw)

    def prepare(self, positions: Tensor) -> SphericalState:
        if self.options.learned:
            return SphericalState(positions)
        return SphericalState(positions, _tables(positions, self.frequencies))

    def rotate(
        self, state: SphericalState, layer: int, prefix: int, *xs: Tensor, in_eigenbasis: bool
    ) -> tuple[Tensor, ...]:
        self.check_sequences(len(state.positions), prefix, *xs)
        tables = state.tables or _tables(state.positions, self.frequencies[layer])
        return tuple(_rotate(x, *tables) for x in xs)


def _tables(positions: Tensor, frequencies: Tensor) -> tuple[Tensor, ...]:
    """Cosines and sines for each axis, [N or 1, T, n, 2], of frequencies [N or 1, A, n]."""
    return tuple(
        phases(linear_angles(positions[:, axis, None], frequencies[:, axis, None]))
        for axis in range(positions.shape[1])
    )


def _rotate(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Yaw by the columns' angles, then roll by the rows', the prefix unchanged: [B, N, S, H]."""
    tokens, triples = rows.shape[1:3]
    prefix = x.shape[2] - tokens
    tail = x[:, :, prefix:]
    u, v, w = tail[..., : 3 * triples].unflatten(-1, (-1, 3)).unbind(-1)
    (cos, sin), (cos_rows, sin_rows) = columns.unbind(-1), rows.unbind(-1)
    u, w = u * cos - w * sin, u * sin + w * cos
    v, w = v * cos_rows - w * sin_rows, v * sin_rows + w * cos_rows
    turned = torch.stack((u, v, w), -1).flatten(-2).to(x.dtype)
    turned = torch.cat((turned, tail[..., 3 * triples :]), -1)
    return torch.cat((x[:, :, :prefix], turned), 2) if prefix else turned
