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
from liere_cli.grid import Scaling
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
        for name in ("axes", "heads", "head_dim", "depth"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
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

    def bias(self, state: Any, layer: int) -> Tensor | None:
        """[N or 1, T, T] to add to the attention logits, or None."""
        return None

    def forward(
        self, q: Tensor, k: Tensor, positions: Tensor, layer: int = 0
    ) -> tuple[Tensor, Tensor]:
        """For use in another transformer: ``q, k = encoding(q, k, positions)``."""
        self.check_positions(positions)
        return self.encode_qk(q, k, self.prepare(positions), layer)

    def check_positions(self, positions: Tensor) -> None:
        """Raises UsageError unless positions are [T, A] with this encoding's axes."""
        if positions.ndim != 2 or positions.shape[1] != self.shape.axes:
            raise UsageError(
                f"positions must be [tokens, {self.shape.axes}], not {list(positions.shape)}"
            )
