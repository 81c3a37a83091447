"""Skew-symmetric matrices, A = U - U^T."""

import torch
from torch import Tensor


def skew(u: Tensor) -> Tensor:
    """U - U^T of [..., b, b]."""
    return u - u.mT


def skew_from_upper(entries: Tensor, rows: int) -> Tensor:
    """U - U^T, [..., b, b], of a strictly upper triangular U of that many rows, from its entries
    above the diagonal, row by row, [..., b (b - 1) / 2]; differentiable.
    """
    row, column = torch.triu_indices(rows, rows, 1, device=entries.device).unbind()
    flat = entries.new_zeros(*entries.shape[:-1], rows**2)
    flat = flat.index_copy(-1, row * rows + column, entries)
    return skew(flat.unflatten(-1, (rows, rows)))
