"""The planes that skew-symmetric matrices turn, and how fast: A = Q D Q^T.

D turns b/2 planes, each at its rate r: [[0, -r], [r, 0]] along its diagonal.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from liere_cli.errors import UsageError
from liere_cli.rotations.exponential.scaling_squaring import reading_is_free
from liere_cli.rotations.kernels.schur import Spectra, spectrum_for
from liere_cli.rotations.precision import check_square, full_precision

#: size of the disturbance that keeps the two halves of a plane apart where A does not turn it
_DISTURBANCE = 1e-9


class Spectrum(NamedTuple):
    """A = Q D Q^T, in the dtype of A.

    Args:
        basis: Q, [..., b, b] orthogonal.
        rates: D, [..., b, b], zero but for [[0, -r], [r, 0]] along its diagonal; its gradient is
            kept transposed.
        speeds: the r, [..., b/2].
        distinct: no position takes any two of them for one, or one for none, so that the gradient
            needs nothing of D but them; False where nothing compiled looks.
    """

    basis: Tensor
    rates: Tensor
    speeds: Tensor
    distinct: bool = False

    def unbind(self) -> tuple["Spectrum", ...]:
        """One for each index of the first dimension."""
        parts = zip(self.basis.unbind(), self.rates.unbind(), self.speeds.unbind(), strict=True)
        return tuple(Spectrum(*part, self.distinct) for part in parts)


def spectrum(a: Tensor, positions: Tensor) -> Spectrum:
    """The planes that a skew-symmetric matrix turns, and how fast.

    Computed in float64, by singular vectors where compiled, else by eigenvectors. Their gradient is
    not that of any basis, as bases are free up to a phase, but what reaches A from a loss that sees
    queries and keys through their products only: divided differences of exp (Daleckii and Krein),
    the derivative where rates coincide. On a GPU the eigenvectors wait for the device, once a call.

    Args:
        a: [..., b, b] float32 or float64, b even.
        positions: [T], which bound the angles.

    Raises:
        UsageError: not square, an odd number of rows, or another dtype.
    """
    check_square(a)
    if a.shape[-1] % 2:
        raise UsageError(f"an odd number of rows, {a.shape[-1]}, is not a sum of planes")
    reach = positions.detach().abs().amax().to(a.dtype)
    with full_precision(a):
        compiled = spectrum_for(a) if reading_is_free(a) else None
        if compiled is not None:
            close = _tolerance(a.dtype) / max(float(reach), torch.finfo(a.dtype).tiny)
            return Spectrum(*_CompiledSpectrum.apply(a, compiled, close))  # type: ignore[no-untyped-call]
        basis, rates = _Spectrum.apply(a, reach)  # type: ignore[no-untyped-call]
    return Spectrum(basis, rates, rates_of(rates.detach()))


class _CompiledSpectrum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, compiled: Spectra, close: float
    ) -> tuple[Tensor, Tensor, Tensor, bool]:
        basis, rates, speeds, met = compiled.spectrum(a, close)
        ctx.compiled, ctx.close = compiled, close
        ctx.save_for_backward(basis, rates)
        return basis, rates, speeds, not met

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        both = ctx.saved_tensors
        return ctx.compiled.spectrum_back(*both, grads[:3], ctx.close), None, None


class _Spectrum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
        basis, rates = _from_eigenvectors(a)
        ctx.save_for_backward(basis, rates, reach)
        return basis, rate_matrix(rates)

    @staticmethod
    def backward(ctx: Any, grad_basis: Tensor, grad_rates: Tensor) -> tuple[Tensor, None]:
        basis, rates, reach = ctx.saved_tensors
        with full_precision(basis):
            apart = _by_planes((basis.mT @ grad_basis).mT)
            together = _by_planes(grad_rates.mT)
            alike, opposite = apart[:2], apart[2:]
            parts = []
            # a pair of planes meets at the difference of its rates, and at their sum
            for part, limits, sign in ((alike, together[:2], -1), (opposite, together[2:], 1)):
                gap, close = _gap(rates, sign), _meets(rates, reach, sign)
                inverse = torch.where(close, 0.0, 1 / torch.where(close, 1.0, gap))
                real, imaginary = part
                parts.append(torch.where(close, limits[0], imaginary * inverse))
                parts.append(torch.where(close, limits[1], -real * inverse))
            grad = basis @ _from_planes(*parts) @ basis.mT
        return torch.sub(grad, grad.mT).mul_(0.5), None


def _from_eigenvectors(a: Tensor) -> tuple[Tensor, Tensor]:
    """Planes Q [..., b, b] and rates [..., b/2] from the Hermitian i A, in float64."""
    rows = a.shape[-1]
    wide = a.double()
    size = torch.linalg.matrix_norm(wide)[..., None, None] + 1e-3
    disturbed = wide + _DISTURBANCE * size * _distinct_planes(rows, a.device)
    vectors = torch.linalg.eigh(disturbed * 1j).eigenvectors[..., rows // 2 :]
    basis = torch.view_as_real(vectors * math.sqrt(2)).flatten(-2)
    # the rates of A itself: in them the disturbance counts to second order only
    rates = rates_of(basis.mT @ wide @ basis)
    return basis.to(a.dtype), rates.to(a.dtype)


def _gap(rates: Tensor, sign: int) -> Tensor:
    """r_i + sign r_j of rates [..., b/2]: [..., b/2, b/2]."""
    return rates[..., :, None] + sign * rates[..., None, :]


def _meets(rates: Tensor, reach: Tensor, sign: int) -> Tensor:
    """Which gaps no position within reach tells from none."""
    close: Tensor = _gap(rates, sign).abs() * reach < _tolerance(rates.dtype)
    return close


def _tolerance(dtype: torch.dtype) -> float:
    """Angle, in radians, up to which two phases count as one."""
    return float(torch.finfo(dtype).eps ** 0.5)


def _by_planes(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """[..., b, b] as [..., b/2, b/2] real and imaginary parts between the phases of two planes.

    A plane's phases are (1, i) and (1, -i) over sqrt(2): first between alike ones, then between
    opposite ones; the other two combinations are the conjugates.
    """
    (a, b), (c, d) = (
        (row[..., ::2], row[..., 1::2]) for row in (matrix[..., ::2, :], matrix[..., 1::2, :])
    )
    return (a + d) / 2, (b - c) / 2, (a - d) / 2, -(b + c) / 2


def _from_planes(
    alike: Tensor, alike_imaginary: Tensor, opposite: Tensor, opposite_imaginary: Tensor
) -> Tensor:
    """The inverse of ``_by_planes``."""
    upper = torch.stack((alike + opposite, alike_imaginary - opposite_imaginary), -1)
    lower = torch.stack((-alike_imaginary - opposite_imaginary, alike - opposite), -1)
    return torch.stack((upper.flatten(-2), lower.flatten(-2)), -2).flatten(-3, -2)


def rate_matrix(rates: Tensor) -> Tensor:
    """[..., b/2] rates as [..., b, b] with [[0, -r], [r, 0]] along the diagonal."""
    rows = 2 * rates.shape[-1]
    matrix = rates.new_zeros(*rates.shape[:-1], rows, rows)
    matrix.diagonal(-1, -2, -1)[..., ::2] = rates
    matrix.diagonal(1, -2, -1)[..., ::2] = -rates
    return matrix


def rates_of(matrix: Tensor) -> Tensor:
    """The inverse of ``rate_matrix``."""
    return matrix.diagonal(-1, -2, -1)[..., ::2]


def _distinct_planes(rows: int, device: torch.device) -> Tensor:
    """A skew matrix that turns every pair of channels at its own rate, and mixes them a little."""
    rates = torch.arange(1, rows // 2 + 1, dtype=torch.float64, device=device) / rows
    index = torch.arange(rows, dtype=torch.float64, device=device)
    mixing = torch.triu(torch.cos(index[:, None] * 1.7 + index**2), 1) * (0.1 / rows)
    return rate_matrix(rates) + mixing - mixing.mT
