"""The contract of a position encoding.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim, A axes,
L depth.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from liere_cli.config.section import Section
from liere_cli.config.spec import scalar_text
from liere_cli.encodings.checks import ArgumentChecks
from liere_cli.encodings.module import EncodingModule
from liere_cli.encodings.presets import Preset, with_preset_options
from liere_cli.errors import UsageError
from liere_cli.positions.grid import UNITS, Grid, Scaling, check_extents, is_whole

Place = Literal["embed", "encode_qk", "bias", "values"]
#: the methods that make an encoding act at a place
ACTING: dict[Place, tuple[str, ...]] = {
    "embed": ("embed",),
    "encode_qk": ("encode_qk", "encode_q", "encode_k"),
    "bias": ("bias",),
    "values": ("encode_v", "decode_v"),
}
#: the methods that take ``prefix_tokens``
PREFIXED = ("embed", "encode_qk", "encode_q", "encode_k", "encode_v", "decode_v", "project")
#: how encodings are grouped in lists, in this order
Family = Literal["none", "embedding", "rotary", "matrix", "polar", "bias", "other"]
#: the generator for the parameter of a name; None is torch's global one
Stream = Callable[[str], torch.Generator | None]


@dataclass(frozen=True)
class Shape:
    """The transformer that an encoding serves.

    Args:
        axes: axes of a position: 1 text, 2 images, 3 video.
        heads, head_dim: attention heads, and channels of each.
        depth: layers that call the encoding.
        dim: width of the token embeddings; heads * head_dim if not given.
        grid: the training grid, which learned tables of positions need.

    Raises:
        UsageError: a size that is not a whole number in range, or a grid with other axes.
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
    """A subclass adds fields, each with a description; with ``presets`` also
    ``preset: str | None = preset_field(presets)``.
    """

    presets: ClassVar[Mapping[str, Preset]] = {}

    @model_validator(mode="before")
    @classmethod
    def _expand_preset(cls, values: object) -> object:
        if not cls.presets or not isinstance(values, Mapping):
            return values
        return with_preset_options(cls.presets, values)


class PositionedOptions(EncodingOptions):
    """Options of an encoding that reads coordinates."""

    scaling: Scaling = Field("index", description=UNITS)


class PositionEncoding(ArgumentChecks, EncodingModule):
    """Acts at four places and no other.

    A subclass sets the class variables and overrides ``prepare`` and one or more of ``embed``,
    ``encode_qk``, ``bias`` and the pair ``encode_v`` and ``decode_v``; the others stay no-ops. If
    queries and keys are encoded differently, it overrides ``encode_q`` and ``encode_k`` instead of
    ``encode_qk``.

    Prefix tokens (CLS, registers) come first in the sequence, have no position and pass unchanged,
    unless ``prefix`` describes another treatment. The caller states how many there are
    (``prefix_tokens``); tokens that are neither prefix nor positioned raise UsageError. An override
    without that parameter is called without it, and treats the first S - T tokens as prefix.

    Parameters of an encoding have no weight decay.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    family: ClassVar[Family] = "other"
    #: what it computes, in one line
    formula: ClassVar[str] = ""
    #: where it acts, derived from the methods that it overrides; an instance adds those of
    #: ``optional_places`` whose option, of the same name, is true
    places: tuple[Place, ...] = ()
    optional_places: ClassVar[tuple[Place, ...]] = ()
    #: lowest and highest number of axes it is defined for; None means any
    min_axes: ClassVar[int] = 1
    max_axes: ClassVar[int | None] = None
    #: the encoding that generalises it to numbers of axes that it does not serve
    counterpart: ClassVar[str | None] = None
    #: how prefix tokens are treated
    prefix: ClassVar[str] = "pass unchanged"
    # an instance may set its own values of the following, where they depend on shape or options
    #: channels of encoded queries and keys over head_dim; logits are divided by sqrt(head_dim)
    #: in any case
    qk_width: int = 1
    #: whether scores depend only on differences of positions, and whether queries and keys keep
    #: their norms
    relative: bool = False
    orthogonal: bool = False
    Options: ClassVar[type[EncodingOptions]] = PositionedOptions

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        for method in PREFIXED:
            override = vars(cls).get(method)
            if override and "prefix_tokens" not in inspect.signature(override).parameters:
                setattr(cls, method, _without_prefix_tokens(override))
        cls.places = tuple(
            place
            for place, methods in ACTING.items()
            if any(map(cls._overrides, methods)) and place not in cls.optional_places
        )

    def __init__(self, shape: Shape, options: EncodingOptions | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.options: Any = self.Options() if options is None else options
        self.places = self.places_with(self.options)
        #: units in which ``prepare`` expects its positions
        self.scaling: Scaling = getattr(self.options, "scaling", "index")
        if not self.serves(shape.axes):
            raise self.error(f"is defined for {self.axes_in_words()}, not {shape.axes}")

    def error(self, reason: str) -> UsageError:
        """For a shape or options that it can't serve; the reason follows its name."""
        return UsageError(f"encoding '{self.name}' {reason}")

    def extra_repr(self) -> str:
        """Options, then the shape: ``block=8, share=none; axes=2, heads=6, head_dim=64``."""
        options = self.options.model_dump()
        for key, value in options.items():
            resolved = getattr(self, key, None)
            if value is None and isinstance(resolved, int | float | str):
                options[key] = resolved
        shape = {name: getattr(self.shape, name) for name in ("axes", "heads", "head_dim", "depth")}
        if self.shape.dim != self.shape.heads * self.shape.head_dim:
            shape["dim"] = self.shape.dim
        if self.shape.grid is not None:
            shape["grid"] = self.shape.grid
        parts = [
            ", ".join(f"{key}={scalar_text(v)}" for key, v in values.items() if v is not None)
            for values in (options, shape)
        ]
        return "; ".join(filter(None, parts))

    @classmethod
    def places_with(cls, options: EncodingOptions) -> tuple[Place, ...]:
        """Where it acts with these options."""
        chosen = tuple(p for p in cls.optional_places if getattr(options, p, False))
        return (*cls.places, *chosen)

    @classmethod
    def serves(cls, axes: int) -> bool:
        """Whether the encoding is defined for that many axes."""
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
        """Draws the initial parameters, each from the generator that ``stream`` returns for its
        name, so that its value does not depend on what else is drawn.
        """

    def positions(
        self,
        shape: tuple[int, ...],
        train_shape: tuple[int, ...] | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Positions of a grid of tokens in the units of this encoding, last axis fastest.

        Args:
            shape: tokens along each axis: ``(256,)``, ``(14, 14)`` or ``(8, 14, 14)``.
            train_shape: the training grid, whose coordinates a grid of another shape continues;
                by default the grid that the encoding was built with, or else ``shape``.

        Returns:
            [T, A] float32.

        Raises:
            UsageError: a grid without tokens or with other axes than the encoding's.
        """
        grid = Grid(shape, train_shape or self.shape.grid or ())
        if grid.axes != self.shape.axes:
            raise UsageError(f"grid {shape} has {grid.axes} axes, the encoding {self.shape.axes}")
        return grid.positions(self.scaling, device)

    def prepare(self, positions: Tensor) -> Any:
        """The state of positions, [T, A] float32 in units of ``scaling``, shared by all layers. One
        that is not finite makes its own results NaN, and no others; T may be 0.
        """
        return None

    def embed(self, x: Tensor, positions: Tensor, prefix_tokens: int = 0) -> Tensor:
        """Adds to token embeddings, x: [B, S, dim]."""
        return x

    def encode_qk(
        self, q: Tensor, k: Tensor, state: Any, layer: int, prefix_tokens: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Transforms queries and keys at the same positions, each [B, N, S, H].

        Only the scores q . k must equal those of ``encode_q`` and ``encode_k``: factors that cancel
        in the scores may be left out here.

        Returns:
            Two tensors [B, N, S, H * qk_width].
        """
        return (
            self.encode_q(q, state, layer, prefix_tokens=prefix_tokens),
            self.encode_k(k, state, layer, prefix_tokens=prefix_tokens),
        )

    def encode_q(self, q: Tensor, state: Any, layer: int, prefix_tokens: int = 0) -> Tensor:
        """Transforms queries alone, [B, N, S, H] to [B, N, S, H * qk_width], to be multiplied by
        keys that ``encode_k`` transformed in any other call.
        """
        if not self._overrides("encode_qk"):
            return q
        return self.encode_qk(q, q, state, layer, prefix_tokens=prefix_tokens)[0]

    def encode_k(self, k: Tensor, state: Any, layer: int, prefix_tokens: int = 0) -> Tensor:
        """Transforms keys alone, as ``encode_q`` does queries; a cache keeps what it returns."""
        if not self._overrides("encode_qk"):
            return k
        return self.encode_qk(k, k, state, layer, prefix_tokens=prefix_tokens)[1]

    def encode_v(self, v: Tensor, state: Any, layer: int, prefix_tokens: int = 0) -> Tensor:
        """Transforms values, [B, N, S, H], at the positions of their keys; a cache keeps what it
        returns. Called where ``places`` has "values".
        """
        return v

    def decode_v(self, y: Tensor, state: Any, layer: int, prefix_tokens: int = 0) -> Tensor:
        """Transforms attention's outputs, sums of encoded values, [B, N, S, H], at the positions of
        their queries. Called where ``places`` has "values".
        """
        return y

    def project(
        self, x: Tensor, weight: Tensor, state: Any, layer: int, prefix_tokens: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of token vectors, queries and keys transformed.

        An encoding that can be folded into the weights may override this, as long as the scores
        stay those of ``encode_qk``.

        Args:
            x: [B, S, dim].
            weight: [3 * N * H, dim], of queries, keys and values.

        Returns:
            Three tensors [B, N, S, H], the first two with H * qk_width; values not encoded.
        """
        q, k, v = self.split(x, weight)
        q, k = self.encode_qk(q, k, state, layer, prefix_tokens=prefix_tokens)
        return q, k, v

    def split(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``project`` without position: queries, keys and values, each [B, N, S, H]."""
        qkv = nn.functional.linear(x, weight).unflatten(-1, (3, self.shape.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def bias(self, state_q: Any, state_k: Any, layer: int) -> Tensor | None:
        """What is added to the attention logits of tokens with a position, [N or 1, Tq, Tk], from
        the states of queries and keys; None for nothing. Prefix tokens get no bias.
        """
        return None

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        positions: Tensor,
        layer: int = 0,
        *,
        prefix_tokens: int = 0,
        key_positions: Tensor | None = None,
        key_prefix_tokens: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """For use in another transformer: ``q, k = encoding(q, k, positions)``.

        Args:
            q: [B, N, S, H].
            k: [B, N, S, H]; other lengths and batches with ``key_positions``.
            positions: [T, A] in units of ``scaling``, as from :meth:`positions`.
            prefix_tokens: tokens before the first position (CLS, registers): S = prefix + T.
            key_positions: the positions of k, where they differ: cross-attention, or new queries
                against all keys so far.
            key_prefix_tokens: prefix tokens of k, with ``key_positions``.

        Returns:
            Two tensors [B, N, S, H * qk_width].

        Raises:
            UsageError: positions, q, k or the layer do not fit the shape, the tokens are not
                prefix and positions together, or the encoding does not act on queries and keys.
        """
        self._check_acts_on_qk()
        self._check_layer(layer)
        self.check_positions(positions)
        self._check_heads("q", q)
        self._check_heads("k", k)
        if key_positions is None:
            if key_prefix_tokens:
                raise UsageError("key_prefix_tokens goes with key_positions, which is not given")
            self.check_sequences(len(positions), prefix_tokens, q, k)
            return self.encode_qk(q, k, self.prepare(positions), layer, prefix_tokens=prefix_tokens)
        self.check_positions(key_positions)
        self.check_tokens(q.shape[2], len(positions), prefix_tokens)
        self.check_tokens(k.shape[2], len(key_positions), key_prefix_tokens)
        return (
            self.encode_q(q, self.prepare(positions), layer, prefix_tokens=prefix_tokens),
            self.encode_k(k, self.prepare(key_positions), layer, prefix_tokens=key_prefix_tokens),
        )


def _without_prefix_tokens(method: Callable[..., Any]) -> Callable[..., Any]:
    """An override without the parameter ``prefix_tokens``, made to accept it."""

    @functools.wraps(method)
    def called(*args: Any, prefix_tokens: int = 0, **kwargs: Any) -> Any:
        return method(*args, **kwargs)

    return called
