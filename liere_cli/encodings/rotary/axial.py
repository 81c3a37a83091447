"""Axial rotary: every plane rotates with one axis."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from liere_cli.config.section import added
from liere_cli.encodings.base import Shape
from liere_cli.encodings.presets import Preset, preset_field
from liere_cli.encodings.rotary.base import (
    LearnedOrScale,
    Order,
    PlaneOptions,
    Rotary,
    Share,
    axial_frequencies,
    geometric,
    share_field,
    split_planes,
)

PRESETS = {
    "liere-repository": Preset(
        "what LieRE's repository runs as visionllama",
        {"spectrum": "liere-repository", "scaling": "unit"},
    ),
    "mrope-interleave": Preset(
        "MRoPE-Interleave of Qwen3-VL, every axis over the whole spectrum",
        {"order": "interleaved", "spectrum": "head", "theta": 10_000.0},
    ),
    "mhrope": Preset("MHRoPE, one axis for each head", {"divide": "heads", "theta": 10_000.0}),
}


class AxialOptions(PlaneOptions):
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
    spectrum: Literal["geometric", "liere-repository", "head"] = Field(
        "geometric",
        description="magnitudes of the m planes of an axis: geometric, theta^(-i/m); those that "
        "LieRE's repository calls visionllama, exp(-4 u) for u from 0 to 1 (with scaling=unit); or "
        "head, theta^(-j/P) for plane j of all P of the head, whatever its axis (Qwen2-VL's "
        "M-RoPE; MRoPE-Interleave with order=interleaved)",
    )
    divide: Literal["planes", "heads"] = added(
        "planes",
        description="what is divided among the axes: the planes of each head, or the heads, each "
        "with all planes on one axis (MHRoPE), the first heads on the first axis",
    )
    learned: LearnedOrScale = False
    share: Share | None = share_field()
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

    MRoPE-Interleave (arXiv 2510.23095; code in JJJYmmm/Multimodal-RoPEs
    multimodal_ropes/freq_allocation/mrope_i.py): plane j of P rotates by p_a theta^(-j/P) with
    a = j mod A, so that every axis has low and high frequencies. MHRoPE (mhrope.py there): head n
    rotates plane i by p_a theta^(-i/P), a its only axis. The sources have three axes and set
    how many planes or heads each one gets; here the shares are even, the first axes getting one
    more. Their positions of text between images belong to vision-language models.

    Raises:
        UsageError: ``divide=heads`` with fewer heads than axes, or with an order or a spectrum that
            divides the planes of a head.
    """

    name = "axial"
    summary = "rotary with fixed frequencies, each plane on one axis"
    source = "arXiv 2403.13298, 2403.00522; arXiv 2510.23095 (MHRoPE, MRoPE-Interleave)"
    formula = "plane i of axis a rotates by p_a theta^(-i/m)"
    Options = AxialOptions

    def __init__(self, shape: Shape, options: AxialOptions | None = None) -> None:
        super().__init__(shape, options)
        chosen = self.options
        theta = chosen.theta or (10_000.0 if shape.axes == 1 else 100.0)
        if chosen.divide == "heads":
            frequencies = self._by_heads(theta)
        else:
            frequencies = axial_frequencies(theta, self.planes, shape.axes, chosen.order)
        if chosen.spectrum == "liere-repository":
            self._use_repository_spectrum(frequencies)
        elif chosen.spectrum == "head":
            frequencies = (frequencies != 0) * geometric(theta, self.planes)
        self.start_at(frequencies, chosen.learned, chosen.share)

    def _by_heads(self, theta: float) -> Tensor:
        """[N, A, P], all planes of a head on one axis."""
        heads, axes = self.shape.heads, self.shape.axes
        if heads < axes:
            raise self.error(f"with divide=heads needs a head for each of {axes} axes, not {heads}")
        if self.options.spectrum == "liere-repository" or self.options.order != "concatenated":
            raise self.error(
                "with divide=heads has all planes of a head on one axis: leave order=interleaved "
                "and spectrum=liere-repository out"
            )
        axis = torch.arange(axes).repeat_interleave(torch.tensor(split_planes(heads, axes)))
        return torch.eye(axes)[axis][..., None] * geometric(theta, self.planes)

    def _use_repository_spectrum(self, frequencies: Tensor) -> None:
        """Replaces the magnitudes of each axis in place."""
        share = self.planes // self.shape.axes
        for axis in frequencies:
            planes = axis.nonzero().squeeze(1)
            axis[planes] = 0
            axis[planes[:share]] = torch.exp(-4 * torch.linspace(0, 1, share))
