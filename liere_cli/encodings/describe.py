"""What is true of an encoding at a shape: told from the encoding itself, not written down.

Shapes: B batch, N heads, T tokens, H head_dim.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from liere_cli.encodings.base import PositionEncoding
from liere_cli.encodings.registry import build_encoding, encoding_class, resolve_spec
from liere_cli.errors import UsageError
from liere_cli.positions.grid import Grid
from liere_cli.rotations.kernels.compiler import without_kernels

#: what the facts are told at: the nano model, 64 tokens
NANO = {"heads": 4, "head_dim": 32, "depth": 4}
GRIDS: dict[int, tuple[int, ...]] = {1: (64,), 2: (8, 8), 3: (4, 4, 4)}
#: operations on each element that move it, and compute nothing
MOVES = ("copy", "clone", "fill", "zeros", "ones", "where", "masked", "lift", "detach")
#: products of complex numbers are six operations on real ones, sums are two
COMPLEX_PRODUCT, COMPLEX_SUM = 6, 2


@dataclass(frozen=True)
class RunRecord:
    """An encoding of a spec at a shape.

    Args:
        relative: whether scores depend on differences of positions alone.
        orthogonal: whether queries and keys keep their norms.
        qk_width: channels of encoded queries and keys over head_dim.
        parameters: learned numbers in all.
        flops_per_token: operations of a forward pass, all layers, for each token of each example,
            beyond those of a model without positions. What is built once a pass is not in it.
    """

    relative: bool
    orthogonal: bool
    qk_width: int
    parameters: int
    flops_per_token: float


def facts(
    spec: str | Mapping[str, Any],
    grid: tuple[int, ...],
    *,
    heads: int,
    head_dim: int,
    depth: int,
) -> RunRecord:
    """Builds the encoding for a training grid, and counts.

    Raises:
        UsageError: it can't serve that shape.
    """
    encoding = build_encoding(
        spec, axes=len(grid), heads=heads, head_dim=head_dim, depth=depth, grid=grid, seed=0
    )
    return RunRecord(
        relative=encoding.relative,
        orthogonal=encoding.orthogonal,
        qk_width=encoding.qk_width,
        parameters=sum(parameter.numel() for parameter in encoding.parameters()),
        flops_per_token=flops_per_token(encoding, grid),
    )


def served_axes(spec: str | Mapping[str, Any], most: int = 3) -> list[int]:
    """The numbers of axes, of 1 to ``most``, that an encoding is defined for."""
    cls = encoding_class(resolve_spec(spec)["name"])
    return [axes for axes in range(1, most + 1) if cls.serves(axes)]


def described(spec: str | Mapping[str, Any]) -> dict[str, Any]:
    """Everything that ``liere encodings`` tells of an encoding, fit for JSON.

    ``by_axes`` has the facts at a nano model (4 layers of 4 heads of 32 channels) and 64 tokens.
    """
    resolved = resolve_spec(spec)
    cls = encoding_class(resolved["name"])
    by_axes: list[dict[str, Any]] = []
    for axes in served_axes(resolved):
        try:
            at = facts(resolved, GRIDS[axes], **NANO)
        except UsageError as error:
            by_axes.append({"axes": axes, "refused": str(error)})
            continue
        by_axes.append({"axes": axes, "grid": list(GRIDS[axes]), **asdict(at)})
    return {
        "name": resolved["name"],
        "family": cls.family,
        "summary": cls.summary,
        "formula": cls.formula,
        "axes": cls.axes_in_words(),
        "acts_on": list(cls.places),
        "units": resolved.get("scaling", "index") if cls.places else None,
        "prefix": cls.prefix,
        "qk_width": max((at.get("qk_width", 1) for at in by_axes), default=1),
        "weight_decay": False,
        "source": cls.source,
        "by_axes": by_axes,
    }


@torch.no_grad()
def flops_per_token(encoding: PositionEncoding, grid: tuple[int, ...]) -> float:
    """Counts the operations of two forward passes of different batches, and compares."""
    per_example = _pass(encoding, grid, 2) - _pass(encoding, grid, 1)
    tokens, shape = math.prod(grid), encoding.shape
    plain = shape.depth * tokens * 2 * shape.dim * 3 * shape.heads * shape.head_dim
    # every query meets every key: wider ones cost a longer product, a bias costs a sum
    meetings = shape.depth * tokens**2 * shape.heads
    wider = meetings * 2 * shape.head_dim * (encoding.qk_width - 1)
    added = meetings if "bias" in encoding.places else 0
    return (per_example - plain + wider + added) / tokens


def _pass(encoding: PositionEncoding, grid: tuple[int, ...], batch: int) -> int:
    shape = encoding.shape
    positions = Grid(grid).positions(encoding.scaling)
    x = torch.zeros(batch, len(positions), shape.dim)
    weight = torch.zeros(3 * shape.heads * shape.head_dim, shape.dim)
    counting = Counting()
    with without_kernels(), counting:
        x = encoding.embed(x, positions)
        state = encoding.prepare(positions)
        for layer in range(shape.depth):
            encoding.project(x, weight, state, layer)
    return int(counting.total)


class Counting(TorchDispatchMode):
    """Counts products and sums of matrices, and what is computed element by element."""

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
