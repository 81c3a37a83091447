"""Rotations of half precision: float32 products with one rounding, whatever rotates."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from liere_cli.rotations import (
    one_axis_table,
    phases,
    real_schur,
    rotate_blocks,
    rotate_on_grid,
    rotate_one_axis,
    rotate_planes,
    skew_exp,
)
from support.skew_matrices import random_skew

TOKENS, HEAD = 48, 32
Rotation = Callable[[Tensor], tuple[Tensor, ...]]


def score_error(rotate: Callable[[Tensor, torch.dtype], Tensor], x: Tensor) -> float:
    """Root mean square of the error of scores of bfloat16 queries and keys, relative to scores."""
    exact, narrow = rotate(x.double(), torch.float64), rotate(x, torch.float32)
    assert narrow.dtype == torch.bfloat16
    q, k = exact
    scores = q @ k.mT
    q, k = narrow.double()
    return float((q @ k.mT - scores).square().mean().sqrt() / scores.square().mean().sqrt())


@pytest.mark.parametrize("form", ["blocks-8", "blocks-32", "grid-8", "one-axis", "prefix"])
def test_scores_are_as_accurate_as_rotary(form: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 8, 4, TOKENS, HEAD).bfloat16()
    rows = 32 if form == "blocks-32" else 8
    generators = random_skew(1, HEAD // rows, 2, rows, rows, norm=20.0)
    positions = torch.rand(TOKENS, 2, dtype=torch.float64)
    angles = 20 * torch.rand(1, TOKENS, HEAD // 2, dtype=torch.float64)

    def rotary(x: Tensor, wide: torch.dtype) -> Tensor:
        return torch.stack([rotate_planes(part, phases(angles.to(wide))) for part in x])

    def ours(x: Tensor, wide: torch.dtype) -> Tensor:
        at, a = positions.to(wide), generators.to(wide)
        if form == "grid-8":
            return torch.stack(rotate_on_grid(a, at, *x))
        if form.startswith("blocks"):
            exponents = torch.einsum("ta,hnaij->hntij", at, a)
            return torch.stack(rotate_blocks(skew_exp(exponents), *x))
        line = at[1:, 0] if form == "prefix" else at[:, 0]
        schur = real_schur(a[:, :, 0], line)
        return torch.stack(rotate_one_axis(schur, one_axis_table(schur, line), line, *x))

    # 2% for what differs by chance; rounding the rotations too would add 40%
    assert score_error(ours, x) <= 1.02 * score_error(rotary, x)
