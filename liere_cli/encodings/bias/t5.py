"""T5's relative position bias: learned numbers for buckets of distances."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from liere_cli.encodings.base import PositionedOptions, Shape, Stream
from liere_cli.encodings.bias.base import LogitBias
from liere_cli.errors import UsageError

#: farthest position that is told from others, whose distances an integer can hold
FARTHEST = 2.0**29


class T5Options(PositionedOptions):
    buckets: int = Field(32, ge=4, le=4096, description="of distances, for each axis")
    distance: int = Field(
        128, ge=2, description="distance from which all share the last bucket, in positions"
    )
    bidirectional: bool | None = Field(
        None,
        description="half of the buckets for each direction; false: all for the past, and the "
        "future counts as distance 0; null: for more than one axis",
    )
    share: Literal["layers", "none"] = Field(
        "layers", description="what shares a bias: layers (T5) or none"
    )
    init: float | None = Field(
        None, ge=0, le=10, description="initial standard deviation; null: dim^-0.5, as T5"
    )
    scale: float = Field(
        1.0, gt=0, description="multiplies the bias; x-transformers has sqrt(head_dim)"
    )


class T5(LogitBias):
    """T5's bias (arXiv 1910.10683, section 2.1; bucketing as in its code, mesh-tensorflow).

    Each head has a learned number for each bucket of p_k - p_q. The first half of the buckets of a
    direction hold one distance each, the second half are spaced logarithmically up to ``distance``.
    On several axes the biases of the axes are added. Fractions of positions are truncated.
    """

    name = "t5"
    summary = "learned bias for buckets of distances"
    source = "arXiv 1910.10683"
    formula = "logit + sum_a b[n, a, bucket(p_k,a - p_q,a)]"
    Options = T5Options

    def __init__(self, shape: Shape, options: T5Options | None = None) -> None:
        super().__init__(shape, options)
        self.layered = self.options.share == "none"
        both = self.options.bidirectional
        self.bidirectional = shape.axes > 1 if both is None else both
        exact = self.options.buckets // (4 if self.bidirectional else 2)
        if self.options.distance <= exact:
            raise UsageError(
                f"encoding 't5': distance={self.options.distance} must be above {exact}, the "
                f"number of distances with their own bucket, of {self.options.buckets} buckets"
            )
        size = (shape.depth if self.layered else 1, shape.axes, self.options.buckets, shape.heads)
        self.table = nn.Parameter(torch.empty(size))
        self.initialise()

    def initialise(self, stream: Stream = lambda name: None) -> None:
        std = self.shape.dim**-0.5 if self.options.init is None else self.options.init
        nn.init.normal_(self.table, std=std, generator=stream("table"))

    def between(self, queries: Tensor, keys: Tensor, layer: int) -> Tensor:
        if torch.is_grad_enabled() and (queries.requires_grad or keys.requires_grad):
            raise self.error("has no gradient to positions: buckets are constant between distances")
        (queries, unknown_queries), (keys, unknown_keys) = map(_known, (queries, keys))
        relative = (keys[None] - queries[:, None]).trunc().long()  # [Tq, Tk, A]
        buckets, distance = self.options.buckets, self.options.distance
        buckets_of = bucket(relative, buckets, distance, self.bidirectional)
        # another bucket, of NaN
        unknown = unknown_queries[:, None] | unknown_keys[None]
        numbers = buckets_of.masked_fill_(unknown[..., None], buckets).unbind(-1)
        tables = F.pad(self.table[layer], (0, 0, 0, 1), value=math.nan)
        parts = [F.embedding(n, table) for n, table in zip(numbers, tables, strict=True)]
        bias: Tensor = self.options.scale * torch.stack(parts).sum(0).permute(2, 0, 1)
        return bias


def _known(positions: Tensor) -> tuple[Tensor, Tensor]:
    """Positions [T, A] that integers can hold, and which of them are not numbers, [T]."""
    return positions.nan_to_num().clamp(-FARTHEST, FARTHEST), positions.isnan().any(-1)


def bucket(relative: Tensor, buckets: int, distance: int, bidirectional: bool) -> Tensor:
    """The bucket of every difference of positions (key - query), int64 of any shape."""
    offset = torch.zeros_like(relative)
    if bidirectional:
        buckets //= 2
        offset = buckets * (relative > 0).long()
        relative = relative.abs()
    else:
        relative = (-relative).clamp(min=0)
    exact = buckets // 2
    share = (relative.clamp(min=1).float() / exact).log() / math.log(distance / exact)
    far = (exact + (share * (buckets - exact)).long()).clamp(max=buckets - 1)
    return offset + torch.where(relative < exact, relative, far)
