"""Rotation of channel pairs by given angles: the kernel of every rotary encoding.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor

from liere_cli.errors import UsageError, unknown
from liere_cli.rotations.derivatives import (
    backward_is_composed,
    composed,
    gradients,
    with_value,
)
from liere_cli.rotations.kernels.planes import PlaneKernel, plane_kernel
from liere_cli.rotations.kernels.triton import planes as triton
from liere_cli.rotations.precision import accumulation_dtype, check_floating, check_heads

AnyPlaneKernel = PlaneKernel | triton.PlaneKernel

Layout = Literal["interleaved", "half-split"]


def phases(angles: Tensor) -> Tensor:
    """Cosine and sine, [..., T, H/2, 2], of angles in radians, [..., T, H/2]; differentiable. Half
    precision is refused: at a few thousand tokens its rounding errors reach whole radians.
    """
    check_floating(angles, "angles")
    return torch.stack((angles.cos(), angles.sin()), -1)


def rotate_planes(x: Tensor, table: Tensor, layout: Layout = "interleaved") -> Tensor:
    """Rotates every pair of channels of every token by its angle (arXiv 2104.09864, equation 34).

    Args:
        x: [B, N, S, H], any floating dtype and strides.
        table: ``phases`` of the angles, [N or 1, T, H/2, 2]; the first S - T tokens of ``x`` are a
            prefix without position and stay unchanged.
        layout: which channels make a pair: ``interleaved`` (2i, 2i+1) or ``half-split``
            (i, i + H/2).

    Returns:
        [B, N, S, H] in the dtype of ``x``; arithmetic is float32 (float64 for float64) with one
        rounding at the end. Exact gradients of any order flow to ``x`` and to ``table``.
    """
    check_heads(x)
    if layout not in get_args(Layout):
        raise unknown("channel layout", layout, get_args(Layout))
    if table.shape[-2] * 2 != x.shape[-1] or table.shape[-3] > x.shape[-2]:
        raise UsageError(
            f"angles for {table.shape[-3]} tokens and {2 * table.shape[-2]} channels don't fit "
            f"queries of {x.shape[-2]} tokens and {x.shape[-1]} channels"
        )
    if torch.compiler.is_compiling():
        return plane_rotation(x, table, layout)
    if composed():
        return _compose_planes(x, table, layout)
    return cast(Tensor, _RotatePlanes.apply(x, table, layout))  # type: ignore[no-untyped-call]


def rotate_projected(
    qkv: Tensor, table: Tensor, layout: Layout = "interleaved"
) -> tuple[Tensor, Tensor, Tensor]:
    """``rotate_planes`` of the queries and keys of one projection, together and where possible in
    place, with fewer passes over memory than separate tensors need.

    Args:
        qkv: [B, S, 3, N, H], queries, keys and values, which nothing else may read: overwritten
            where that saves a pass.
        table, layout: as for ``rotate_planes``; no pair of a cosine and a sine is zero.

    Returns:
        Queries, keys and values, each [B, N, S, H] in the dtype of ``qkv``.
    """
    if torch.compiler.is_compiling():
        return rotate_projection(qkv, table, layout, overwrite=False)
    if composed():
        return _compose_projection(qkv, table, layout)
    return cast(
        tuple[Tensor, Tensor, Tensor],
        _RotateProjected.apply(qkv, table, layout),  # type: ignore[no-untyped-call]
    )


def split_projection(qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values [B, N, S, H], views of [B, S, 3, N, H]."""
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    return q, k, v


def join_projection(*parts: Tensor) -> Tensor:
    """The inverse of ``split_projection``, a copy."""
    return torch.stack(parts).permute(1, 3, 0, 2, 4)


def queries_and_keys(qkv: Tensor) -> Tensor:
    """The heads of queries, then those of keys, [B, 2 N, S, H], a view of [B, S, 3, N, H]."""
    return qkv[:, :, :2].flatten(2, 3).transpose(1, 2)


def rotate_projection(
    qkv: Tensor, table: Tensor, layout: Layout, *, overwrite: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Rotated queries and keys, and values, each [B, N, S, H], of a projection [B, S, 3, N, H]; in
    place where ``overwrite`` allows it.
    """
    kernel = compiled_planes(qkv, table, layout) if overwrite else None
    if kernel is not None:
        kernel.rotate(qkv, table)
        return split_projection(qkv)
    both = queries_and_keys(qkv)
    table = table.repeat(2, 1, 1, 1) if len(table) > 1 else table
    out = both if overwrite and _as_complex_is_faster(both, table, layout) else None
    q, k = plane_rotation(both, table, layout, out=out).chunk(2, 1)
    return q, k, split_projection(qkv)[2]


def rotate_projection_backward(grads: Sequence[Tensor], table: Tensor, layout: Layout) -> Tensor:
    """The gradient of a projection, [B, S, 3, N, H], from those of its rotated queries and keys
    and of its values, each [B, N, S, H].
    """
    batch, heads, length, channels = grads[0].shape
    grad = grads[0].new_empty(batch, length, 3, heads, channels)
    kernel = compiled_planes(grad, table, layout)
    if kernel is not None:
        return kernel.rotate_backward(grads, table, None)[0]
    *rotated, values = split_projection(grad)
    for out, part in zip(rotated, grads[:2], strict=True):
        plane_rotation(part, table, layout, inverse=True, out=out)
    values.copy_(grads[2])
    return grad


def compiled_planes(qkv: Tensor, table: Tensor, layout: Layout) -> AnyPlaneKernel | None:
    """The kernel for a projection, [B, S, 3, N, H]; None where torch must do, as in a graph, where
    the compiler fuses torch's operations.
    """
    if torch.compiler.is_compiling():
        return None
    kernel = plane_kernel(qkv, table) if layout == "interleaved" else None
    return kernel or triton.plane_kernel(qkv, table, half_split=layout == "half-split")


class _RotateProjected(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, table: Tensor, layout: Layout
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.layout = layout
        ctx.kernel = compiled_planes(qkv, table, layout)
        learned = ctx.needs_input_grad[1]
        rotated = rotate_projection(qkv, table, layout, overwrite=bool(ctx.kernel) or not learned)
        ctx.save_for_backward(qkv if learned else None, table)
        return rotated

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        qkv, table = ctx.saved_tensors
        if backward_is_composed(*grads):
            return _projection_gradients(ctx, qkv, table, grads)
        grad_table = None
        if ctx.kernel is not None:
            sums = ("dot", "cross") if ctx.needs_input_grad[1] else ()
            grad, *parts = ctx.kernel.rotate_backward(grads, table, qkv, *sums)
            if parts:
                # x* g of x from that of y = z x, as complex numbers: y* g / z*
                moments = torch.complex(*parts).sum_to_size(table.shape[:-1])
                grad_table = torch.view_as_real(moments / torch.view_as_complex(table).conj())
            return grad, grad_table, None
        grad = rotate_projection_backward(grads, table, ctx.layout)
        if ctx.needs_input_grad[1]:
            q, k, _ = split_projection(qkv)
            grad_table = _table_gradient(q, grads[0], table, ctx.layout)
            grad_table += _table_gradient(k, grads[1], table, ctx.layout)
        return grad, grad_table, None


def _projection_gradients(
    ctx: Any, qkv: Tensor | None, table: Tensor, grads: Sequence[Tensor]
) -> tuple[Tensor | None, Tensor | None, None]:
    """``_RotateProjected.backward`` that can be differentiated."""
    layout = ctx.layout
    if qkv is None:
        rotated = (_compose_planes(grad, table, layout, inverse=True) for grad in grads[:2])
        return join_projection(*rotated, grads[2]), None, None
    if ctx.kernel is not None:
        qkv = with_value(qkv, unrotated_projection(qkv.detach(), table.detach(), layout))
    needed = ctx.needs_input_grad[:2]
    to_inputs = gradients(partial(_compose_projection, layout=layout), (qkv, table), needed, grads)
    return to_inputs[0], to_inputs[1], None


def unrotated_projection(qkv: Tensor, table: Tensor, layout: Layout) -> Tensor:
    """What the kernel has overwritten with ``qkv``, [B, S, 3, N, H]."""
    z = torch.view_as_complex(table)
    inverse = torch.view_as_real(z.conj() / z.abs().square())
    return join_projection(*_compose_projection(qkv, inverse, layout))


class _RotatePlanes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, layout: Layout) -> Tensor:
        ctx.layout = layout
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, table)
        return plane_rotation(x, table, layout)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, table = ctx.saved_tensors
        needed, layout = ctx.needs_input_grad[:2], ctx.layout
        if backward_is_composed(grad):
            if x is None:
                return _compose_planes(grad, table, layout, inverse=True), None, None
            grad_x, grad_table = gradients(
                partial(_compose_planes, layout=layout), (x, table), needed, (grad,)
            )
            return grad_x, grad_table, None
        grad_x = grad_table = None
        if ctx.needs_input_grad[0]:
            grad_x = plane_rotation(grad, table, ctx.layout, inverse=True)
        if ctx.needs_input_grad[1]:
            grad_table = _table_gradient(x, grad, table, ctx.layout)
        return grad_x, grad_table, None


def plane_rotation(
    x: Tensor, table: Tensor, layout: Layout, inverse: bool = False, out: Tensor | None = None
) -> Tensor:
    """``rotate_planes`` without a backward pass of its own; ``inverse`` negates the angles. Writes
    to ``out``, [B, N, S, H] of any strides, if given.
    """
    prefix = x.shape[-2] - table.shape[-3]
    tensors = (x,) if out is None else (x, out)
    if all(_as_complex_is_faster(tensor, table, layout) for tensor in tensors):
        phase = torch.view_as_complex(table)
        phase = phase.conj_physical() if inverse else phase
        views = [as_complex(tensor) for tensor in tensors]
        heads, channels = x.shape[1], x.shape[3]
        merged = all(tensor.stride(1) == channels for tensor in tensors)
        if merged:  # heads are contiguous: one long loop for all of them
            views = [view.transpose(1, 2).flatten(2) for view in views]
            phase = phase.expand(heads, -1, -1).transpose(0, 1).flatten(1)
        if out is None and not prefix:
            product = views[0] * phase
        else:
            product = views[-1] if out is not None else torch.empty_like(views[0])
            product[..., :prefix, :] = views[0][..., :prefix, :]
            torch.mul(views[0][..., prefix:, :], phase, out=product[..., prefix:, :])
        if out is not None:
            return out
        if merged:
            product = product.unflatten(2, (heads, -1)).transpose(1, 2)
        return torch.view_as_real(product).flatten(-2)
    rotated = _compose_planes(x, table, layout, inverse)
    return rotated if out is None else out.copy_(rotated)


def _compose_planes(x: Tensor, table: Tensor, layout: Layout, inverse: bool = False) -> Tensor:
    """``plane_rotation`` of operations that have derivatives of every kind."""
    prefix = x.shape[-2] - table.shape[-3]
    cos, sin = table.unbind(-1)
    sin = -sin if inverse else sin
    first, second = _pairs(x[..., prefix:, :], layout)
    rotated = _join(first * cos - second * sin, first * sin + second * cos, layout).to(x.dtype)
    return torch.cat((x[..., :prefix, :], rotated), -2) if prefix else rotated


def _compose_projection(
    qkv: Tensor, table: Tensor, layout: Layout
) -> tuple[Tensor, Tensor, Tensor]:
    """``rotate_projection`` of operations that have derivatives of every kind."""
    q, k, v = split_projection(qkv)
    return _compose_planes(q, table, layout), _compose_planes(k, table, layout), v


def _table_gradient(x: Tensor, grad: Tensor, table: Tensor, layout: Layout) -> Tensor:
    prefix = x.shape[-2] - table.shape[-3]
    x, grad = x[..., prefix:, :], grad[..., prefix:, :]
    if _as_complex_is_faster(x, table, layout) and _as_complex_is_faster(grad, table, layout):
        conjugate = as_complex(grad).conj_physical().mul_(as_complex(x))
        return torch.view_as_real(conjugate.sum(0).sum_to_size(table.shape[:-1]).conj_physical())
    wide = accumulation_dtype(x.dtype)
    first, second = (part.to(wide) for part in _pairs(x, layout))
    grad_first, grad_second = (part.to(wide) for part in _pairs(grad, layout))
    cos = (first * grad_first).addcmul_(second, grad_second).sum(0)
    sin = (first * grad_second).addcmul_(second, grad_first, value=-1).sum(0)
    return torch.stack((cos, sin), -1).sum_to_size(table.shape).to(table.dtype)


def as_complex(x: Tensor) -> Tensor:
    """Neighbouring channels as complex numbers, a view: [..., H] to [..., H/2]."""
    return torch.view_as_complex(torch.unflatten(x, -1, (-1, 2)))


def _as_complex_is_faster(x: Tensor, table: Tensor, layout: Layout) -> bool:
    """Whether pairs can be viewed as complex numbers, whose product is one pass over memory."""
    return (
        layout == "interleaved"
        and x.device.type == "cpu"
        and x.dtype == table.dtype
        and not torch.compiler.is_compiling()
        and x.stride(-1) == 1
        and x.storage_offset() % 2 == 0
        and all(stride % 2 == 0 for stride in x.stride()[:-1])
    )


def _pairs(x: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    if layout == "interleaved":
        first, second = torch.unflatten(x, -1, (-1, 2)).unbind(-1)
    else:
        first, second = x.chunk(2, -1)
    return first, second


def _join(first: Tensor, second: Tensor, layout: Layout) -> Tensor:
    if layout == "interleaved":
        return torch.stack((first, second), -1).flatten(-2)
    return torch.cat((first, second), -1)
