"""The contract of a position encoding.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim, A axes,
L depth.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from liere_cli.config.section import Section
from liere_cli.encodings.presets import Preset, spelled_out
from liere_cli.errors import UsageError
from liere_cli.positions.grid import UNITS, Scaling, check_extents, is_whole

Place = Literal["embed", "encode_qk", "bias"]
#: the methods that make an encoding act at a place
ACTING: dict[Place, tuple[str, ...]] = {
    "embed": ("embed",),
    "encode_qk": ("encode_qk", "encode_q", "encode_k"),
    "bias": ("bias",),
}
#: how encodings are grouped in lists, in this order
Family = Literal["none", "embedding", "rotary", "matrix", "polar", "bias", "other"]
Stream = Callable[[str], torch.Generator | None]


@dataclass(frozen=True)
class Shape:
    """What an encoding serves.

    Args:
        axes: axes of a position: 1 text, 2 images, 3 video.
        heads, head_dim: attention heads and channels of each.
        depth: layers that call the encoding.
        dim: width of the token embeddings; heads * head_dim if not given.
        grid: the training grid, which tables of learned positions need.
    """

    axes: int
    heads: int
    head_dim: int
    depth: int = 1
    dim: int = 0
    grid: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("axes", "heads", "head_dim", "depth", "dim"):
            value, least = getattr(self, name), 0 if name == "dim" else 1
            if not is_whole(value) or value < least:
                raise UsageError(f"{name} must be a whole number from {least}, not {value!r}")
        if self.grid is not None:
            check_extents("grid", self.grid)
        if not self.dim:
            object.__setattr__(self, "dim", self.heads * self.head_dim)
        if self.grid is not None and len(self.grid) != self.axes:
            raise UsageError(f"a training grid {self.grid} does not have {self.axes} axes")


class EncodingOptions(Section):
    """Options of an encoding; a subclass adds its own fields, each with a description.

    One that has ``presets`` gets a field ``preset: str | None = preset_field(presets)`` as well.
    """

    presets: ClassVar[Mapping[str, Preset]] = {}

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, values: Any) -> Any:
        if not cls.presets or not isinstance(values, Mapping):
            return values
        return spelled_out(cls.presets, values)


class PositionedOptions(EncodingOptions):
    """Options of an encoding that reads coordinates."""

    scaling: Scaling = Field("index", description=UNITS)


class PositionEncoding(nn.Module):
    """Base of all encodings; acts at three places and no other.

    A subclass sets the class variables and overrides ``prepare`` and one or more of ``embed``,
    ``encode_qk`` and ``bias``; the rest stay no-ops. One that treats queries and keys apart
    overrides ``encode_q`` and ``encode_k`` instead of ``encode_qk``. Prefix tokens (CLS, registers)
    come first in the sequence and have no position: they pass unchanged, unless ``prefix`` says
    otherwise. Parameters of an encoding are never decayed.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    family: ClassVar[Family] = "other"
    #: what it computes, in one line
    formula: ClassVar[str] = ""
    #: where it acts, told from what it overrides
    places: ClassVar[tuple[Place, ...]] = ()
    #: lowest and highest number of axes it is defined for; None means any
    min_axes: ClassVar[int] = 1
    max_axes: ClassVar[int | None] = None
    #: the encoding that generalises it to numbers of axes that it does not serve
    counterpart: ClassVar[str | None] = None
    #: what happens to tokens without a position
    prefix: ClassVar[str] = "pass unchanged"
    # an instance may set its own of the following, where they depend on shape or options
    #: channels of encoded queries and keys over head_dim; logits are divided by sqrt(head_dim)
    #: whatever it is
    qk_width: int = 1
    #: whether scores depend on differences of positions alone, and whether queries and keys keep
    #: their norms
    relative: bool = False
    orthogonal: bool = False
    Options: ClassVar[type[EncodingOptions]] = PositionedOptions

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        cls.places = tuple(
            place for place, methods in ACTING.items() if any(map(cls._overrides, methods))
        )

    def __init__(self, shape: Shape, options: Any = None) -> None:
        super().__init__()
        self.shape = shape
        self.options: Any = self.Options() if options is None else options
        #: units in which ``prepare`` expects its positions
        self.scaling: Scaling = getattr(self.options, "scaling", "index")
        if not self.serves(shape.axes):
            raise UsageError(
                f"encoding '{self.name}' is defined for {self.axes_in_words()}, not {shape.axes}"
            )

    @classmethod
    def serves(cls, axes: int) -> bool:
        """Whether it is defined for that many axes."""
        return cls.min_axes <= axes and (cls.max_axes is None or axes <= cls.max_axes)

    @classmethod
    def _overrides(cls, method: str) -> bool:
        return getattr(cls, method) is not getattr(PositionEncoding, method)

    @classmethod
    def axes_in_words(cls) -> str:
        least, most = cls.min_axes, cls.max_axes
        if most is None:
            return "any number of axes" if least == 1 else f"at least {least} axes"
        if least == most:
            return f"{most} {'axis' if most == 1 else 'axes'} only"
        return f"at most {most} axes" if least == 1 else f"{least} to {most} axes"

    def initialise(self, stream: Stream = lambda name: None) -> None:
        """Draws the initial parameters.

        Args:
            stream: gives the generator for the parameter of that name (None: torch's global one),
                so that a parameter's value does not depend on what else is drawn.
        """

    def prepare(self, positions: Tensor) -> Any:
        """What the three places share, built once a forward pass: the state of these positions.

        Args:
            positions: [T, A] float32 in units of ``scaling``.
        """
        return None

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Adds to token embeddings, x: [B, T, dim], without the prefix."""
        return x

    def encode_qk(self, q: Tensor, k: Tensor, state: Any, layer: int) -> tuple[Tensor, Tensor]:
        """Transforms queries and keys at the same positions, each [B, N, S, H].

        The first S - T tokens are the prefix. Only the scores q . k must be those of ``encode_q``
        and ``encode_k``: what all of them have in common may be left out here.

        Returns:
            Two tensors [B, N, S, H * qk_width].
        """
        return self.encode_q(q, state, layer), self.encode_k(k, state, layer)

    def encode_q(self, q: Tensor, state: Any, layer: int) -> Tensor:
        """Transforms queries alone, [B, N, S, H] to [B, N, S, H * qk_width]: a query that is
        encoded here fits a key that ``encode_k`` encoded in another call.
        """
        return self.encode_qk(q, q, state, layer)[0] if self._overrides("encode_qk") else q

    def encode_k(self, k: Tensor, state: Any, layer: int) -> Tensor:
        """Transforms keys alone, as ``encode_q`` does queries; a cache keeps what it returns."""
        return self.encode_qk(k, k, state, layer)[1] if self._overrides("encode_qk") else k

    def project(
        self, x: Tensor, weight: Tensor, state: Any, layer: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of token vectors, the first two transformed.

        An encoding that amounts to another projection of its own may override this, as long as
        the scores stay those of ``encode_qk``.

        Args:
            x: [B, S, dim].
            weight: [3 * N * H, dim], of queries, keys and values.

        Returns:
            Three tensors [B, N, S, H], the first two with H * qk_width.
        """
        q, k, v = self.split(x, weight)
        q, k = self.encode_qk(q, k, state, layer)
        return q, k, v

    def split(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``project`` without position: queries, keys and values, each [B, N, S, H]."""
        qkv = nn.functional.linear(x, weight).unflatten(-1, (3, self.shape.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def bias(self, state_q: Any, state_k: Any, layer: int) -> Tensor | None:
        """[N or 1, Tq, Tk] to add to the attention logits of queries and keys whose positions
        ``prepare`` got, or None. Logits with a prefix token get nothing.
        """
        return None

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        positions: Tensor,
        layer: int = 0,
        *,
        key_positions: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """For use in another transformer: ``q, k = encoding(q, k, positions)``.

        Args:
            q: [B, N, S, H].
            k: [B, N, S, H]; other lengths and batches with ``key_positions``.
            positions: [T, A] in units of ``scaling``, of the last T tokens.
            key_positions: those of k, where they are others: cross-attention, or one new query
                against all keys so far.

        Raises:
            UsageError: positions, q, k or the layer are not those of the shape, or the encoding
                does not act on queries and keys.
        """
        self._check_acts_on_qk()
        self.check_positions(positions)
        self._check_heads("q", q, positions)
        self._check_heads("k", k, positions if key_positions is None else key_positions)
        self._check_layer(layer)
        if key_positions is None:
            return self.encode_qk(q, k, self.prepare(positions), layer)
        self.check_positions(key_positions)
        return (
            self.encode_q(q, self.prepare(positions), layer),
            self.encode_k(k, self.prepare(key_positions), layer),
        )

    def check_positions(self, positions: Tensor) -> None:
        """Raises UsageError unless positions are [T, A] with this encoding's axes."""
        if positions.ndim != 2 or positions.shape[1] != self.shape.axes:
            raise UsageError(
                f"positions must be [tokens, {self.shape.axes}], not {list(positions.shape)}"
            )

    def _check_acts_on_qk(self) -> None:
        """An encoding that acts elsewhere only must not seem to work; ``none`` acts nowhere."""
        if "encode_qk" in self.places:
            return
        name = getattr(self, "name", type(self).__name__)
        if "embed" in self.places:
            raise UsageError(f"'{name}' adds to the token embeddings: call embed(x, positions)")
        if "bias" in self.places:
            raise UsageError(
                f"'{name}' adds to the attention logits: call bias(state, state, layer) with "
                "state = prepare(positions)"
            )

    def _check_heads(self, name: str, x: Tensor, positions: Tensor) -> None:
        heads, head_dim = self.shape.heads, self.shape.head_dim
        if x.ndim != 4 or x.shape[1] != heads or x.shape[3] != head_dim:
            raise UsageError(
                f"{name} must be [batch, heads={heads}, tokens, head_dim={head_dim}], not "
                f"{list(x.shape)}"
            )
        if x.shape[2] < len(positions):
            raise UsageError(
                f"{name} has {x.shape[2]} tokens, but there are {len(positions)} positions for it"
            )

    def _check_layer(self, layer: int) -> None:
        if not 0 <= layer < self.shape.depth:
            raise UsageError(
                f"layer must be from 0 to {self.shape.depth - 1} at depth={self.shape.depth}, not "
                f"{layer}"
            )
