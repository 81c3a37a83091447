"""nD-RoPE: planes along the directions of regular simplices, at several scales."""

import torch
from pydantic import Field
from torch import Tensor

from liere_cli.encodings.base import Shape, Stream
from liere_cli.encodings.rotary.base import PlaneOptions, Rotary, geometric
from liere_cli.encodings.rotary.rope_mixed import random_frames


class NDRoPEOptions(PlaneOptions):
    theta: float = Field(
        100.0, gt=1, description="base of the magnitudes; 100 is the code's for images"
    )
    rotate: bool = Field(
        True, description="rotate the simplex at random for each layer and head, as the code does"
    )


class NDRoPE(Rotary):
    """nD-RoPE (arXiv 2606.12146 sections 4.2 and 4.3, equation 18; code in BoyangL1/nD-RoPE
    rope-vit-ndrope/deit/models_v2_ndRope.py).

    The A + 1 corners u_m of a regular simplex around the origin are directions of equal weight:
    their sum is zero, and the sum of u_m u_m^T a multiple of the identity. Plane m S + s rotates by
    theta^(-s/S) (p . Q u_m) with a random rotation Q of each layer and head, drawn once and not
    learned. On one axis it is ``rope`` with one direction, as in the code. There S = P / (A + 1)
    must be whole; here planes that are left over do not rotate.

    Raises:
        UsageError: fewer planes than directions.
    """

    name = "nd-rope"
    summary = "rotary with fixed frequencies along the corners of randomly rotated simplices"
    source = "arXiv 2606.12146"
    formula = "plane (m, s) rotates by theta^(-s/S) (p . Q u_m), u_m corners of a simplex"
    Options = NDRoPEOptions

    def __init__(self, shape: Shape, options: NDRoPEOptions | None = None) -> None:
        super().__init__(shape, options)
        corners = simplex(shape.axes)
        scales = self.planes // len(corners)
        if not scales:
            raise self.error(
                f"needs a plane for each of {len(corners)} directions, and {self.planes} rotate"
            )
        self.unrotated += self.planes - scales * len(corners)
        self.planes = scales * len(corners)
        magnitudes = geometric(self.options.theta, scales)
        start = (corners[:, :, None] * magnitudes).transpose(0, 1).flatten(1)
        self.register_buffer("_start", start, persistent=False)
        #: [L, N, A, P]; random, so saved with the weights
        size = (shape.depth, shape.heads, shape.axes, self.planes)
        self.register_buffer("frequencies", torch.empty(size))
        self.initialise()

    def initialise(self, stream: Stream = lambda name: None) -> None:
        depth, heads, axes = self.shape.depth, self.shape.heads, self.shape.axes
        rotations = torch.eye(axes).expand(depth, heads, -1, -1)
        if self.options.rotate and axes > 1:
            rotations = random_frames(depth * heads, axes, stream("frequencies"))
            rotations = rotations.view(depth, heads, axes, axes)
        self.frequencies.copy_(rotations @ self._start)


def simplex(axes: int) -> Tensor:
    """The corners of a regular simplex around the origin, unit vectors [axes + 1, axes] float32;
    one of the two for one axis, as the other is its negative.
    """
    if axes == 1:
        return torch.ones(1, 1)
    centred = torch.eye(axes + 1, dtype=torch.float64) - 1 / (axes + 1)
    # Gram-Schmidt of the first corners, in order: a basis of the space that all of them span
    basis = torch.linalg.qr(centred[:axes].T).Q
    corners = centred @ basis
    unit: Tensor = corners / corners.norm(dim=1, keepdim=True)
    return unit.float()
