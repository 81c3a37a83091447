"""Rotation of a projection by angles, with gradients to the angles from the kernel that rotates.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim, L layers.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from liere_cli.rotations.angles import linear_angles
from liere_cli.rotations.apply.planes import (
    AnyPlaneKernel,
    Layout,
    compiled_planes,
    phases,
    rotate_projected,
    split_projection,
    unrotated_projection,
)
from liere_cli.rotations.derivatives import (
    backward_is_composed,
    composed,
    gradients,
    with_value,
)
from liere_cli.rotations.kernels.triton.support import serves


class LayerAngles(NamedTuple):
    """Angles [N or 1, T, H/2] of each layer, or of all, and their cosines and sines, [..., 2]."""

    angles: tuple[Tensor, ...]
    phases: tuple[Tensor, ...]

    def of(self, layer: int) -> tuple[Tensor, Tensor]:
        """Angles and phases of a layer."""
        layer = layer if len(self.angles) > 1 else 0
        return self.angles[layer], self.phases[layer]


def layer_angles(positions: Tensor, frequencies: Callable[[slice], Tensor]) -> LayerAngles | None:
    """The angles of all layers at positions [T, A] and ``frequencies(slice(None))``,
    [L, N or 1, A, H/2] float32; None where no kernel has gradients to angles.
    """
    if torch.compiler.is_compiling() or not serves(positions):
        return None
    angles = linear_angles(positions, frequencies(slice(None)))
    return LayerAngles(angles.unbind(), phases(angles.detach()).unbind())


def rotate_projected_by_angles(
    qkv: Tensor, angles: Tensor, table: Tensor, layout: Layout
) -> tuple[Tensor, Tensor, Tensor]:
    """``rotate_projected`` by ``table``, the phases of ``angles`` [N or 1, T, H/2], to which its
    gradient flows; the table is a constant.
    """
    kernel = None if composed() else compiled_planes(qkv, table, layout)
    if kernel is None:
        return rotate_projected(qkv, phases(angles), layout)
    rotated = _RotateByAngles.apply(qkv, angles, table, layout, kernel)  # type: ignore[no-untyped-call]
    return cast(tuple[Tensor, Tensor, Tensor], rotated)


class _RotateByAngles(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, angles: Tensor, table: Tensor, layout: Layout, kernel: AnyPlaneKernel
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.layout, ctx.kernel, ctx.shape = layout, kernel, angles.shape
        kernel.rotate(qkv, table)
        ctx.save_for_backward(qkv, angles, table)
        return split_projection(qkv)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        qkv, angles, table = ctx.saved_tensors
        if backward_is_composed(*grads):
            before = unrotated_projection(qkv.detach(), table, ctx.layout)

            def composition(qkv: Tensor, angles: Tensor) -> tuple[Tensor, ...]:
                return rotate_projected(qkv * 1, phases(angles), ctx.layout)

            inputs = (with_value(qkv, before), angles)
            to_both = gradients(composition, inputs, ctx.needs_input_grad[:2], grads)
            return to_both[0], to_both[1], None, None, None
        sums = ("cross",) if ctx.needs_input_grad[1] else ()
        grad, *totals = ctx.kernel.rotate_backward(grads, table, qkv, *sums)
        to_angles = totals[0].sum_to_size(ctx.shape) if totals else None
        return grad, to_angles, None, None, None
