"""Rotary in another basis: the common base of STRING and HARoPE.

Shapes: as in ``encodings.base``; D width of token vectors.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from liere_cli.encodings.base import PositionedOptions, Shape
from liere_cli.encodings.rotary.base import Rotary, axial_frequencies, part_field
from liere_cli.encodings.rotary.rope_mixed import mixed_frequencies
from liere_cli.rotations import rotate_planes, rotate_projected
from liere_cli.rotations.precision import full_precision


@dataclass(frozen=True)
class BasisChangeState:
    """The state of ``Rotary``; M and its inverse [N or 1, H, H] of each layer, or for all."""

    rotary: Tensor
    to: tuple[Tensor, ...]
    back: tuple[Tensor, ...]

    def bases(self, layer: int) -> tuple[Tensor, Tensor]:
        layer = layer if len(self.to) > 1 else 0
        return self.to[layer], self.back[layer]


class BasisChange(Rotary):
    """q at position p becomes M^-1 R(p) M q and k becomes M^T R(p) M^-T k, R(p) of ``Rotary``.

    The scores are (M q)^T R(p_k - p_q) (M^-T k): the outer factors cancel. So ``project`` folds M
    and M^-T into the weights, which costs a product of their size instead of one for every token,
    and ``encode_qk`` omits the outer factors unless there is a prefix, which must stay unchanged.
    """

    def bases(self) -> tuple[Tensor, Tensor]:
        """M and M^-1, [L or 1, N or 1, H, H]."""
        raise NotImplementedError

    def prepare(self, positions: Tensor) -> BasisChangeState:  # type: ignore[override]
        to, back = self.bases()
        return BasisChangeState(super().prepare(positions), to.unbind(), back.unbind())

    def encode_qk(  # type: ignore[override]
        self, q: Tensor, k: Tensor, state: BasisChangeState, layer: int, prefix_tokens: int = 0
    ) -> tuple[Tensor, Tensor]:
        if prefix_tokens:
            q = self.encode_q(q, state, layer, prefix_tokens)
            return q, self.encode_k(k, state, layer, prefix_tokens)
        table = self.table_for(state.rotary, layer, 0, q, k)
        to, back = state.bases(layer)
        q, k = times(q, to), times(k, back.mT)
        return rotate_planes(q, table, self.layout), rotate_planes(k, table, self.layout)

    def encode_q(  # type: ignore[override]
        self, q: Tensor, state: BasisChangeState, layer: int, prefix_tokens: int = 0
    ) -> Tensor:
        to, back = state.bases(layer)
        table = self.table_for(state.rotary, layer, prefix_tokens, q)
        return self._rotate_between(q, to, table, back)

    def encode_k(  # type: ignore[override]
        self, k: Tensor, state: BasisChangeState, layer: int, prefix_tokens: int = 0
    ) -> Tensor:
        to, back = state.bases(layer)
        table = self.table_for(state.rotary, layer, prefix_tokens, k)
        return self._rotate_between(k, back.mT, table, to.mT)

    def _rotate_between(self, x: Tensor, before: Tensor, table: Tensor, after: Tensor) -> Tensor:
        """``after`` R(p) ``before`` x, the prefix unchanged."""
        prefix = x.shape[2] - table.shape[-3]
        turned = rotate_planes(times(x[:, :, prefix:], before), table, self.layout)
        turned = times(turned, after)
        return torch.cat((x[:, :, :prefix], turned), 2) if prefix else turned

    def project(  # type: ignore[override]
        self, x: Tensor, weight: Tensor, state: BasisChangeState, layer: int, prefix_tokens: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        table = self.table(state.rotary, layer)
        self.check_tokens(x.shape[1], table.shape[-3], prefix_tokens)
        to, back = state.bases(layer)
        heads = (3, self.shape.heads, self.shape.head_dim)
        q, k, v = weight.unflatten(0, heads).unbind()  # each [N, H, D]
        with full_precision(weight):
            folded = torch.stack((to.to(q.dtype) @ q, back.mT.to(k.dtype) @ k, v))
        qkv = F.linear(x, folded.flatten(0, 2)).unflatten(-1, heads)
        return rotate_projected(qkv, table, self.layout)


def times(x: Tensor, matrix: Tensor) -> Tensor:
    """Vectors [B, N, S, H] multiplied by their head's matrix [N or 1, H, H]."""
    return x @ matrix.mT.to(x.dtype)


class STRINGOptions(PositionedOptions):
    part: float = part_field()
    start: Literal["axial", "mixed"] = Field(
        "axial",
        description="initial frequencies: axial (each plane on one axis) or mixed (in random "
        "directions for each layer and head, as rope-mixed); all are learned",
    )
    theta: float | None = Field(
        None,
        gt=1,
        description="base of the initial frequencies; null: 10000 for one axis as RoFormer, for "
        "more 100 (axial) or 10 (mixed) as RoPE-ViT",
    )


def string_start(
    options: STRINGOptions, planes: int, shape: Shape, generator: torch.Generator | None
) -> Tensor:
    """Initial frequencies of STRING, [L, N, A, planes] or [A, planes]."""
    axial = options.start == "axial"
    theta = options.theta or (10_000.0 if shape.axes == 1 else 100.0 if axial else 10.0)
    if axial:
        return axial_frequencies(theta, planes, shape.axes)
    return mixed_frequencies(theta, planes, shape, generator)
