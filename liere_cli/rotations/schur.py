"""Real Schur form of skew-symmetric matrices: A = Q D Q^T with orthogonal Q.

D is zero but for blocks [[0, -f], [f, 0]] along its diagonal: exp(p D) rotates b/2 planes by the
angles p f. D is called quasi-diagonal, the f are frequencies in radians per unit of position.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from liere_cli.errors import UsageError
from liere_cli.rotations.derivatives import backward_is_composed, composed
from liere_cli.rotations.exponential.scaling_squaring import can_read_values
from liere_cli.rotations.kernels.schur import SchurKernel, schur_kernel
from liere_cli.rotations.kernels.triton import schur as triton
from liere_cli.rotations.precision import check_square, full_precision
from liere_cli.rotations.skew_symmetric import skew

#: relative size of a perturbation that separates the two vectors of a plane at frequency 0
_PERTURBATION = 1e-9


class SchurForm(NamedTuple):
    """A = Q D Q^T, in the dtype of A.

    Only first derivatives in reverse mode pass through D. For others the functions that take a
    Schur form compute exp(p A), and their gradients to Q are dropped, as any orthogonal Q cancels
    in products of queries and keys.

    Args:
        generators: A, [..., b, b].
        frame: Q for those functions.
        basis: Q, [..., b, b] orthogonal.
        quasi_diagonal: D, [..., b, b]; its gradient is kept transposed.
        frequencies: the f, [..., b/2].
        distinct: no position resolves a frequency as 0 or two of them as equal, so that gradients
            reach A through ``frequencies`` alone; always False without a compiled kernel, which
            does not check.
    """

    generators: Tensor
    frame: Tensor
    basis: Tensor
    quasi_diagonal: Tensor
    frequencies: Tensor
    distinct: bool = False
    #: Q is the identity, D is A and frequencies are NaN: the rotations are to be composed
    trivial: bool = False

    def unbind(self) -> tuple["SchurForm", ...]:
        """One for each index of the first dimension."""
        tensors = (self.generators, self.frame, self.basis, self.quasi_diagonal, self.frequencies)
        parts = zip(*(x.unbind() for x in tensors), strict=True)
        forms = (SchurForm(*part) for part in parts)
        return tuple(form._replace(distinct=self.distinct, trivial=self.trivial) for form in forms)


def real_schur(a: Tensor, positions: Tensor) -> SchurForm:
    """Real Schur form of skew-symmetric matrices.

    Computed in float64, from singular vectors, but for float32 without a compiled kernel from
    eigenvectors. Q is unique up to a rotation of each plane only. The gradient is that of a loss
    which depends on products of queries and keys, where such rotations cancel: divided differences
    of exp (Daleckii and Krein), replaced by the derivative where frequencies coincide. On a GPU
    the decomposition waits for the device, once a call. Where a gradient needs more than that
    (``composed``), nothing is decomposed and Q is the identity.

    Args:
        a: [..., b, b] float32 or float64, b even.
        positions: [T], which bound the angles; if they need a gradient, nothing is decomposed.

    Raises:
        UsageError: not square, an odd number of rows, or another dtype.
    """
    check_square(a)
    if a.shape[-1] % 2:
        raise UsageError(f"generators must have an even number of rows, not {a.shape[-1]}")
    if composed(positions):
        identity = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device).expand_as(a)
        unknown = a.new_full((*a.shape[:-2], a.shape[-1] // 2), math.nan)
        return SchurForm(a, identity, identity, a, unknown, trivial=True)
    largest = F.pad(positions.detach().flatten(), (0, 1)).abs().amax().to(a.dtype)
    with full_precision(a):
        kernel = schur_kernel(a) if can_read_values(a) else None
        if kernel is not None:
            min_gap = _tolerance(a.dtype) / max(float(largest), torch.finfo(a.dtype).tiny)
            basis, *others = _CompiledSchur.apply(a, kernel, min_gap)  # type: ignore[no-untyped-call]
            return SchurForm(a, _Frame.apply(basis), basis, *others)  # type: ignore[no-untyped-call]
        basis, quasi_diagonal = _RealSchur.apply(a, largest)  # type: ignore[no-untyped-call]
    frame = _Frame.apply(basis)  # type: ignore[no-untyped-call]
    return SchurForm(a, frame, basis, quasi_diagonal, frequencies_of(quasi_diagonal.detach()))


class _Frame(torch.autograd.Function):
    """Q, without a gradient in a backward pass where ``generators`` have the whole of it."""

    @staticmethod
    def forward(ctx: Any, basis: Tensor) -> Tensor:
        return basis.view_as(basis)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor | None:
        return None if backward_is_composed(grad) else grad


class _CompiledSchur(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, kernel: SchurKernel, min_gap: float
    ) -> tuple[Tensor, Tensor, Tensor, bool]:
        basis, quasi_diagonal, frequencies, any_close = kernel.real_schur(a, min_gap)
        ctx.kernel, ctx.min_gap = kernel, min_gap
        ctx.save_for_backward(basis, quasi_diagonal)
        ctx.set_materialize_grads(False)
        return basis, quasi_diagonal, frequencies, not any_close

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None, None]:
        basis, quasi_diagonal = ctx.saved_tensors
        if _reaches_through_rotations(grads[:3]):
            return None, None, None
        likes = (basis, quasi_diagonal, basis[..., ::2, 0])
        full = [torch.zeros_like(x) if g is None else g for x, g in zip(likes, grads, strict=False)]
        saved = (basis, quasi_diagonal)
        return ctx.kernel.real_schur_backward(*saved, full, ctx.min_gap), None, None


class _RealSchur(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, largest_position: Tensor) -> tuple[Tensor, Tensor]:
        basis, frequencies = _decompose(a)
        ctx.save_for_backward(basis, frequencies, largest_position)
        ctx.set_materialize_grads(False)
        return basis, to_quasi_diagonal(frequencies)

    @staticmethod
    def backward(
        ctx: Any, grad_basis: Tensor | None, grad_diagonal: Tensor | None
    ) -> tuple[Tensor | None, None]:
        basis, frequencies, largest_position = ctx.saved_tensors
        if _reaches_through_rotations((grad_basis, grad_diagonal)):
            return None, None
        grad_basis = torch.zeros_like(basis) if grad_basis is None else grad_basis
        grad_diagonal = torch.zeros_like(basis) if grad_diagonal is None else grad_diagonal
        with full_precision(basis):
            apart = _plane_pairs((basis.mT @ grad_basis).mT)
            limits = _plane_pairs(grad_diagonal.mT)
            parts = []
            # eigenvalues i f of two planes differ by i (f_i - f_j) or by i (f_i + f_j)
            equal, opposite = (apart[:2], limits[:2], -1), (apart[2:], limits[2:], 1)
            for (real, imaginary), limit, sign in (equal, opposite):
                gap = frequencies[..., :, None] + sign * frequencies[..., None, :]
                close = gap.abs() * largest_position < _tolerance(frequencies.dtype)
                inverse = torch.where(close, 0.0, 1 / torch.where(close, 1.0, gap))
                parts.append(torch.where(close, limit[0], imaginary * inverse))
                parts.append(torch.where(close, limit[1], -real * inverse))
            grad = basis @ _from_plane_pairs(*parts) @ basis.mT
        return torch.sub(grad, grad.mT).mul_(0.5), None


def _decompose(a: Tensor) -> tuple[Tensor, Tensor]:
    """Q [..., b, b] and frequencies [..., b/2] in the dtype of A; NaN where A is not finite."""
    finite = a.isfinite().all(-1).all(-1)
    known = a.masked_fill(~finite[..., None, None], 0.0)
    form = triton.real_schur(known)
    if form is None:
        # eigenvectors are accurate enough for float32, and take fewer operations
        decompose = _from_singular_vectors if a.dtype == torch.float64 else _from_eigenvectors
        form = decompose(known)
    basis, frequencies = (x.to(a.dtype) for x in form)
    basis = basis.masked_fill(~finite[..., None, None], math.nan)
    return basis, frequencies.masked_fill(~finite[..., None], math.nan)


def _from_singular_vectors(a: Tensor) -> tuple[Tensor, Tensor]:
    """As schur.c: from the singular vectors of half of a tridiagonal matrix, which are well
    separated where frequencies are zero or equal.
    """
    q, t = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device).expand_as(a), a
    for k in range(a.shape[-1] - 2):
        # the reflection of the last axes that leaves one entry of column k below the diagonal
        v = t[..., k] * (torch.arange(a.shape[-1], device=a.device) > k)
        norm = torch.linalg.vector_norm(v, dim=-1)
        first = norm.copysign(v[..., k + 1])
        v = torch.cat((v[..., : k + 1], (v[..., k + 1] + first)[..., None], v[..., k + 2 :]), -1)
        squared = v.square().sum(-1)[..., None, None]
        scaled = v[..., None] * torch.where(squared > 0, 2 / squared, 0.0)
        t = t - scaled @ (v[..., None, :] @ t)
        t = t - (t @ v[..., None]) @ scaled.mT
        q = q - (q @ v[..., None]) @ scaled.mT
    left, frequencies, right = torch.linalg.svd(t[..., ::2, 1::2])
    planes = torch.stack((q[..., 1::2] @ right.mT, q[..., ::2] @ left), -1)
    return planes.flatten(-2), frequencies


def _reaches_through_rotations(grads: Sequence[Tensor | None]) -> bool:
    """Whether the backward pass is a composition, whose gradients reach the generators directly.

    Raises:
        UsageError: it is, but other functions than those of this package have used Q or D.
    """
    if not backward_is_composed(*grads):
        return False
    if any(grad is not None for grad in grads):
        raise UsageError(
            "real_schur: second derivatives of a loss that depends on the basis or the frequencies "
            "other than through rotate_one_axis, rotate_by_steps, change_basis and fold_basis are "
            "not supported; use torch.linalg.eigh"
        )
    return True


def _from_eigenvectors(a: Tensor) -> tuple[Tensor, Tensor]:
    """From the Hermitian i A, in float64."""
    rows = a.shape[-1]
    wide = a.double()
    size = torch.linalg.matrix_norm(wide)[..., None, None] + 1e-3
    perturbed = wide + _PERTURBATION * size * _distinct_planes(rows, a.device)
    vectors = torch.linalg.eigh(perturbed * 1j).eigenvectors[..., rows // 2 :]
    basis = torch.view_as_real(vectors * math.sqrt(2)).flatten(-2)
    # the frequencies of A itself, on which the perturbation has a second-order effect only
    frequencies = frequencies_of(basis.mT @ wide @ basis)
    return basis.to(a.dtype), frequencies.to(a.dtype)


def _tolerance(dtype: torch.dtype) -> float:
    """Difference, in radians, up to which two angles are treated as equal."""
    return float(torch.finfo(dtype).eps ** 0.5)


def _plane_pairs(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """[..., b, b] between the eigenvectors (1, i) / sqrt(2) and (1, -i) / sqrt(2) of every plane:
    real and imaginary parts [..., b/2, b/2], first between eigenvectors of equal sign, then of
    opposite sign; the other two combinations are the conjugates.
    """
    (a, b), (c, d) = (
        (row[..., ::2], row[..., 1::2]) for row in (matrix[..., ::2, :], matrix[..., 1::2, :])
    )
    return (a + d) / 2, (b - c) / 2, (a - d) / 2, -(b + c) / 2


def _from_plane_pairs(
    equal: Tensor, equal_imaginary: Tensor, opposite: Tensor, opposite_imaginary: Tensor
) -> Tensor:
    """The inverse of ``_plane_pairs``."""
    upper = torch.stack((equal + opposite, equal_imaginary - opposite_imaginary), -1)
    lower = torch.stack((-equal_imaginary - opposite_imaginary, equal - opposite), -1)
    return torch.stack((upper.flatten(-2), lower.flatten(-2)), -2).flatten(-3, -2)


def to_quasi_diagonal(frequencies: Tensor) -> Tensor:
    """[..., b/2] frequencies as [..., b, b] with [[0, -f], [f, 0]] along the diagonal."""
    rows = 2 * frequencies.shape[-1]
    matrix = frequencies.new_zeros(*frequencies.shape[:-1], rows, rows)
    matrix.diagonal(-1, -2, -1)[..., ::2] = frequencies
    matrix.diagonal(1, -2, -1)[..., ::2] = -frequencies
    return matrix


def frequencies_of(quasi_diagonal: Tensor) -> Tensor:
    """The inverse of ``to_quasi_diagonal``."""
    return quasi_diagonal.diagonal(-1, -2, -1)[..., ::2]


def _distinct_planes(rows: int, device: torch.device) -> Tensor:
    """A skew-symmetric matrix of distinct frequencies whose planes are slightly mixed channels."""
    frequencies = torch.arange(1, rows // 2 + 1, dtype=torch.float64, device=device) / rows
    index = torch.arange(rows, dtype=torch.float64, device=device)
    mixing = torch.triu(torch.cos(index[:, None] * 1.7 + index**2), 1) * (0.1 / rows)
    return to_quasi_diagonal(frequencies) + skew(mixing)
