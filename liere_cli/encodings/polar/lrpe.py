"""LRPE: linearised relative positions, as cosines of channels or rotations of planes."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from liere_cli.encodings.base import Shape
from liere_cli.encodings.polar.base import Polar
from liere_cli.encodings.rotary.base import Rotary, RotaryOptions, split_planes


class LRPEOptions(RotaryOptions):
    form: Literal["cosine", "rotate"] = Field(
        "cosine",
        description="cosine, [x cos, x sin] with a frequency for each channel, twice as wide; or "
        "rotate, pairs of channels as in rope",
    )
    theta: float = Field(10_000.0, gt=1, description="base of the frequencies")
    heads: Literal["spread", "same"] = Field(
        "spread",
        description="one spectrum spread over the channels of all heads, highest frequencies "
        "first, or the same one in every head",
    )
    part: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of the frequencies that are not zero, the first ones; 0.5 with "
        "form=rotate is the code's mixed form",
    )
    learned: bool | None = Field(
        None,
        description="learn the frequencies of each layer and head; null: with form=cosine on one "
        "axis, as the code's older file",
    )


class LRPE(Polar):
    """LRPE (arXiv 2307.09270; its authors' code in Doraemonzzz/xmixers
    xmixers/modules/pes/_legacy/lrpe.py and, for several axes, Doraemonzzz/xopes xopes/ops/lrpe).
    Their newer xmixers/modules/pes/lrpe.py has fixed frequencies, the same in every head:
    ``heads=same,learned=false``.

    A unitary W(p) = P diag(exp(i p f)) P^H on real q and k, P the identity, leaves the scores
    sum_i q_i k_i cos((p_q - p_k) f_i): ``form=cosine``. A real, orthogonal W(p) rotates planes:
    ``form=rotate``, which with ``heads=same`` is ``rope``. Frequency i of the P of head n is
    theta^(-2 (n P + i) / (N H)), or theta^(-2 i / H) with ``heads=same``; P is H for cosines and
    H/2 for planes, so that cosines go down to theta^-2. Several axes split the planes, each axis
    using the first frequencies of its head.
    """

    name = "lrpe"
    summary = (
        "every channel times the cosine and the sine of its angle; or rotary spread over heads"
    )
    source = "arXiv 2307.09270"
    formula = "x_i -> (x_i cos(p f_i), x_i sin(p f_i)), f_ni = theta^(-2 (n P + i) / (N H))"
    Options = LRPEOptions

    def __init__(self, shape: Shape, options: LRPEOptions | None = None) -> None:
        super().__init__(shape, options)
        chosen = self.options
        self.rotates = chosen.form == "rotate"
        self.qk_width = 1 if self.rotates else 2
        rotated = max(1, round(chosen.part * self.planes))
        heads = shape.heads if chosen.heads == "spread" else 1
        number = torch.arange(heads * rotated, dtype=torch.float64).view(heads, rotated)
        spectrum = torch.zeros(heads, self.planes)
        spectrum[:, :rotated] = chosen.theta ** (-2 * number / (heads * shape.head_dim))
        parts = split_planes(self.planes, shape.axes)
        rows = [torch.block_diag(*(row[None, :m] for m in parts)) for row in spectrum]
        as_code = shape.axes == 1 and not self.rotates
        self.start_at(torch.stack(rows), as_code if chosen.learned is None else chosen.learned)

    def count_rotated(self, planes: int) -> int:
        return planes  # the last frequencies are zero

    def count_planes(self) -> int:
        cosine = self.options.form == "cosine"
        return super().count_planes() if cosine else Rotary.count_planes(self)

    def turn(self, x: Tensor, table: Tensor) -> Tensor:
        return Rotary.turn(self, x, table) if self.rotates else super().turn(x, table)
