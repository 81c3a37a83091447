"""Real Schur form of skew-symmetric matrices by schur_device.py."""

from typing import Any, cast

import torch
from torch import Tensor

from liere_cli.rotations.kernels.triton.support import device_code, power_of_two, serves

#: largest number of rows that the kernel is compiled for
MAX_ROWS = 64
#: sweeps after which the method ends, converged or not; 5 to 8 are enough
SWEEPS = 16
#: share of the sum of squares that may remain outside of the planes
TOLERANCE = 1e-29


def real_schur(a: Tensor) -> tuple[Tensor, Tensor] | None:
    """Q [..., b, b] and frequencies [..., b/2], at least 0, in float64, of finite skew-symmetric
    matrices, b even; nothing waits for the device. None where the kernel can't serve.
    """
    if a.dtype not in (torch.float32, torch.float64) or a.shape[-1] > MAX_ROWS or not serves(a):
        return None
    return cast(tuple[Tensor, Tensor], _real_schur(a.contiguous()))


def constants(rows: int) -> dict[str, Any]:
    """Arguments that the kernel is compiled for."""
    planes = max(2, power_of_two(rows // 2))
    return {"ROWS": rows, "PLANES": planes, "SWEEPS": SWEEPS, "TOLERANCE": TOLERANCE}


def warps(rows: int) -> int:
    """Warps of a program."""
    return 16 if rows > 32 else 4 if rows > 16 else 1


@torch.library.custom_op("liere::real_schur", mutates_args=())
def _real_schur(a: Tensor) -> tuple[Tensor, Tensor]:
    device, rows = device_code("schur"), a.shape[-1]
    basis, frequencies = _outputs(a)
    count = a.shape[:-2].numel()
    if count and rows:
        options = {"num_warps": warps(rows)}
        device.real_schur[(count,)](a, basis, frequencies, **constants(rows), **options)
    return basis, frequencies


@_real_schur.register_fake
def _(a: Tensor) -> tuple[Tensor, Tensor]:
    return _outputs(a)


def _outputs(a: Tensor) -> tuple[Tensor, Tensor]:
    basis = a.new_empty(a.shape, dtype=torch.float64)
    return basis, basis.new_empty(*a.shape[:-2], a.shape[-1] // 2)
