"""The contract of a position encoding.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim, A axes,
L depth.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from liere_cli.errors import UsageError
from liere_cli.grid import Scaling, check_extents, is_whole
from liere_cli.schema import Section

Place = Literal["embed", "encode_qk", "bias"]
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
    """Options of an encoding; a subclass adds its own fields, each with a description."""


class PositionedOptions(EncodingOptions):
    """Options of an encoding that reads coordinates."""

    scaling: Scaling = Field(
        "index", description="units of positions: index (0..n-1), unit (0..1), centered (-1..1)"
    )


class PositionEncoding(nn.Module):
    """Base of all encodings; acts at three places and no other.

    A subclass sets the class variables and overrides ``prepare`` and one or more of ``embed``,
    ``encode_qk`` and ``bias``; the rest stay no-ops. Prefix tokens (CLS, registers) come first in
    the sequence, have no position and pass unchanged.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    places: ClassVar[tuple[Place, ...]] = ()
    #: highest number of axes it is defined for; None means any
    max_axes: ClassVar[int | None] = None
    #: whether scores depend on differences of positions alone
    relative: ClassVar[bool] = False
    Options: ClassVar[type[EncodingOptions]] = PositionedOptions

    def __init__(self, shape: Shape, options: Any = None) -> None:
        super().__init__()
        self.shape = shape
        self.options: Any = self.Options() if options is None else options
        #: units in which ``prepare`` expects its positions
        self.scaling: Scaling = getattr(self.options, "scaling", "index")
        if self.max_axes is not None and shape.axes > self.max_axes:
            raise UsageError(
                f"encoding '{self.name}' is defined for at most {self.max_axes} "
                f"{'axis' if self.max_axes == 1 else 'axes'}, not {shape.axes}"
            )

    def initialise(self, stream: Stream = lambda name: None) -> None:
        """Draws the initial parameters.

        Args:
            stream: gives the generator for the parameter of that name (None: torch's global one),
                so that a parameter's value does not depend on what else is drawn.
        """

    def prepare(self, positions: Tensor) -> Any:
        """What the three places share, built once a forward pass.

        Args:
            positions: [T, A] float32 in units of ``scaling``.
        """
        return None

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Adds to token embeddings, x: [B, T, dim], without the prefix."""
        return x

    def encode_qk(self, q: Tensor, k: Tensor, state: Any, layer: int) -> tuple[Tensor, Tensor]:
        """Transforms queries and keys, [B, N, S, H]; the first S - T tokens pass unchanged."""
        return q, k

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
            Three tensors [B, N, S, H].
        """
        qkv = nn.functional.linear(x, weight).unflatten(-1, (3, self.shape.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        q, k = self.encode_qk(q, k, state, layer)
        return q, k, v

    def bias(self, state: Any, layer: int) -> Tensor | None:
        """[N or 1, T, T] to add to the attention logits, or None."""
        return None

    def forward(
        self, q: Tensor, k: Tensor, positions: Tensor, layer: int = 0
    ) -> tuple[Tensor, Tensor]:
        """For use in another transformer: ``q, k = encoding(q, k, positions)``.

        Raises:
            UsageError: positions, q, k or the layer are not those of the shape, or the encoding
                does not act on queries and keys.
        """
        self._check_acts_on_qk()
        self.check_positions(positions)
        self._check_qk(q, k, layer)
        return self.encode_qk(q, k, self.prepare(positions), layer)

    def check_positions(self, positions: Tensor) -> None:
        """Raises UsageError unless positions are [T, A] with this encoding's axes."""
        if positions.ndim != 2 or positions.shape[1] != self.shape.axes:
            raise UsageError(
                f"positions must be [tokens, {self.shape.axes}], not {list(positions.shape)}"
            )

    def _check_acts_on_qk(self) -> None:
        """An encoding that acts elsewhere only must not seem to work; ``none`` acts nowhere."""
        own, base = type(self), PositionEncoding
        if own.encode_qk is not base.encode_qk:
            return
        name = getattr(own, "name", own.__name__)
        if own.embed is not base.embed:
            raise UsageError(f"'{name}' adds to the token embeddings: call embed(x, positions)")
        if own.bias is not base.bias:
            raise UsageError(
                f"'{name}' adds to the attention logits: call bias(prepare(positions), layer)"
            )

    def _check_qk(self, q: Tensor, k: Tensor, layer: int) -> None:
        shape = self.shape
        for name, x in (("q", q), ("k", k)):
            if x.ndim != 4 or x.shape[1] != shape.heads or x.shape[3] != shape.head_dim:
                raise UsageError(
                    f"{name} must be [batch, heads={shape.heads}, tokens, "
                    f"head_dim={shape.head_dim}], not {list(x.shape)}"
                )
        if not 0 <= layer < shape.depth:
            raise UsageError(
                f"layer must be from 0 to {shape.depth - 1} at depth={shape.depth}, not {layer}"
            )
