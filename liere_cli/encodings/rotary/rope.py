"""Rotary position embedding of one axis."""

import torch
from pydantic import Field

from liere_cli.encodings.base import Shape
from liere_cli.encodings.rotary.base import (
    LearnedOrScale,
    Rotary,
    Share,
    ValueOptions,
    geometric,
    share_field,
)


class RoPEOptions(ValueOptions):
    theta: float = Field(10_000.0, gt=1, description="base of the frequencies")
    part: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of the planes that rotate, the first ones; GPT-NeoX uses 0.25",
    )
    learned: LearnedOrScale = False
    share: Share | None = share_field()


class RoPE(Rotary):
    """RoFormer's rotary embedding (arXiv 2104.09864, equations 14 and 15).

    Plane i of P rotates by p * theta^(-i/P), p = 0 .. T-1. With ``learned`` every layer and head
    has its own frequencies: the baseline for LieRE in one dimension, where both have the same
    capacity. With ``part`` only the first planes rotate, with the spectrum of a head of that size
    (GPT-NeoX, arXiv 2204.06745 section 2.1.1).

    ``learned=scale`` is LeRoPE (arXiv 2607.10134, section 3.1, as others quote it; the paper could
    not be read): plane i rotates by p exp(a_i) theta^(-i/P), a_i initially 0, one for all layers
    and heads. ``share=none`` learns a set for each head of each layer instead, as AdaRoPE (arXiv
    2607.19363) does by its abstract, without that paper's learned factors on the logits.
    """

    name = "rope"
    counterpart = "axial"
    summary = "rotary with fixed frequencies, or learned ones (learned=true, learned=scale)"
    source = "arXiv 2104.09864; arXiv 2607.10134 (LeRoPE) for learned=scale"
    formula = "plane i rotates by p theta^(-2i/H)"
    max_axes = 1
    Options = RoPEOptions

    def __init__(self, shape: Shape, options: RoPEOptions | None = None) -> None:
        super().__init__(shape, options)
        rotated = max(1, round(self.options.part * self.planes))
        frequencies = torch.zeros(1, self.planes)
        frequencies[0, :rotated] = geometric(self.options.theta, rotated)
        self.start_at(frequencies, self.options.learned, self.options.share)

    def count_rotated(self, planes: int) -> int:
        return planes  # the last frequencies are zero, or learned from zero on
