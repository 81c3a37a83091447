"""HARoPE: rotary after a learned change of basis for each head."""

import math

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from liere_cli.encodings.base import Shape, Stream
from liere_cli.encodings.basis.base import BasisChange
from liere_cli.encodings.rotary.base import RotaryOptions, axial_frequencies, part_field
from liere_cli.rotations import skew_exp, skew_from_upper
from liere_cli.rotations.precision import full_precision

#: lower bound of the singular values, as in the source
_LEAST = 1e-6


class HARoPEOptions(RotaryOptions):
    theta: float = Field(10_000.0, gt=1, description="base of the frequencies, on every axis")
    part: float = part_field()


class HARoPE(BasisChange):
    """HARoPE (arXiv 2510.10489).

    q becomes R(p) M q and k becomes R(p) M^-T k with M = U S V^T for each layer and head: U and V
    exponentials of learned skew-symmetric matrices, initially the identity, and S = softplus(s) +
    1e-6 diagonal, initially 1. R(p) is ``axial`` with fixed frequencies. Scores depend only on
    differences of positions, and at equal positions are those of q and k themselves.
    """

    name = "harope"
    summary = "axial rotary after a learned change of basis for each layer and head"
    source = "arXiv 2510.10489"
    formula = "q -> R(p) M q, k -> R(p) M^-T k, M = U S V^T"
    orthogonal = False
    Options = HARoPEOptions

    def __init__(self, shape: Shape, options: HARoPEOptions | None = None) -> None:
        super().__init__(shape, options)
        frequencies = axial_frequencies(self.options.theta, self.planes, shape.axes)
        self.start_at(frequencies, learned=False)
        size, entries = shape.head_dim, shape.head_dim * (shape.head_dim - 1) // 2
        #: entries above the diagonal of the logarithms of U and V, row by row
        self.left = nn.Parameter(torch.empty(shape.depth, shape.heads, entries))
        self.right = nn.Parameter(torch.empty(shape.depth, shape.heads, entries))
        #: the singular values are softplus of these
        self.stretch = nn.Parameter(torch.empty(shape.depth, shape.heads, size))
        self.initialise()

    def initialise(self, stream: Stream = lambda name: None) -> None:
        for parameter in (self.left, self.right):
            nn.init.zeros_(parameter)
        nn.init.constant_(self.stretch, math.log(math.e - 1))

    def bases(self) -> tuple[Tensor, Tensor]:
        with full_precision(self.stretch):
            logarithms = torch.stack((self.left, self.right))
            u, v = skew_exp(skew_from_upper(logarithms, self.shape.head_dim)).unbind()
            values = F.softplus(self.stretch)[..., None, :] + _LEAST
            return (u * values) @ v.mT, (v / values) @ u.mT
