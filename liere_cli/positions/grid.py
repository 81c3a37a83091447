"""Token coordinates: regular grids in the units of each encoding.

Shapes: T tokens, A axes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, get_args

import torch
from torch import Tensor

from liere_cli.errors import UsageError, unknown

Scaling = Literal[
    "index", "unit", "centered", "cell", "cell-centered", "aspect", "angle", "resized"
]
#: the units in words; all but the first and the last continue beyond these ends on grids larger
#: than in training
MEANINGS: dict[Scaling, str] = {
    "index": "0..n-1",
    "unit": "0..1 over the training grid",
    "centered": "-1..1 over the training grid",
    "cell": "middles of cells, 0..1 from edge to edge of the training grid",
    "cell-centered": "middles of cells, -1..1 from edge to edge of the training grid",
    "aspect": "centered on the training grid, longer axes reaching further",
    "angle": "-pi..pi over the training grid",
    "resized": "0..n-1 of the training grid, over which every grid is stretched",
}
#: for options; see ``Grid.positions``
UNITS = "units of positions: " + "; ".join(f"{key} ({words})" for key, words in MEANINGS.items())


def is_whole(value: object) -> bool:
    """Whether a value is an integer other than True and False."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_extents(name: str, extents: object) -> None:
    """Raises UsageError unless the extents of a grid are a tuple of whole numbers."""
    if not isinstance(extents, tuple) or not all(map(is_whole, extents)):
        raise UsageError(
            f"{name} must be a tuple of whole numbers, such as (256,) or (14, 14), not {extents!r}"
        )


def finite_or_nan(positions: Tensor) -> Tensor:
    """Positions with NaN for infinity, which bounds and comparisons would take for a position."""
    return positions.masked_fill(~positions.isfinite(), math.nan)


@dataclass(frozen=True)
class Grid:
    """A regular grid of token positions.

    Args:
        shape: tokens along each axis, slowest axis first (frames, rows, columns).
        train_shape: the grid that the model was trained on, which fixes the units of the scaled
            positions; defaults to ``shape``. A larger grid then continues beyond the trained
            coordinates instead of being rescaled to them.

    Raises:
        UsageError: extents that are not whole numbers from 1, or differ in their number.
    """

    shape: tuple[int, ...]
    train_shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, extents in (("shape", self.shape), ("train_shape", self.train_shape)):
            check_extents(name, extents)
        if not self.train_shape:
            object.__setattr__(self, "train_shape", self.shape)
        axes, trained = len(self.shape), len(self.train_shape)
        if axes != trained:
            raise UsageError(f"a grid of {axes} axes can't have a training grid of {trained} axes")
        if not self.shape or min(self.shape + self.train_shape) < 1:
            raise UsageError(f"a grid needs at least one token along each axis, not {self.shape}")

    @property
    def axes(self) -> int:
        return len(self.shape)

    @property
    def tokens(self) -> int:
        return math.prod(self.shape)

    def positions(
        self,
        scaling: Scaling,
        device: torch.device | str | None = None,
        move: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Coordinates of every token, last axis fastest. For the positions that an encoding expects
        see :meth:`liere_cli.encodings.base.PositionEncoding.positions`.

        ``index`` counts 0..n-1 (RoFormer, arXiv 2104.09864). The others map the training grid, end
        points included, to [0, 1] (``unit``: LieRE's code, StanfordMIMI/LieRE models/vit.py), to
        [-1, 1] (``centered``), to [-pi, pi] (``angle``: Spherical RoPE, arXiv 2511.08368) or to
        [-n_a / m, n_a / m] with m the geometric mean of all n (``aspect``: jxiong21029/archibox
        ropend/positional_embeddings.py), or else its cells, edge to edge, to [0, 1] (``cell``:
        ComRoPE, arXiv 2506.03737) or [-1, 1] (``cell-centered``: DINOv3, arXiv 2508.10104).
        ``resized`` are indices of the training grid after a grid of any shape is stretched over it,
        edges aligned; text shorter than in training keeps its indices.

        Returns [T, A] float32; ``move`` maps the indices [T, A] before their conversion to units.
        """
        if scaling not in get_args(Scaling):
            raise unknown("position scaling", scaling, get_args(Scaling))
        counted = [torch.arange(n, dtype=torch.float32, device=device) for n in self.shape]
        index = torch.stack(torch.meshgrid(*counted, indexing="ij"), -1).reshape(-1, self.axes)
        if move is not None:
            index = move(index)
        if scaling == "index":
            return index
        if scaling == "resized":
            return (index + 0.5) * self._cells(device) - 0.5
        if scaling in ("cell", "cell-centered"):
            index, spans = index + 0.5, list(self.train_shape)
        else:
            spans = [max(trained - 1, 1) for trained in self.train_shape]
        unit = index / torch.tensor(spans, dtype=torch.float32, device=device)
        if scaling in ("unit", "cell"):
            return unit
        reach = torch.tensor(self._reach(scaling), dtype=torch.float32, device=device)
        return (2 * unit - 1) * reach

    def _reach(self, scaling: Scaling) -> list[float]:
        """The largest coordinate on each axis of the training grid, for units around 0."""
        if scaling == "aspect":
            mean = math.prod(self.train_shape) ** (1 / self.axes)
            return [trained / mean for trained in self.train_shape]
        return [math.pi if scaling == "angle" else 1.0] * self.axes

    def _cells(self, device: torch.device | str | None) -> Tensor:
        """Cells of the training grid per cell of this grid, [A]."""
        longest = [max(self.shape[0], self.train_shape[0])] if self.axes == 1 else list(self.shape)
        shares = [n / m for n, m in zip(self.train_shape, longest, strict=True)]
        return torch.tensor(shares, dtype=torch.float32, device=device)
