"""Rotary in another basis: the common base of STRING and HARoPE.

Shapes: as in ``encodings.base``; D width of token vectors.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from liere_cli.encodings.base import PositionedOptions, Shape
from liere_cli.encodings.rotary.base import Rotary, RotaryState, axial_frequencies, part_field
from liere_cli.encodings.rotary.rope_mixed import mixed_frequencies
from liere_cli.rotations import rotate_planes
from liere_cli.rotations.precision import full_precision


@dataclass(frozen=True)
class BasisChangeState:
    """The state of ``Rotary``; M and its inverse [N or 1, H, H] of each layer, or for all."""

    rotary: RotaryState
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
        wide = torch.promote_types(q.dtype, torch.float32)
        both = times(q.to(wide), to), times(k.to(wide), back.mT)
        turned = (rotate_planes(x, table, self.layout).to(q.dtype) for x in both)
        q, k = turned
        return q, k

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
        wide = x[:, :, prefix:].to(torch.promote_types(x.dtype, torch.float32))
        turned = rotate_planes(times(wide, before), table, self.layout)
        turned = times(turned, after).to(x.dtype)
        return torch.cat((x[:, :, :prefix], turned), 2) if prefix else turned

    def project(  # type: ignore[override]
        self, x: Tensor, weight: Tensor, state: BasisChangeState, layer: int, prefix_tokens: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        to, back = state.bases(layer)
        heads = (3, self.shape.heads, self.shape.head_dim)
        q, k, v = weight.unflatten(0, heads).unbind()  # each [N, H, D]
        with full_precision(weight):
            folded = torch.stack((to.to(q.dtype) @ q, back.mT.to(k.dtype) @ k, v))
        folded = folded.flatten(0, 2)
        return self.rotate_projection(x, folded, state.rotary, layer, prefix_tokens)


def times(x: Tensor, matrix: Tensor) -> Tensor:
    """Vectors [B, N, S, H] multiplied by their head's matrix [N or 1, H, H], half precision in
    float32 with one rounding.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    with full_precision(x):
        return (x.to(wide) @ matrix.mT.to(wide)).to(x.dtype)


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
