"""Exponentials of skew-symmetric matrices by exponential_device.py.

Shapes: G matrices, b rows.
"""

from typing import Any, cast

import torch
from torch import Tensor

from liere_cli.rotations.kernels.triton.support import device_code, processors, serves, tile_of

#: largest number of rows that kernels are compiled for
MAX_ROWS = 64
#: squarings after which no digit is correct, and how many of the last ones are of exp(X) itself
MAX_SQUARINGS, PLAIN_SQUARINGS = 22, 4
#: names of the coefficients, in the order of ``exponential_kernel``
COEFFICIENTS = ("Y1", "Y2", "X1", "X3", "X4", "X5", "X6", "X7", "RADIUS")
#: how products of float32 tiles are computed, see ``tiles_device.product``
PRECISION = "tf32x3"


def exponential_kernel(a: Tensor, polynomial: tuple[float, ...]) -> "ExponentialKernel | None":
    """The kernel for float32 matrices like these [..., b, b]; the polynomial is y1, y2, x1, x3, x4,
    x5, x6, x7 and the largest norm that it serves.
    """
    if a.dtype != torch.float32 or a.shape[-1] > MAX_ROWS or not serves(a):
        return None
    return ExponentialKernel(polynomial)


class ExponentialKernel:
    """The operations of exponential_device.py, as ``kernels.exponential.ExponentialKernel``. Every
    matrix is computed by itself.
    """

    def __init__(self, polynomial: tuple[float, ...]) -> None:
        self._polynomial = list(polynomial)

    def exponential(self, a: Tensor) -> Tensor:
        """exp of skew-symmetric [..., b, b]; all NaN where the norm is too large for any digit."""
        return cast(Tensor, _exponential(a.contiguous(), self._polynomial))

    def exponential_backward(
        self, a: Tensor, grad: Tensor, rotations: Tensor | None = None
    ) -> Tensor:
        """The skew part of the gradient to a, from the gradient to ``exponential``'s result; writes
        the exponential to ``rotations``, contiguous, if given.
        """
        grad = grad if grad.mT.is_contiguous() else grad.contiguous()
        return cast(Tensor, _backward(a.contiguous(), grad, self._polynomial, rotations))


def constants(rows: int, polynomial: list[float]) -> dict[str, Any]:
    """Arguments that kernels are compiled for."""
    tile, padded = tile_of(rows)
    return {
        **dict(zip(COEFFICIENTS, polynomial, strict=True)),
        "MAX": MAX_SQUARINGS,
        "PLAIN": PLAIN_SQUARINGS,
        "ROWS": rows,
        "PADDED": padded,
        "TILE": tile,
        "PRECISION": PRECISION,
    }


def warps(tile: int, backward: bool) -> int:
    """Warps of a program: as many as its tiles need registers for."""
    return {16: 1, 32: 4, 64: 8}[tile] if backward else {16: 1, 32: 2, 64: 4}[tile]


@torch.library.custom_op("liere::skew_exp", mutates_args=())
def _exponential(a: Tensor, polynomial: list[float]) -> Tensor:
    device = device_code("exponential")
    rows = a.shape[-1]
    tile, padded = tile_of(rows)
    count, out = a.shape[:-2].numel(), torch.empty_like(a)
    tiles = -(-count // (tile // padded))
    if tiles:
        given = constants(rows, polynomial)
        device.exponential[(tiles,)](a, out, count, **given, num_warps=warps(tile, False))
    return out


@_exponential.register_fake
def _(a: Tensor, polynomial: list[float]) -> Tensor:
    return torch.empty_like(a)


@torch.library.custom_op("liere::skew_exp_backward", mutates_args=("rotations",))
def _backward(a: Tensor, grad: Tensor, polynomial: list[float], rotations: Tensor | None) -> Tensor:
    device = device_code("exponential")
    rows = a.shape[-1]
    tile, padded = tile_of(rows)
    count, result = a.shape[:-2].numel(), torch.empty_like(a)
    tiles = -(-count // (tile // padded))
    if tiles:
        rotations_or_unused = result if rotations is None else rotations
        programs = min(tiles, processors(a) * (64 // tile))
        levels = a.new_empty(programs, 6 + MAX_SQUARINGS, tile, tile)
        device.exponential_backward[(programs,)](
            *(
                a,
                grad,
                result,
                rotations_or_unused,
                levels,
                count,
                tiles,
                *grad.stride()[-2:],
                tile,
            ),
            **constants(rows, polynomial),
            ROTATIONS=rotations is not None,
            num_warps=warps(tile, True),
            num_stages=1,
        )
    return result


@_backward.register_fake
def _(a: Tensor, grad: Tensor, polynomial: list[float], rotations: Tensor | None) -> Tensor:
    return torch.empty_like(a)
