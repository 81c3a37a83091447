"""Random skew-symmetric matrices of a given size, for the tests of rotations."""

import torch
from torch import Tensor


def random_skew(
    *shape: int, norm: float = 1.0, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """[*shape] skew-symmetric, the largest spectral norm being ``norm``."""
    u = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    a = u - u.mT
    size = torch.linalg.matrix_norm(a, 2).amax().clamp(min=1e-30)
    return (a * (norm / size)).to(dtype)
