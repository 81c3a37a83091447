"""Rotations of one axis: all exp(p A) commute, so no position needs a matrix of its own.

A = Q D Q^T with D turning b/2 planes gives exp(p A) = Q exp(p D) Q^T. What queries and keys have in
common cancels in their products, so the outer Q is dropped: one change of basis for every head,
then plain rotary.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim = n * b.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from liere_cli.errors import UsageError
from liere_cli.rotations.blocks import check_fit
from liere_cli.rotations.planes import linear_angles, phases, turn
from liere_cli.rotations.precision import check_square, full_precision

#: size of the disturbance that keeps the two halves of a plane apart where A does not turn it
_DISTURBANCE = 1e-9


class Spectrum(NamedTuple):
    """A = Q D Q^T, in the dtype of A.

    Args:
        basis: Q, [..., b, b] orthogonal.
        rates: D, [..., b, b], zero but for [[0, -r], [r, 0]] along its diagonal.
        reach: the largest |p| that will be asked for, a scalar; it decides which rates are so
            close that no position tells them apart.
    """

    basis: Tensor
    rates: Tensor
    reach: Tensor


def spectrum(a: Tensor, positions: Tensor) -> Spectrum:
    """The planes that a skew-symmetric matrix turns, and how fast.

    The eigenvectors are computed in float64. Their gradient is not that of any basis, as bases are
    free up to a phase, but what reaches A from a loss that sees queries and keys through their
    products only: divided differences of exp (Daleckii and Krein), the derivative where rates
    coincide. On a GPU the eigenvectors wait for the device, once a call.

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
        basis, rates = _Spectrum.apply(a, reach)  # type: ignore[no-untyped-call]
    return Spectrum(basis, rates, reach)


class _Spectrum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
        rows = a.shape[-1]
        wide = a.double()
        size = torch.linalg.matrix_norm(wide)[..., None, None] + 1e-3
        disturbed = wide + _DISTURBANCE * size * _distinct_planes(rows, a.device)
        vectors = torch.linalg.eigh(disturbed * 1j).eigenvectors[..., rows // 2 :]
        basis = torch.view_as_real(vectors * math.sqrt(2)).flatten(-2)
        # the rates of A itself: in them the disturbance counts to second order only
        rates = rates_of(basis.mT @ wide @ basis).to(a.dtype)
        basis = basis.to(a.dtype)
        ctx.save_for_backward(basis, rates, reach)
        return basis, rate_matrix(rates)

    @staticmethod
    def backward(ctx: Any, grad_basis: Tensor, grad_rates: Tensor) -> tuple[Tensor, None]:
        basis, rates, reach = ctx.saved_tensors
        with full_precision(basis):
            apart = _to_phases((basis.mT @ grad_basis).mT)
            together = _to_phases(grad_rates.mT)
            # the conjugate eigenvalues of A
            values = torch.stack((rates, -rates), -1).flatten(-2) * 1j
            gaps = values[..., :, None] - values[..., None, :]
            limit = torch.finfo(rates.dtype).eps ** 0.5
            close = gaps.abs() * reach < limit
            grad = torch.where(close, together, apart / torch.where(close, 1.0, gaps))
            grad_a = basis @ _from_phases(grad) @ basis.mT
        return torch.sub(grad_a, grad_a.mT).mul_(0.5), None


def rate_matrix(rates: Tensor) -> Tensor:
    """[..., b/2] rates as [..., b, b] with [[0, -r], [r, 0]] along the diagonal."""
    zero = torch.zeros_like(rates)
    upper = torch.stack((-rates, zero), -1).flatten(-2)[..., :-1]
    return torch.diag_embed(upper, 1) - torch.diag_embed(upper, -1)


def rates_of(matrix: Tensor) -> Tensor:
    """The inverse of ``rate_matrix``."""
    return matrix.diagonal(-1, -2, -1)[..., ::2]


def _distinct_planes(rows: int, device: torch.device) -> Tensor:
    """A skew matrix that turns every pair of channels at its own rate, and mixes them a little."""
    rates = torch.arange(1, rows // 2 + 1, dtype=torch.float64, device=device) / rows
    index = torch.arange(rows, dtype=torch.float64, device=device)
    mixing = torch.triu(torch.cos(index[:, None] * 1.7 + index**2), 1) * (0.1 / rows)
    return rate_matrix(rates) + mixing - mixing.mT


def _to_phases(matrix: Tensor) -> Tensor:
    """W^H M W, W the unitary matrix that makes a plane's two channels its two phases."""
    unitary = _phases_of_planes(matrix)
    return unitary.mH @ matrix.to(unitary.dtype) @ unitary


def _from_phases(matrix: Tensor) -> Tensor:
    """Re(W M W^H)."""
    unitary = _phases_of_planes(matrix.real)
    return (unitary @ matrix @ unitary.mH).real


def _phases_of_planes(like: Tensor) -> Tensor:
    plane = torch.tensor([[1, 1], [1j, -1j]], dtype=torch.complex128, device=like.device)
    identity = torch.eye(like.shape[-1] // 2, dtype=torch.complex128, device=like.device)
    unitary = torch.kron(identity, plane * math.sqrt(0.5))
    return unitary.to(torch.complex128 if like.dtype == torch.float64 else torch.complex64)


def line_table(lines: Spectrum, positions: Tensor) -> Tensor:
    """Cosines and sines for ``rotate_line``, [N or 1, T, H/2, 2], of spectra [N or 1, n, ...]."""
    rates = rates_of(lines.rates.detach()).flatten(1)
    return phases(linear_angles(positions[:, None], rates[:, None]))


def rotate_line(
    lines: Spectrum, table: Tensor, positions: Tensor, *xs: Tensor
) -> tuple[Tensor, ...]:
    """exp(p A) x for every token, up to the rotation Q that all tokens of a head share.

    With a prefix, Q is applied too, so that the prefix passes unchanged.

    Args:
        lines: spectra of the generators [N or 1, n, b, b].
        table: ``line_table`` of them.
        positions: [T].
        xs: each [B, N, S, n*b] of one shape and dtype.

    Returns:
        As many tensors of that shape and dtype; exact gradients flow to them, and through ``lines``
        to the generators for any loss of products of rotated tensors.
    """
    heads, blocks, rows, _ = lines.basis.shape
    check_fit(torch.Size((heads, blocks, len(positions), rows, rows)), xs)
    with full_precision(lines.basis):
        basis = _block_diagonal(lines.basis)
        rates = _block_diagonal(lines.rates)
        args = (basis, rates, table, positions.detach(), *xs)
        turned: tuple[Tensor, ...] = _RotateLine.apply(*args)  # type: ignore[no-untyped-call]
        prefix = xs[0].shape[2] - len(positions)
        if prefix:
            turned = tuple(
                torch.cat((x[:, :, :prefix], y[:, :, prefix:] @ basis.mT.to(y.dtype)), 2)
                for x, y in zip(xs, turned, strict=True)
            )
    return turned


def _block_diagonal(blocks: Tensor) -> Tensor:
    """[N, n, b, b] as [N, n*b, n*b]."""
    heads, count, rows, _ = blocks.shape
    if count == 1:
        return blocks[:, 0]
    identity = torch.eye(count, dtype=blocks.dtype, device=blocks.device)
    whole = blocks[:, :, :, None] * identity[:, None, :, None]
    return whole.reshape(heads, count * rows, count * rows)


class _RotateLine(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, basis: Tensor, rates: Tensor, table: Tensor, positions: Tensor, *xs: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(basis, table, positions, *xs)
        outs = []
        for x in xs:
            rows = torch.bmm(_head_rows(x, basis), basis.to(x.dtype))
            outs.append(turn(_from_head_rows(rows, x), table, "interleaved"))
        return tuple(outs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        basis, table, positions, *xs = ctx.saved_tensors
        with full_precision(basis):
            prefix = xs[0].shape[2] - len(positions)
            weights = torch.nn.functional.pad(positions, (prefix, 0))[:, None]
            grad_basis, grad_rates = torch.zeros_like(basis), torch.zeros_like(basis)
            grad_xs = []
            for x, grad in zip(xs, grads, strict=True):
                back = turn(grad, table, "interleaved", inverse=True)
                rows, back_rows = _head_rows(x, basis), _head_rows(back, basis)
                back_x = torch.bmm(back_rows, basis.mT.to(back.dtype))
                grad_xs.append(_from_head_rows(back_x, x))
                grad_basis += torch.bmm(rows.mT, back_rows)
                moments = _head_rows(back * weights.to(back.dtype), basis)
                grad_rates += torch.bmm(rows.mT, moments)
            return grad_basis, basis.mT @ grad_rates, None, None, *grad_xs


def _head_rows(x: Tensor, basis: Tensor) -> Tensor:
    """[B, N, S, H] as [N, B*S, H], or [1, N*B*S, H] for one basis: a view where strides allow it."""
    return x.transpose(0, 1).reshape(len(basis), -1, x.shape[-1])


def _from_head_rows(rows: Tensor, like: Tensor) -> Tensor:
    batch, heads, length, channels = like.shape
    return rows.view(heads, batch, length, channels).transpose(0, 1)
