"""Random skew-symmetric matrices of a given size, and both ways to compute with them."""

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from liere_cli.rotations.kernels.compiler import find_compiler, without_kernels

WAYS = ("compiled", "batched")


def both_ways(request: pytest.FixtureRequest) -> Iterator[None]:
    """A fixture over ``WAYS``: a test runs with and without what a C compiler makes."""
    if request.param == "compiled" and find_compiler() is None:
        pytest.skip("no C compiler works")
    with without_kernels() if request.param == "batched" else nullcontext():
        yield


def random_skew(
    *shape: int, norm: float = 1.0, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """[*shape] skew-symmetric, the largest spectral norm being ``norm``."""
    u = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    a = u - u.mT
    size = torch.linalg.matrix_norm(a, 2).amax().clamp(min=1e-30)
    return (a * (norm / size)).to(dtype)
