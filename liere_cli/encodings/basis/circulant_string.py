"""Circulant-STRING: rotary in the Fourier basis."""

import math

import torch
from torch import Tensor, nn

from liere_cli.encodings.base import Shape, Stream
from liere_cli.encodings.basis.base import BasisChange, STRINGOptions, string_start
from liere_cli.rotations.precision import full_precision


class CirculantSTRING(BasisChange):
    """Circulant-STRING (arXiv 2502.02562, equation 11 and theorem 3.5).

    R(p) = exp(sum_a p_a (C_a - C_a^T)) with circulant C_a, C_a[i, j] = c_a[(i - j) mod H], the
    entries c learned for each layer, head and axis. Circulant matrices are diagonal in the Fourier
    basis: R(p) rotates component j by p . f_j with f_j = 2 Im(FFT(c)_j), and leaves the first and
    the middle one unchanged. The basis is fixed, so ``project`` folds it into the weights, which
    costs less than the paper's transforms. The paper does not specify the initial c; here it is the
    smallest c with the frequencies of ``axial``.
    """

    name = "circulant-string"
    summary = "rotary with learned frequencies in the Fourier basis"
    source = "arXiv 2502.02562"
    formula = "exp(sum_a p_a (C_a - C_a^T)), C_a circulant"
    Options = STRINGOptions

    def __init__(self, shape: Shape, options: STRINGOptions | None = None) -> None:
        super().__init__(shape, options)
        # the last plane, the first and middle components, does not rotate
        self.rotated = min(super().count_rotated(self.planes), self.planes - 1)
        if self.rotated < shape.axes:
            raise self.error(
                f"rotates head_dim / 2 - 1 planes, at least one for each of {shape.axes} axes; "
                f"head_dim={shape.head_dim} has {self.planes - 1}, and the smallest possible is "
                f"head_dim={2 * shape.axes + 2}"
            )
        size = (shape.depth, shape.heads, shape.axes, shape.head_dim)
        self.entries = nn.Parameter(torch.empty(size))
        to_frequencies, basis = _fourier(shape.head_dim)
        to_frequencies[:, self.rotated :] = 0
        self.register_buffer("_to_frequencies", to_frequencies, persistent=False)
        self.register_buffer("_basis", basis[None, None], persistent=False)
        self._to_frequencies: Tensor
        self._basis: Tensor
        self.initialise()

    def count_rotated(self, planes: int) -> int:
        return planes  # the last frequencies are zero

    def initialise(self, stream: Stream = lambda name: None) -> None:
        start = string_start(self.options, self.rotated, self.shape, stream("frequencies"))
        to_frequencies = self._to_frequencies[:, : self.rotated].cpu()
        with torch.no_grad():
            # its columns are orthogonal, of squared length 2 H
            self.entries.copy_(start @ to_frequencies.T / (2 * self.shape.head_dim))

    def frequencies_of(self, layer: int | slice) -> Tensor:
        with full_precision(self.entries):
            frequencies: Tensor = self.entries[layer] @ self._to_frequencies
        return frequencies

    def bases(self) -> tuple[Tensor, Tensor]:
        return self._basis, self._basis.mT


def _fourier(size: int) -> tuple[Tensor, Tensor]:
    """The map from entries to frequencies, [H, H/2], and the orthonormal Fourier basis, [H, H],
    both float32. Plane j - 1 holds the real and the imaginary part of component j, the last plane
    the two real components.
    """
    index = torch.arange(size, dtype=torch.float64)
    angles = 2 * math.pi / size * index[:, None] * torch.arange(1, size // 2)
    zero = torch.zeros(size, 1, dtype=torch.float64)
    to_frequencies = torch.cat([-2 * angles.sin(), zero], 1)
    parts = torch.stack((angles.cos(), -angles.sin()), -1).flatten(1) * math.sqrt(2 / size)
    real = torch.stack((torch.ones_like(index), 1 - 2 * (index % 2)), 1) / math.sqrt(size)
    return to_frequencies.float(), torch.cat([parts, real], 1).T.float()
