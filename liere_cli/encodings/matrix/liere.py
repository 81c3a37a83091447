"""LieRE: learned rotations in as many dimensions as a head has."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from liere_cli.config.section import added
from liere_cli.encodings.base import PositionedOptions, Shape, Stream
from liere_cli.encodings.matrix.base import MatrixRotation
from liere_cli.encodings.matrix.liere_init import mean_highest_frequency, with_spectrum_of
from liere_cli.encodings.presets import Preset, preset_field
from liere_cli.errors import UsageError
from liere_cli.positions.grid import UNITS, Scaling
from liere_cli.rotations import (
    OneAxisTable,
    SchurForm,
    fold_basis,
    grid_exp,
    linear_angles,
    need_float64,
    one_axis_table,
    phases,
    real_schur,
    rotate_blocks,
    rotate_on_grid,
    rotate_one_axis,
    rotate_planes,
    rotate_projected_blocks,
    rotate_projected_one_axis,
    skew_from_upper,
)

DEFAULT_BLOCK = 8
PAPER_SCALE = 2 * math.pi
#: bytes of rotations of all layers that are kept from the forward to the backward pass; if there
#: are more, each layer builds its own, and again in the backward pass
KEPT_BYTES = 256 * 2**20
#: the same on a GPU, where activations of a batch are as large
DEVICE_KEPT_BYTES = 2**30
#: bytes of rotations that a CPU builds at once: larger tensors can't reuse memory freed in a step
BUILT_BYTES = 16 * 2**20
PRESETS = {
    "paper-code": Preset(
        "what the authors' public code computes, at any block",
        {"share": "layers", "scale": PAPER_SCALE, "scaling": "unit", "spectrum": None, "top": None},
    )
}


@dataclass(frozen=True)
class LieREState:
    """What the layers share in a forward pass; which fields are set depends on axes and sizes.

    Each is a tuple over layers, with one entry if layers share it: indexing one large tensor would
    cost a gradient of the size of all layers for each layer.

    Args:
        positions: [T, A].
        frequencies: [N or 1, A, H/2], for blocks of 2.
        lines: spectra [N or 1, n, b, b], for one axis.
        tables: their angles and phases.
        generators: [N or 1, n, A, b, b], for rotations too large to keep.
        rotations: [N or 1, n, T, b, b], else.
    """

    positions: Tensor
    frequencies: tuple[Tensor, ...] = ()
    lines: tuple[SchurForm, ...] = ()
    tables: tuple[OneAxisTable, ...] = ()
    generators: tuple[Tensor, ...] = ()
    rotations: tuple[Tensor, ...] = ()

    def inverse(self, layer: int) -> "LieREState":
        """The state of one layer, then the first, at the negative positions: R(-p) = R(p)^T."""
        only = slice(layer, layer + 1)
        conjugates = [torch.stack((t[..., 0], -t[..., 1]), -1) for _, t in self.tables[only]]
        angles = [-angles for angles, _ in self.tables[only]]
        return LieREState(
            -self.positions,
            self.frequencies[only],
            self.lines[only],
            tuple(map(OneAxisTable, angles, conjugates)),
            self.generators[only],
            tuple(rotations.mT for rotations in self.rotations[only]),
        )


class LieREOptions(PositionedOptions):
    block: int | None = Field(
        None,
        ge=2,
        description="rows of a block of the generators, a divisor of head_dim: 2 is RoPE-Mixed in "
        "form, head_dim the unrestricted LieRE; null: 8, the paper's best, or the largest "
        "divisor below",
    )
    share: Literal["none", "layers", "heads", "all"] = Field(
        "none",
        description="what shares generators: none (the paper's text; multi-headed generators), "
        "layers (what its public code computes), heads, or all; their learning rate is "
        "training.encoding_rate",
    )
    scale: float = Field(
        PAPER_SCALE,
        ge=0,
        description="the initial entries above the diagonal are uniform in [0, scale)",
    )
    scaling: Scaling = Field("unit", description=f"{UNITS}; the paper's code has unit")
    spectrum: int | None = added(
        None,
        ge=2,
        description="initial frequencies as in blocks of this many rows, in the planes of the "
        "block's own draw; null: the block's own frequencies, which grow with it",
    )
    top: float | None = added(
        None,
        gt=0,
        description="scales the initial draw so that the highest frequency of a block on an axis "
        "is this on average, in radians per unit of position; null: scale applies",
    )
    values: bool = added(
        False,
        description="rotate values too, and attention's outputs back (RoVE's values with LieRE's "
        "rotations)",
    )
    presets: ClassVar[Mapping[str, Preset]] = PRESETS
    preset: str | None = preset_field(PRESETS)

    @model_validator(mode="after")
    def _top_or_scale(self) -> Self:
        if self.top is not None and self.scale != PAPER_SCALE:
            raise ValueError(
                f"top={self.top:g} and scale={self.scale:g} both set the size of the initial "
                "entries: leave one of the two out"
            )
        return self


class LieRE(MatrixRotation):
    """LieRE (arXiv 2406.10322, algorithm 2): q and k at position p are multiplied by
    R(p) = exp(sum_a p_a A_a) with learned skew-symmetric A_a = U_a - U_a^T, U_a strictly upper
    triangular, block-diagonal with blocks of ``block`` rows.

    **Frequencies.** With the paper's initialisation larger blocks rotate faster: the highest
    frequency of a block on one axis is about 3 radians across the image for 2 rows, 17 for 8 and
    130 for 64, so a sweep over block sizes is one over frequencies too. ``spectrum=8`` gives blocks
    of any size the frequencies of blocks of 8; ``top=17`` scales the draw to a highest frequency.
    See :mod:`liere_cli.encodings.matrix.liere_init`.

    **Sharing.** By default every head has its own generators, which the discussion of LieRE on text
    (lucidrains/rotary-embedding-torch#26) calls multi-headed generators; the authors' example there
    has one set for all heads (``share=heads``). A lower learning rate for generators, also tried
    there, is a setting of training: ``training.encoding_rate=0.1``.

    **The public code** (StanfordMIMI/LieRE at b27b41b) makes generators for every layer, but its
    transformer passes those of the first layer on to all others, so that all layers use them and
    the rest never learn. ``preset=paper-code`` reproduces that, with entries uniform in [0, 2 pi)
    and positions 0..1, both ends included. On grids larger than in training its positions end at
    exactly new / old extent, whereas the spacing of training (``scaling=unit``) ends slightly
    beyond.
    """

    name = "liere"
    summary = "rotations of whole blocks of channels with learned generators"
    source = "arXiv 2406.10322"
    formula = "R(p) = exp(sum_a p_a (U_a - U_a^T)), blocks of b rows"
    optional_places = ("values",)
    Options = LieREOptions

    def __init__(self, shape: Shape, options: LieREOptions | None = None) -> None:
        super().__init__(shape, options)
        fitting = [b for b in range(2, shape.head_dim + 1) if shape.head_dim % b == 0]
        below = [b for b in fitting if b <= DEFAULT_BLOCK]
        self.block = self.options.block or max(below, default=shape.head_dim)
        if self.block not in fitting:
            raise UsageError(
                f"encoding 'liere': head_dim={shape.head_dim} is not divisible into blocks of "
                f"{self.block} rows; those that fit: {', '.join(map(str, fitting)) or 'none'}"
            )
        # rotations along one axis commute, and so do those of single planes
        self.relative = shape.axes == 1 or self.block == 2
        share = self.options.share
        layers = 1 if share in ("layers", "all") else shape.depth
        heads = 1 if share in ("heads", "all") else shape.heads
        blocks = shape.head_dim // self.block
        entries = self.block * (self.block - 1) // 2
        #: entries above the diagonal, row by row
        self.upper = nn.Parameter(torch.empty(layers, heads, blocks, shape.axes, entries))
        self.initialise()

    def initialise(self, stream: Stream = lambda name: None) -> None:
        draw = torch.rand(self.upper.shape, generator=stream("upper"))
        other, top = self.options.spectrum, self.options.top
        if other not in (None, self.block):
            draw = with_spectrum_of(draw, self.block, other, stream("spectrum"))
        scale = self.options.scale
        if top is not None:
            scale = top / mean_highest_frequency(draw, self.block)
        with torch.no_grad():
            self.upper.copy_(draw * scale)

    def generators(self) -> Tensor:
        """A = U - U^T, [L or 1, N or 1, n, A, b, b] for n blocks of b rows."""
        return skew_from_upper(self.upper, self.block)

    def rotations(self, positions: Tensor) -> Tensor:
        """R(p) [L or 1, N or 1, n, T, b, b] at positions [T, A] in units of ``scaling``."""
        self.check_positions(positions)
        return grid_exp(self.generators(), positions)

    def prepare(self, positions: Tensor) -> LieREState:
        if self.block == 2:
            # U - U^T rotates a plane from its second channel to its first
            return LieREState(positions, frequencies=(-self.upper.squeeze(-1).mT).unbind())
        generators = self.generators()
        if self.shape.axes == 1 and self.block % 2 == 0:
            generators, line = generators.squeeze(3), positions[:, 0]
            if need_float64(generators, line):
                generators, line = generators.double(), line.double()
            lines = real_schur(generators, line)
            tables = one_axis_table(lines, line)
            return LieREState(positions, lines=lines.unbind(), tables=tables.unbind())
        on_cpu = positions.device.type == "cpu"
        kept = KEPT_BYTES if on_cpu else DEVICE_KEPT_BYTES
        layer_bytes = generators[0, ..., 0, :, :].nbytes * len(positions)
        if layer_bytes * len(generators) > kept:
            return LieREState(positions, generators=generators.unbind())
        most = BUILT_BYTES if on_cpu else kept
        parts = generators.split(max(1, most // max(1, layer_bytes)))
        rotations = [layer for part in parts for layer in grid_exp(part, positions).unbind()]
        return LieREState(positions, rotations=tuple(rotations))

    def rotate(
        self, state: LieREState, layer: int, prefix: int, *xs: Tensor, in_eigenbasis: bool
    ) -> tuple[Tensor, ...]:
        self.check_sequences(len(state.positions), prefix, *xs)
        layer = layer if len(self.upper) > 1 else 0
        if state.frequencies:
            angles = linear_angles(state.positions, state.frequencies[layer])
            return tuple(rotate_planes(x, phases(angles)) for x in xs)
        if state.lines:
            lines, table = state.lines[layer], state.tables[layer]
            positions = state.positions[:, 0].to(lines.basis.dtype)
            return rotate_one_axis(lines, table, positions, *xs, in_eigenbasis=in_eigenbasis)
        if state.generators:
            return rotate_on_grid(state.generators[layer], state.positions, *xs)
        return rotate_blocks(state.rotations[layer], *xs)

    def encode_v(self, v: Tensor, state: LieREState, layer: int, prefix_tokens: int = 0) -> Tensor:
        return self.rotate(state, layer, prefix_tokens, v, in_eigenbasis=False)[0]

    def decode_v(self, y: Tensor, state: LieREState, layer: int, prefix_tokens: int = 0) -> Tensor:
        back = state.inverse(layer if len(self.upper) > 1 else 0)
        return self.rotate(back, 0, prefix_tokens, y, in_eigenbasis=False)[0]

    def project(
        self, x: Tensor, weight: Tensor, state: LieREState, layer: int, prefix_tokens: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rotates queries and keys in the projected tensor; on one axis, without a prefix, with the
        change of basis folded into the weights, a product of their size instead of one by token.
        """
        self.check_tokens(x.shape[1], len(state.positions), prefix_tokens)
        layer = layer if len(self.upper) > 1 else 0
        by_heads = (3, self.shape.heads, self.shape.head_dim)
        if state.rotations:
            qkv = F.linear(x, weight).unflatten(-1, by_heads)
            return rotate_projected_blocks(state.rotations[layer], qkv)
        if not state.lines or prefix_tokens:
            return super().project(x, weight, state, layer, prefix_tokens)
        lines, table = state.lines[layer], state.tables[layer]
        positions = state.positions[:, 0].to(lines.basis.dtype)
        qkv = F.linear(x, fold_basis(lines, weight)).unflatten(-1, by_heads)
        return rotate_projected_one_axis(lines, table, positions, qkv)
