"""Angles that are sums of products of positions and frequencies.

A product of float32 numbers has an error of half a unit in the last place: 2e-4 radians at 4,096
radians, 0.03 at a million. Large angles are therefore computed in float64 and reduced modulo a full
turn before they are rounded; small ones are left as they are.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from liere_cli.errors import UsageError
from liere_cli.rotations.exponential.scaling_squaring import can_read_values
from liere_cli.rotations.precision import check_floating

#: radians from which an angle is reduced
LARGE = 4096.0
#: radians from which frequencies need more digits than float32 has
VERY_LARGE = 2.0**18
#: tokens up to which the angles of frequencies in training are not, where values can't be read:
#: that would take some operations more for every layer
SHORT = 4096


def linear_angles(positions: Tensor, frequencies: Tensor) -> Tensor:
    """The angles p . f, [..., T, P], of positions [T, A] and frequencies [..., A, P] float32 or
    float64, in whose dtype they are computed. Large ones are reduced modulo 2 pi, see
    :func:`product_angles`.
    """
    return product_angles(*_factors(positions, frequencies))


def projections(positions: Tensor, directions: Tensor) -> Tensor:
    """p . d as ``linear_angles``, but for numbers that are no angles: not reduced."""
    return _sum_of_products(*_factors(positions, directions))


def _factors(positions: Tensor, frequencies: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    check_floating(frequencies, "frequencies")
    if positions.ndim != 2 or positions.shape[1] != frequencies.shape[-2]:
        axes = frequencies.shape[-2]
        raise UsageError(f"positions must be [tokens, {axes}], not {list(positions.shape)}")
    columns = [p[:, None] for p in positions.to(frequencies.dtype).unbind(1)]
    return columns, [row[..., None, :] for row in frequencies.unbind(-2)]


def _sum_of_products(positions: Sequence[Tensor], frequencies: Sequence[Tensor]) -> Tensor:
    """Not a matrix product, whose factors autocast and TF32 would round."""
    total = positions[0] * frequencies[0]
    for p, f in zip(positions[1:], frequencies[1:], strict=True):
        total = torch.addcmul(total, p, f)
    return total


def product_angles(positions: Sequence[Tensor], frequencies: Sequence[Tensor]) -> Tensor:
    """sum_a p_a f_a of tensors of one dtype that are broadcast against each other; differentiable.

    In float32 those with terms of at least 4,096 radians together are between -pi and pi instead,
    exact but for one rounding. That does not apply on devices without float64, nor in training to
    fewer than 4,096 tokens where Python can't read values without waiting.
    """
    angles = _sum_of_products(positions, frequencies)
    if angles.dtype != torch.float32 or not _may_be_large(positions, frequencies, angles):
        return angles
    exact = _sum_of_products([p.double() for p in positions], [f.double() for f in frequencies])
    turns = (exact.detach() / (2 * math.pi)).round()
    reduced = (exact - 2 * math.pi * turns).to(angles.dtype)
    # terms may cancel, but not their errors
    sizes = _sum_of_products(*([x.detach().abs() for x in f] for f in (positions, frequencies)))
    return torch.where(sizes < LARGE, angles, reduced)


def need_float64(generators: Tensor, positions: Tensor) -> bool:
    """Whether frequencies of skew-symmetric float32 generators [..., b, b] are off by 0.03 radians
    or more at the farthest position, from rounding alone; False where Python can't read values.
    """
    if generators.dtype != torch.float32 or not can_read(generators, positions):
        return False
    if not positions.numel() or not generators.numel():
        return False
    # a frequency is in two entries
    fastest = float(torch.linalg.matrix_norm(generators.detach()).amax()) * math.sqrt(0.5)
    return VERY_LARGE <= fastest * _largest(positions) < math.inf


def _may_be_large(
    positions: Sequence[Tensor], frequencies: Sequence[Tensor], angles: Tensor
) -> bool:
    if angles.device.type == "mps" or not angles.numel():
        return False
    if can_read(*positions, *frequencies):
        farthest, fastest = map(_largest, positions), map(_largest, frequencies)
        return not sum(p * f for p, f in zip(farthest, fastest, strict=True)) < LARGE
    learning = torch.is_grad_enabled() and any(f.requires_grad for f in frequencies)
    return not learning or max(len(p) for p in positions) >= SHORT


def _largest(x: Tensor) -> float:
    return float(x.detach().abs().amax())


def can_read(*tensors: Tensor) -> bool:
    """Whether Python can read values: not on a GPU, in a graph, or under a transform."""
    return (
        all(can_read_values(x) and type(x) in (Tensor, nn.Parameter) for x in tensors)
        and not torch._C._are_functorch_transforms_active()
        and not torch._C._is_tracing()
    )
