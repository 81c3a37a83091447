"""Axial rotary: every plane rotates with one axis."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from liere_cli.encodings.base import Shape
from liere_cli.encodings.presets import Preset, preset_field
from liere_cli.encodings.rotary.base import Learned, Order, Rotary, RotaryOptions, axial_frequencies

PRESETS = {
    "liere-repository": Preset(
        "what LieRE's repository runs as visionllama",
        {"spectrum": "liere-repository", "scaling": "unit"},
    )
}


class AxialOptions(RotaryOptions):
    theta: float | None = Field(
        None,
        gt=1,
        description="base of the frequencies; null: 10000 for one axis as RoFormer, 100 for more "
        "as RoPE-ViT (VisionLLaMA uses 10000)",
    )
    order: Order = Field(
        "concatenated",
        description="planes of the axes: concatenated, axis after axis (RoPE-ViT), or interleaved, "
        "axes in turn (VisionLLaMA)",
    )
    spectrum: Literal["geometric", "liere-repository"] = Field(
        "geometric",
        description="magnitudes of the m planes of an axis: geometric, theta^(-i/m), or those that "
        "LieRE's repository calls visionllama, exp(-4 u) for u from 0 to 1 (with scaling=unit)",
    )
    learned: Learned = False
    presets: ClassVar[Mapping[str, Preset]] = PRESETS
    preset: str | None = preset_field(PRESETS)


class Axial(Rotary):
    """Axial rotary (arXiv 2403.13298 section 3.2; VisionLLaMA, arXiv 2403.00522 section 3.2).

    The planes are split over the axes; plane i of the m of axis a rotates by p_a * theta^(-i/m).
    If they do not divide evenly, the first axes get one more each, so that every channel carries
    position. With one axis this is ``rope``.

    ``theta=10000,order=interleaved`` is VisionLLaMA's (deit/my_models.py), the default RoPE-ViT's
    (deit/models_v2_rope.py), except for the order of the axes: both put columns before rows, which
    is a permutation of channels. Both count positions from 0; at other resolutions RoPE-ViT keeps
    counting, and VisionLLaMA's AS2DRoPE rescales the positions to the training grid.

    What LieRE's repository (StanfordMIMI/LieRE at b27b41b, models/rope_vit.py) runs as visionllama
    has lower frequencies than either, at most 1 radian across the image, and planes that do not
    divide evenly carry no position: ``preset=liere-repository``.
    """

    name = "axial"
    summary = "rotary with fixed frequencies, each plane on one axis"
    source = "arXiv 2403.13298, 2403.00522"
    formula = "plane i of axis a rotates by p_a theta^(-i/m)"
    Options = AxialOptions

    def __init__(self, shape: Shape, options: AxialOptions | None = None) -> None:
        super().__init__(shape, options)
        theta = self.options.theta or (10_000.0 if shape.axes == 1 else 100.0)
        frequencies = axial_frequencies(theta, self.planes, shape.axes, self.options.order)
        if self.options.spectrum == "liere-repository":
            self._use_repository_spectrum(frequencies)
        self.start_at(frequencies, self.options.learned)

    def _use_repository_spectrum(self, frequencies: Tensor) -> None:
        """Replaces the magnitudes of each axis in place."""
        share = self.planes // self.shape.axes
        for axis in frequencies:
            planes = axis.nonzero().squeeze(1)
            axis[planes] = 0
            axis[planes[:share]] = torch.exp(-4 * torch.linspace(0, 1, share))
