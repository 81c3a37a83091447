"""ComRoPE: blocks of channels that each rotate along one generator.

Shapes: as in ``encodings.base``; H = n * b for n blocks of b rows.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from liere_cli.encodings.base import PositionedOptions, Shape, Stream
from liere_cli.encodings.matrix.base import MatrixRotation
from liere_cli.errors import UsageError
from liere_cli.positions.grid import UNITS, Scaling
from liere_cli.rotations import (
    SchurForm,
    change_basis,
    fold_basis,
    need_float64,
    projections,
    real_schur,
    rotate_by_steps,
    skew,
)

DEFAULT_BLOCK = 8


@dataclass(frozen=True)
class ComRoPEState:
    """What the layers share in a forward pass, each a tuple over layers.

    Args:
        lines: spectra of the generators [N, n, b, b].
        steps: multiple of its generator by which each block rotates, [1 + T, n], for prefix tokens
            first; one entry if layers share them.
    """

    lines: tuple[SchurForm, ...]
    steps: tuple[Tensor, ...]

    def of(self, layer: int, prefix: int) -> tuple[SchurForm, Tensor]:
        """Spectra of a layer, and steps of a sequence with a prefix, [S, n]."""
        steps = self.steps[layer if len(self.steps) > 1 else 0]
        return self.lines[layer], torch.cat((steps[:1].expand(prefix, -1), steps[1:]))


class ComRoPEOptions(PositionedOptions):
    block: int | None = Field(
        None,
        ge=2,
        multiple_of=2,
        description="rows of a block, an even divisor of head_dim; null: 8, or the largest below "
        "that fits (the code's default is 2)",
    )
    scale: float = Field(
        1.0, ge=0, description="standard deviation of the initial entries of P; the code's init_std"
    )
    prefix: float | None = Field(
        0.5,
        description="coordinate of prefix tokens on every axis, in units of scaling; null: they "
        "pass unchanged; the code's cls_position",
    )
    scaling: Scaling = Field("cell", description=f"{UNITS}; the code has cell")


class ComRoPE(MatrixRotation):
    """q and k at position p are multiplied, block by block, by exp(s_j(p) (P_j - P_j^T)) with
    learned P for each layer, head and block (arXiv 2506.03737; Longin-Yu/ComRoPE model.py).

    A subclass defines the steps s(p), linear in p. The generators of a block on all axes are
    multiples of one, so they commute, and scores depend only on differences of positions. Each
    block has one eigenbasis for all positions: ``project`` folds it into the weights, and the rest
    is plain rotary.

    The paper's setting is this encoding with a CLS token, and positions that jitter within their
    patch in training: ``--set model.pooling=cls --set training.positions.jitter=1``. Its code keeps
    learned absolute positions in addition to the rotation, which no encoding here does; divides the
    frames of a video by the patches of a row; and spreads cells of any resolution over (0, 1), as
    ``liere eval --extend edges`` does.
    """

    source = "arXiv 2506.03737"
    prefix = "rotated as if at 0.5 on every axis (prefix=null: pass unchanged)"
    relative = True
    Options: ClassVar[type[ComRoPEOptions]] = ComRoPEOptions
    #: whether every axis needs at least one block to itself
    axis_has_block: ClassVar[bool] = False

    def __init__(self, shape: Shape, options: ComRoPEOptions | None = None) -> None:
        super().__init__(shape, options)
        least = shape.axes if self.axis_has_block else 1
        rows = range(2, shape.head_dim // least + 1, 2)
        fitting = [count for count in rows if shape.head_dim % count == 0]
        requested = self.options.block
        if not fitting or requested not in (None, *fitting):
            kind = f"blocks of {requested}" if requested else "an even number of"
            each = f", at least one block for each of {least} axes" if least > 1 else ""
            fit = f"; block can be {', '.join(map(str, fitting))}" if fitting else ""
            raise UsageError(
                f"encoding '{self.name}': head_dim={shape.head_dim} does not divide into {kind} "
                f"rows{each}{fit}"
            )
        self.block: int = requested or max(n for n in fitting if n <= DEFAULT_BLOCK)
        self.blocks = shape.head_dim // self.block
        size = (shape.depth, shape.heads, self.blocks, self.block, self.block)
        self.base = nn.Parameter(torch.empty(size))

    def initialise(self, stream: Stream = lambda name: None) -> None:
        draw = torch.randn(self.base.shape, generator=stream("base"))
        with torch.no_grad():
            self.base.copy_(draw * self.options.scale)

    def steps(self, positions: Tensor) -> Tensor:
        """s(p), [L or 1, T, n], at positions [T, A]."""
        raise NotImplementedError

    def prepare(self, positions: Tensor) -> ComRoPEState:
        positions = positions.to(self.base.dtype)
        # prefix=null is position 0: s is linear, and exp(0) is the identity
        # a row of padding, as there may be no token
        first = torch.full_like(F.pad(positions, (0, 0, 1, 0))[:1], self.options.prefix or 0.0)
        positions = torch.cat((first, positions))
        generators, steps = skew(self.base), self.steps(positions)
        if need_float64(generators, steps):
            generators, steps = skew(self.base.double()), self.steps(positions.double())
        lines = real_schur(generators, steps.detach())
        return ComRoPEState(lines.unbind(), steps.unbind())

    def rotate(
        self, state: ComRoPEState, layer: int, prefix: int, *xs: Tensor, in_eigenbasis: bool
    ) -> tuple[Tensor, ...]:
        lines, steps = state.of(layer, prefix)
        self.check_sequences(len(steps) - prefix, prefix, *xs)
        # half precision is rounded once, after all steps
        dtype, wide = xs[0].dtype, torch.promote_types(xs[0].dtype, torch.float32)
        rotated = rotate_by_steps(lines, steps, *[change_basis(lines, x.to(wide)) for x in xs])
        if not in_eigenbasis:
            rotated = tuple(change_basis(lines, x, back=True) for x in rotated)
        return tuple(x.to(dtype) for x in rotated)

    def project(
        self, x: Tensor, weight: Tensor, state: ComRoPEState, layer: int, prefix_tokens: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        lines, steps = state.of(layer, prefix_tokens)
        self.check_tokens(x.shape[1], len(steps) - prefix_tokens, prefix_tokens)
        q, k, v = self.split(x, fold_basis(lines, weight))
        q, k = rotate_by_steps(lines, steps, q, k)
        return q, k, v


class ComRoPEAP(ComRoPE):
    """ComRoPE with axial partition (arXiv 2506.03737 section 4; Longin-Yu/ComRoPE model.py).

    Block j is rotated by exp(p_a (P_j - P_j^T)) with a = j mod A: ``axial`` in a learned basis,
    with learned frequencies. The code requires equally many blocks for each axis; here the first
    axes get one more where they don't divide.

    Raises:
        UsageError: head_dim does not divide into blocks, or there are fewer blocks than axes.
    """

    name = "comrope-ap"
    summary = "learned rotations of whole blocks, each with one axis, so that all commute"
    formula = "block j is rotated by exp(p_a (P_j - P_j^T)), a = j mod A"
    axis_has_block = True

    def __init__(self, shape: Shape, options: ComRoPEOptions | None = None) -> None:
        super().__init__(shape, options)
        self.register_buffer("_axes", torch.arange(self.blocks) % shape.axes, persistent=False)
        self._axes: Tensor
        self.initialise()

    def steps(self, positions: Tensor) -> Tensor:
        return positions[None, :, self._axes]


class ComRoPELD(ComRoPE):
    """ComRoPE with linear dependence (arXiv 2506.03737 section 4; Longin-Yu/ComRoPE model.py).

    Block j is rotated by exp((p . theta_j) (P_j - P_j^T)) with learned theta for each layer, axis
    and block, shared by its heads as in the code, initially standard normal: ``rope-mixed`` in a
    learned basis, where the planes of a block share a direction.

    Raises:
        UsageError: head_dim does not divide into blocks.
    """

    name = "comrope-ld"
    summary = "learned rotations of whole blocks, each along one direction, so that all commute"
    formula = "block j is rotated by exp((p . theta_j) (P_j - P_j^T))"

    def __init__(self, shape: Shape, options: ComRoPEOptions | None = None) -> None:
        super().__init__(shape, options)
        self.directions = nn.Parameter(torch.empty(shape.depth, shape.axes, self.blocks))
        self.initialise()

    def initialise(self, stream: Stream = lambda name: None) -> None:
        super().initialise(stream)
        draw = torch.randn(self.directions.shape, generator=stream("directions"))
        with torch.no_grad():
            self.directions.copy_(draw)

    def steps(self, positions: Tensor) -> Tensor:
        return projections(positions, self.directions.to(positions.dtype))
