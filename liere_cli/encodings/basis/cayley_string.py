"""Cayley-STRING: rotary in a learned orthogonal basis."""

import torch
from pydantic import Field
from torch import Tensor, nn

from liere_cli.encodings.base import Shape, Stream
from liere_cli.encodings.basis.base import BasisChange, STRINGOptions, string_start
from liere_cli.encodings.rotary.base import LAYOUTS
from liere_cli.rotations import Layout, skew_from_upper
from liere_cli.rotations.precision import full_precision


class CayleySTRINGOptions(STRINGOptions):
    layout: Layout = Field("interleaved", description=LAYOUTS)
    scale: float = Field(
        0.0,
        ge=0,
        description="standard deviation of the initial entries of S; 0 starts in the basis of the "
        "channels, as rotary with learned frequencies",
    )


class CayleySTRING(BasisChange):
    """Cayley-STRING (arXiv 2502.02562, theorem 3.4 and equation 10).

    R(p) = P^T RoPE(p) P with P = (I - S)(I + S)^-1 orthogonal, S = U - U^T learned for each layer
    and head, and learned frequencies over all axes. Generators commute, so scores depend only on
    differences of positions, on any number of axes. The paper omits the outer P^T, which cancels in
    the scores. It does not specify the initial frequencies and S; the defaults here are ``axial``.
    """

    name = "cayley-string"
    summary = "rotary with learned frequencies in a learned orthogonal basis"
    source = "arXiv 2502.02562"
    formula = "P^T R(p) P, P = (I - S)(I + S)^-1"
    Options = CayleySTRINGOptions

    def __init__(self, shape: Shape, options: CayleySTRINGOptions | None = None) -> None:
        super().__init__(shape, options)
        heads, entries = (shape.depth, shape.heads), shape.head_dim * (shape.head_dim - 1) // 2
        self.frequencies = nn.Parameter(torch.empty(*heads, shape.axes, self.planes))
        #: entries of S above the diagonal, row by row
        self.upper = nn.Parameter(torch.empty(*heads, entries))
        self.initialise()

    def initialise(self, stream: Stream = lambda name: None) -> None:
        start = string_start(self.options, self.planes, self.shape, stream("frequencies"))
        draw = torch.randn(self.upper.shape, generator=stream("upper"))
        with torch.no_grad():
            self.frequencies.copy_(start)
            self.upper.copy_(draw * self.options.scale)

    def bases(self) -> tuple[Tensor, Tensor]:
        with full_precision(self.upper):
            size, like = self.shape.head_dim, self.upper
            identity = torch.eye(size, dtype=like.dtype, device=like.device)
            # (I - S)(I + S)^-1 = 2 (I + S)^-1 - I
            inverse = torch.linalg.inv(identity + skew_from_upper(self.upper, size))
            basis = 2 * inverse - identity
        return basis, basis.mT
