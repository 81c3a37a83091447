"""Rotations of every position of a grid."""
from torch import Tensor
import torch
from liere_cli.rotations.precision import full_precision
from liere_cli.rotations.skew import skew_exp


def grid_exp(generators: Tensor, positions: Tensor) -> Tensor:
    """exp(sum_a p_a A_a): [..., A, b, b], [T, A] -> [..., T, b, b]."""
    with full_precision(generators):
        exponents = torch.einsum("ta,...aij->...tij", positions.to(generators.dtype), generators)
        return skew_exp(exponents.contiguous())
