"""RoPE-Mixed: learned frequencies over all axes at once."""

import torch
from pydantic import Field
from torch import Tensor, nn

from liere_cli.encodings.base import Shape, Stream
from liere_cli.encodings.rotary import Rotary, RotaryOptions, geometric, split_planes


class RoPEMixedOptions(RotaryOptions):
    """Options of ``rope-mixed``."""

    theta: float = Field(10.0, gt=1, description="base of the initial frequencies")


class RoPEMixed(Rotary):
    """RoPE-Mixed (arXiv 2403.13298, equation 14, and its code's initialisation).

    Plane i of head n in layer l turns by p . f[l, n, :, i] with learned f. Initially each head of
    each layer has one random orthonormal frame with a direction for each axis; the planes are split
    over the directions, and plane i of the m of a direction has the magnitude theta^(-i/m).
    On two axes that is one angle, uniform in [0, 2 pi), and the direction at right angles to it.
    """

    name = "rope-mixed"
    summary = "rotary with frequencies over all axes, learned for every layer and head"
    source = "arXiv 2403.13298"
    formula = "plane i turns by p . f_i, f learned for each layer and head"
    Options = RoPEMixedOptions

    def __init__(self, shape: Shape, options: RoPEMixedOptions | None = None) -> None:
        super().__init__(shape, options)
        self.frequencies = nn.Parameter(
            torch.empty(shape.depth, shape.heads, shape.axes, self.planes)
        )
        self.initialise()

    def initialise(self, stream: Stream = lambda name: None) -> None:
        start = mixed_frequencies(
            self.options.theta, self.planes, self.shape, stream("frequencies")
        )
        with torch.no_grad():
            self.frequencies.copy_(start)


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
    # without the signs of the diagonal, QR's choice of signs would bias the directions
    signs = triangular.diagonal(dim1=-2, dim2=-1).sign()
    uniform: Tensor = frames * signs[:, None]
    uniform[..., -1] *= torch.linalg.det(uniform)[:, None]
    return uniform.to(torch.float32)
