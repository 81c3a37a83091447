"""RoPE-Mixed: rotary with learned frequencies over all axes."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from liere_cli.config.section import added
from liere_cli.encodings.base import Shape, Stream
from liere_cli.encodings.presets import Preset, preset_field
from liere_cli.encodings.rotary.base import Rotary, RotaryOptions, geometric, split_planes

PRESETS = {
    "liere-repository": Preset(
        "what LieRE's repository runs as rope_mixed",
        {"start": "uniform", "share": "layers", "scaling": "unit"},
    )
}


class RoPEMixedOptions(RotaryOptions):
    theta: float = Field(10.0, gt=1, description="base of the initial frequencies")
    start: Literal["frames", "uniform"] = added(
        "frames",
        description="initial frequencies: frames (magnitudes theta^(-i/m) along one random "
        "orthonormal frame for each head and layer, RoPE-ViT's) or uniform (each coordinate "
        "in [0, 2 pi), whatever theta, the LieRE repository's)",
    )
    share: Literal["none", "layers"] = added(
        "none", description="what shares frequencies: none, or layers (as in LieRE's repository)"
    )
    presets: ClassVar[Mapping[str, Preset]] = PRESETS
    preset: str | None = preset_field(PRESETS)


class RoPEMixed(Rotary):
    """RoPE-Mixed (arXiv 2403.13298, equation 14, and its code's initialisation).

    Plane i of head n in layer l rotates by p . f[l, n, :, i] with learned f. Initially each head of
    each layer has one random orthonormal frame with a direction for each axis; the planes are split
    over the directions, and plane i of the m of a direction has the magnitude theta^(-i/m).
    On two axes that is one angle, uniform in [0, 2 pi), and the direction perpendicular to it.

    What LieRE's repository (StanfordMIMI/LieRE at b27b41b, models/rope_vit.py) calls rope_mixed is
    LieRE with blocks of 2: no initial frequency is negative, so no plane rotates along a falling
    diagonal, and all are in [0, 2 pi) across the whole image; all layers use those of the first.
    ``preset=liere-repository`` reproduces that, except for the sense of rotation, which mirrored
    weights make up for.
    """

    name = "rope-mixed"
    summary = "rotary with frequencies over all axes, learned for every layer and head"
    source = "arXiv 2403.13298"
    formula = "plane i rotates by p . f_i, f learned for each layer and head"
    Options = RoPEMixedOptions

    def __init__(self, shape: Shape, options: RoPEMixedOptions | None = None) -> None:
        super().__init__(shape, options)
        layers = 1 if self.options.share == "layers" else shape.depth
        self.frequencies = nn.Parameter(torch.empty(layers, shape.heads, shape.axes, self.planes))
        self.initialise()

    def initialise(self, stream: Stream = lambda name: None) -> None:
        generator = stream("frequencies")
        if self.options.start == "uniform":
            start = 2 * math.pi * torch.rand(self.frequencies.shape, generator=generator)
        else:
            shape = replace(self.shape, depth=len(self.frequencies))
            start = mixed_frequencies(self.options.theta, self.planes, shape, generator)
        with torch.no_grad():
            self.frequencies.copy_(start)

    def frequencies_of(self, layer: int | slice) -> Tensor:
        shared = isinstance(layer, int) and len(self.frequencies) == 1
        return super().frequencies_of(0 if shared else layer)


def mixed_frequencies(
    theta: float, planes: int, shape: Shape, generator: torch.Generator | None
) -> Tensor:
    """Initial frequencies of RoPE-Mixed, [L, N, A, planes] float32."""
    frames = _random_frames(shape.depth * shape.heads, shape.axes, generator)
    parts = split_planes(planes, shape.axes)
    magnitudes = torch.cat([geometric(theta, share) for share in parts])
    direction_of_plane = torch.arange(shape.axes).repeat_interleave(torch.tensor(parts))
    frequencies = frames[:, :, direction_of_plane] * magnitudes  # [L * N, A, planes]
    return frequencies.view(shape.depth, shape.heads, shape.axes, planes)


def _random_frames(count: int, axes: int, generator: torch.Generator | None) -> Tensor:
    """Uniformly distributed rotations, [count, axes, axes] float32; the columns are directions."""
    frames, triangular = torch.linalg.qr(
        torch.randn(count, axes, axes, dtype=torch.float64, generator=generator)
    )
    # QR's choice of signs would bias the directions
    signs = triangular.diagonal(dim1=-2, dim2=-1).sign()
    uniform: Tensor = frames * signs[:, None]
    uniform[..., -1] *= torch.linalg.det(uniform)[:, None]
    return uniform.to(torch.float32)
