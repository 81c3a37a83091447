"""Rotation of channel pairs by given angles: the kernel of every rotary encoding.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim.
"""

from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor

from liere_cli.errors import UsageError, unknown
from liere_cli.rotations.precision import accumulation_dtype, check_floating, check_heads

Layout = Literal["interleaved", "half-split"]


def phases(angles: Tensor) -> Tensor:
    """Cosine and sine of every angle, side by side.

    Args:
        angles: [..., T, H/2] in radians; half-precision angles are refused, as their rounding
            alone turns a plane by whole radians at a few thousand tokens.

    Returns:
        [..., T, H/2, 2] in the dtype of the angles; differentiable.
    """
    check_floating(angles, "angles")
    return torch.stack((angles.cos(), angles.sin()), -1)


def linear_angles(positions: Tensor, frequencies: Tensor) -> Tensor:
    """p . f for every position and plane.

    Args:
        positions: [T, A], any floating dtype.
        frequencies: [..., A, P] float32 or float64.

    Returns:
        [..., T, P] in the dtype of the frequencies. Sums of products, not a matrix product, whose
        factors autocast and TF32 would round to half precision.
    """
    check_floating(frequencies, "frequencies")
    if positions.ndim != 2 or positions.shape[1] != frequencies.shape[-2]:
        raise UsageError(
            f"positions must be [tokens, {frequencies.shape[-2]}], not {list(positions.shape)}"
        )
    columns = positions.to(frequencies.dtype).unbind(1)
    rows = frequencies.unbind(-2)
    angles = columns[0][:, None] * rows[0][..., None, :]
    for column, row in zip(columns[1:], rows[1:], strict=True):
        angles = torch.addcmul(angles, column[:, None], row[..., None, :])
    return angles


def rotate_planes(x: Tensor, table: Tensor, layout: Layout = "interleaved") -> Tensor:
    """Turns every pair of channels of every token by its angle (arXiv 2104.09864, equation 34).

    Args:
        x: [B, N, S, H], any floating dtype and strides.
        table: ``phases`` of the angles, [N or 1, T, H/2, 2]; the first S - T tokens of ``x`` are a
            prefix without position and pass unchanged.
        layout: which channels make a pair: ``interleaved`` (2i, 2i+1) or ``half-split``
            (i, i + H/2).

    Returns:
        [B, N, S, H] in the dtype of ``x``; arithmetic is float32 (float64 for float64) with one
        rounding at the end. Exact gradients flow to ``x`` and to ``table``.
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
        return turn(x, table, layout)
    return cast(Tensor, _RotatePlanes.apply(x, table, layout))  # type: ignore[no-untyped-call]


class _RotatePlanes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, layout: Layout) -> Tensor:
        ctx.layout = layout
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, table)
        return turn(x, table, layout)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, table = ctx.saved_tensors
        grad_x = grad_table = None
        if ctx.needs_input_grad[0]:
            grad_x = turn(grad, table, ctx.layout, inverse=True)
        if ctx.needs_input_grad[1]:
            grad_table = _table_gradient(x, grad, table, ctx.layout)
        return grad_x, grad_table, None


def turn(x: Tensor, table: Tensor, layout: Layout, inverse: bool = False) -> Tensor:
    """``rotate_planes`` without a gradient of its own; ``inverse`` turns back."""
    prefix = x.shape[-2] - table.shape[-3]
    if _complex_pays(x, table, layout):
        turned, phase = as_complex(x), torch.view_as_complex(table)
        phase = phase.conj_physical() if inverse else phase
        heads, channels = x.shape[1], x.shape[3]
        merged = x.stride(1) == channels
        if merged:  # heads lie side by side: one long loop for all of them
            turned = turned.transpose(1, 2).flatten(2)
            phase = phase.expand(heads, -1, -1).transpose(0, 1).flatten(1)
        if prefix:
            product = torch.empty_like(turned)
            product[..., :prefix, :] = turned[..., :prefix, :]
            torch.mul(turned[..., prefix:, :], phase, out=product[..., prefix:, :])
        else:
            product = turned * phase
        if merged:
            product = product.unflatten(2, (heads, -1)).transpose(1, 2)
        return torch.view_as_real(product).flatten(-2)
    cos, sin = table.unbind(-1)
    sin = -sin if inverse else sin
    first, second = _pairs(x[..., prefix:, :], layout)
    turned = _join(first * cos - second * sin, first * sin + second * cos, layout).to(x.dtype)
    return torch.cat((x[..., :prefix, :], turned), -2) if prefix else turned


def _table_gradient(x: Tensor, grad: Tensor, table: Tensor, layout: Layout) -> Tensor:
    prefix = x.shape[-2] - table.shape[-3]
    x, grad = x[..., prefix:, :], grad[..., prefix:, :]
    if _complex_pays(x, table, layout) and _complex_pays(grad, table, layout):
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


def _complex_pays(x: Tensor, table: Tensor, layout: Layout) -> bool:
    """One complex product is one pass over memory, but it needs pairs that are complex numbers."""
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
