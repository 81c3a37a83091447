"""Axial rotary position embedding: every plane belongs to one axis."""

import torch
from pydantic import Field

from liere_cli.encodings.base import Shape
from liere_cli.encodings.rotary import Rotary, RotaryOptions, geometric, split_planes


class AxialOptions(RotaryOptions):
    """Options of ``axial``."""

    theta: float | None = Field(
        None,
        gt=1,
        description="base of the frequencies; null: 10000 for one axis as RoFormer, 100 for more "
        "as RoPE-ViT (VisionLLaMA uses 10000)",
    )


class Axial(Rotary):
    """Axial rotary (arXiv 2403.13298 section 3.2; VisionLLaMA, arXiv 2403.00522).

    The planes are split over the axes, axis after axis; plane i of the m of axis a turns by
    p_a * theta^(-i/m). Planes that do not divide evenly go to the first axes, one each, so that
    no channel stays without position. With one axis this is ``rope``.
    """

    name = "axial"
    summary = "rotary with fixed frequencies, each plane on one axis"
    source = "arXiv 2403.13298, 2403.00522"
    formula = "plane i of axis a turns by p_a theta^(-i/m)"
    Options = AxialOptions

    def __init__(self, shape: Shape, options: AxialOptions | None = None) -> None:
        super().__init__(shape, options)
        theta = self.options.theta or (10_000.0 if shape.axes == 1 else 100.0)
        parts = [geometric(theta, planes) for planes in split_planes(self.planes, shape.axes)]
        frequencies = torch.block_diag(*(part[None] for part in parts))  # [A, P]
        self.register_buffer("frequencies", frequencies, persistent=False)
