"""Circulant-STRING: rotary in the Fourier basis."""

import math

import torch
from torch import Tensor, nn

from liere_cli.encodings.base import Shape, Stream
from liere_cli.encodings.rotary.basis_change import BasisChange, STRINGOptions, string_start
from liere_cli.errors import UsageError
from liere_cli.rotations.precision import full_precision


class CirculantSTRING(BasisChange):
    """Circulant-STRING (arXiv 2502.02562, equation 11 and theorem 3.5).

    R(p) = exp(sum_a p_a (C_a - C_a^T)) with circulant C_a, C_a[i, j] = c_a[(i - j) mod H], the
    entries c learned for each layer, head and axis. Circulant matrices are diagonal in the Fourier
    basis: R(p) turns component j by p . f_j with f_j = 2 Im(FFT(c)_j), and leaves the first and the
    middle one alone. The basis being fixed, ``project`` folds it into the weights, which costs less
    than the paper's transforms. The paper does not say how c starts; here at the least c whose
    rates are those of ``axial``.
    """

    name = "circulant-string"
    summary = "rotary with learned frequencies in the Fourier basis"
    source = "arXiv 2502.02562"
    formula = "exp(sum_a p_a (C_a - C_a^T)), C_a circulant"
    Options = STRINGOptions

    def __init__(self, shape: Shape, options: STRINGOptions | None = None) -> None:
        super().__init__(shape, options)
        if self.planes <= shape.axes:
            raise UsageError(
                f"encoding '{self.name}' turns head_dim / 2 - 1 planes, at least one for each of "
                f"{shape.axes} axes; head_dim={shape.head_dim} has {self.planes - 1}, and "
                f"head_dim={2 * shape.axes + 2} would do"
            )
        self.entries = nn.Parameter(
            torch.empty(shape.depth, shape.heads, shape.axes, shape.head_dim)
        )
        rates, basis = _fourier(shape.head_dim)
        self.register_buffer("_rates", rates, persistent=False)
        self.register_buffer("_basis", basis[None, None], persistent=False)
        self._rates: Tensor
        self._basis: Tensor
        self.initialise()

    def initialise(self, stream: Stream = lambda name: None) -> None:
        planes = self.planes - 1  # the last plane, of the first and the middle component, is still
        start = string_start(self.options, planes, self.shape, stream("frequencies"))
        rates = self._rates[:, :planes].cpu()
        with torch.no_grad():
            # the columns of rates are orthogonal, of squared length 2 H
            self.entries.copy_(start @ rates.T / (2 * self.shape.head_dim))

    def frequencies_of(self, layer: int) -> Tensor:
        with full_precision(self.entries):
            frequencies: Tensor = self.entries[layer] @ self._rates
        return frequencies

    def bases(self) -> tuple[Tensor, Tensor]:
        return self._basis, self._basis.mT


def _fourier(size: int) -> tuple[Tensor, Tensor]:
    """What makes rates of entries, [H, H/2], and the orthonormal Fourier basis, [H, H], float32.

    Plane j - 1 holds the real and the imaginary part of component j; the last plane the two
    components that are real.
    """
    place = torch.arange(size, dtype=torch.float64)
    turns = 2 * math.pi / size * place[:, None] * torch.arange(1, size // 2)
    still = torch.zeros(size, 1, dtype=torch.float64)
    rates = torch.cat([-2 * turns.sin(), still], 1)
    parts = torch.stack((turns.cos(), -turns.sin()), -1).flatten(1) * math.sqrt(2 / size)
    real = torch.stack((torch.ones_like(place), 1 - 2 * (place % 2)), 1) / math.sqrt(size)
    return rates.float(), torch.cat([parts, real], 1).T.float()
