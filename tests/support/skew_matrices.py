"""Random skew-symmetric matrices, and a fixture for compiled and batched computation."""

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from liere_cli.rotations import schur
from liere_cli.rotations.exponential import scaling_squaring, shared_taylor, skew_exp
from liere_cli.rotations.kernels.compiler import find_compiler, without_kernels

WAYS = ("compiled", "batched")


def both_ways(request: pytest.FixtureRequest) -> Iterator[None]:
    """A fixture over ``WAYS``: tests run with and without compiled kernels."""
    if request.param == "compiled" and find_compiler() is None:
        pytest.skip("no C compiler was found")
    with without_kernels() if request.param == "batched" else nullcontext():
        yield


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of tensors on the CPU count as unreadable too, as those on a GPU and in a graph."""
    for module in (schur, scaling_squaring, shared_taylor, skew_exp):
        monkeypatch.setattr(module, "can_read_values", lambda x: False)


def random_skew(
    *shape: int, norm: float = 1.0, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """[*shape] skew-symmetric matrices whose largest spectral norm is ``norm``."""
    u = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    a = u - u.mT
    size = torch.linalg.matrix_norm(a, 2).amax().clamp(min=1e-30)
    return (a * (norm / size)).to(dtype)
