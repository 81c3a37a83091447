"""Random skew-symmetric matrices of a given size, and both ways to compute with them."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from liere_cli.rotations import line, planes, series
from liere_cli.rotations.compiled import find_compiler

WAYS = ("compiled", "batched")


def both_ways(request: pytest.FixtureRequest) -> Iterator[None]:
    """A fixture over ``WAYS``: a test runs with and without what a C compiler makes."""
    if request.param == "compiled" and find_compiler() is None:
        pytest.skip("no C compiler answers")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "batched":
            patch.setattr(series, "kernel_for", lambda a, series: None)
            patch.setattr(line, "spectra_for", lambda a: None)
            patch.setattr(planes, "turning_for", lambda qkv, table: None)
        yield


def random_skew(
    *shape: int, norm: float = 1.0, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """[*shape] skew-symmetric, the largest spectral norm being ``norm``."""
    u = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    a = u - u.mT
    size = torch.linalg.matrix_norm(a, 2).amax().clamp(min=1e-30)
    return (a * (norm / size)).to(dtype)
