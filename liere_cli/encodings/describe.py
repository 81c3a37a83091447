"""Properties and costs of an encoding, measured on the encoding itself.

Shapes: B batch, N heads, T tokens, H head_dim.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from liere_cli.encodings.base import Place, PositionEncoding
from liere_cli.encodings.registry import Spec, build_encoding, encoding_class, resolve_spec
from liere_cli.errors import UsageError
from liere_cli.rotations.kernels.compiler import without_kernels

#: the shape of the profile: the nano model, 64 tokens
NANO = {"heads": 4, "head_dim": 32, "depth": 4}
GRIDS: dict[int, tuple[int, ...]] = {1: (64,), 2: (8, 8), 3: (4, 4, 4)}
#: elementwise operations that move data and compute nothing
MOVES = ("copy", "clone", "fill", "zeros", "ones", "where", "masked", "lift", "detach")
#: products of complex numbers are six operations on real ones, sums are two
COMPLEX_PRODUCT, COMPLEX_SUM = 6, 2


@dataclass(frozen=True)
class ShapeProfile:
    """An encoding at one training grid.

    Args:
        relative, orthogonal, qk_width: as in :class:`PositionEncoding`.
        parameters: number of learned values.
        flops_per_token: operations of a forward pass of all layers, per token of each example,
            beyond those of a model without positions; without what is built once in a pass.
    """

    axes: int
    grid: tuple[int, ...]
    relative: bool
    orthogonal: bool
    qk_width: int
    parameters: int
    flops_per_token: float


@dataclass(frozen=True)
class UnservedShape:
    """A number of axes at which the encoding can't be built, and the error."""

    axes: int
    refused: str


@dataclass(frozen=True)
class EncodingProfile:
    """What ``liere encodings`` shows of an encoding; fields of the class are as there.

    Args:
        axes: the numbers of axes that it serves, in words.
        units: of positions; None for an encoding without positions.
        qk_width: the largest of ``by_axes``.
        by_axes: profiles at the nano model (4 layers of 4 heads of 32 channels) and 64 tokens.
    """

    name: str
    family: str
    summary: str
    formula: str
    axes: str
    acts_on: tuple[Place, ...]
    units: str | None
    prefix: str
    qk_width: int
    weight_decay: bool
    source: str
    by_axes: tuple[ShapeProfile | UnservedShape, ...]


def profile_at(
    spec: Spec, grid: tuple[int, ...], *, heads: int, head_dim: int, depth: int
) -> ShapeProfile:
    """Builds the encoding for a training grid, and measures it; UsageError if it can't serve it."""
    encoding = build_encoding(
        spec, axes=len(grid), heads=heads, head_dim=head_dim, depth=depth, grid=grid, seed=0
    )
    return ShapeProfile(
        axes=len(grid),
        grid=grid,
        relative=encoding.relative,
        orthogonal=encoding.orthogonal,
        qk_width=encoding.qk_width,
        parameters=sum(parameter.numel() for parameter in encoding.parameters()),
        flops_per_token=flops_per_token(encoding, grid),
    )


def served_axes(spec: Spec, most: int = 3) -> list[int]:
    cls = encoding_class(resolve_spec(spec)["name"])
    return [axes for axes in range(1, most + 1) if cls.serves(axes)]


def profile(spec: Spec) -> EncodingProfile:
    resolved = resolve_spec(spec)
    cls = encoding_class(resolved["name"])
    by_axes = tuple(_profile_or_error(resolved, axes) for axes in served_axes(resolved))
    options = {key: value for key, value in resolved.items() if key != "name"}
    return EncodingProfile(
        name=resolved["name"],
        family=cls.family,
        summary=cls.summary,
        formula=cls.formula,
        axes=cls.axes_in_words(),
        acts_on=cls.places_with(cls.Options.model_validate(options)),
        units=resolved.get("scaling", "index") if cls.places else None,
        prefix=cls.prefix,
        qk_width=max((at.qk_width for at in by_axes if isinstance(at, ShapeProfile)), default=1),
        weight_decay=False,
        source=cls.source,
        by_axes=by_axes,
    )


def _profile_or_error(spec: Spec, axes: int) -> ShapeProfile | UnservedShape:
    try:
        return profile_at(spec, GRIDS[axes], **NANO)
    except UsageError as error:
        return UnservedShape(axes, str(error))


@torch.no_grad()
def flops_per_token(
    encoding: PositionEncoding, grid: tuple[int, ...], *, fused: bool = True
) -> float:
    """``ShapeProfile.flops_per_token``: a pass of two examples minus a pass of one.

    ``fused``: by ``project``, else by ``encode_qk`` of queries and keys that something else changes
    in between.
    """
    passes = [_flops_of_pass(encoding, grid, batch, fused) for batch in (2, 1)]
    per_example = passes[0] - passes[1]
    tokens, shape = math.prod(grid), encoding.shape
    plain = shape.depth * tokens * 2 * shape.dim * 3 * shape.heads * shape.head_dim
    # for each pair of query and key wider ones cost a longer product, and a bias costs a sum
    pairs = shape.depth * tokens**2 * shape.heads
    wider = pairs * 2 * shape.head_dim * (encoding.qk_width - 1)
    added = pairs if "bias" in encoding.places else 0
    return (per_example - plain + wider + added) / tokens


def _flops_of_pass(
    encoding: PositionEncoding, grid: tuple[int, ...], batch: int, fused: bool
) -> int:
    shape = encoding.shape
    positions = encoding.positions(grid, grid)
    x = positions.new_zeros(batch, len(positions), shape.dim)
    weight = positions.new_zeros(3 * shape.heads * shape.head_dim, shape.dim)
    counter = FlopCounter()
    with without_kernels(), counter:
        x = encoding.embed(x, positions)
        state = encoding.prepare(positions)
        for layer in range(shape.depth):
            if fused:
                v = encoding.project(x, weight, state, layer)[2]
            else:
                q, k, v = encoding.split(x, weight)
                encoding.encode_qk(q, k, state, layer)
            if "values" in encoding.places:
                encoding.decode_v(encoding.encode_v(v, state, layer), state, layer)
    return counter.total


class FlopCounter(TorchDispatchMode):
    """Counts the operations of matrix products and of elementwise functions."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = func.overloadpacket.__name__.strip("_")
        if func.overloadpacket in flop_registry:
            self.total += int(flop_registry[func.overloadpacket](*args, **kwargs, out_val=out))
        elif (
            isinstance(out, Tensor)
            and torch.Tag.pointwise in func.tags
            and not name.startswith(MOVES)
            and not name.endswith("copy")
        ):
            weight = 2 if name.startswith("addcmul") else 1
            if out.is_complex():
                weight = COMPLEX_PRODUCT if name.startswith("mul") else COMPLEX_SUM
            self.total += weight * out.numel()
        return out
