"""Application of per-position rotation matrices to queries and keys.

The batch makes the rows of one product for every position, head and block, in which a row takes a
64th of the time of a matrix-vector product of its own. Compiled code rotates rows in place; torch's
batched products need contiguous copies.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim = n * b for
n blocks of b rows, m tensors rotated alike, K rows: m * B, or m * B * N if heads share rotations.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from liere_cli.errors import UsageError
from liere_cli.rotations.apply.planes import join_projection, split_projection
from liere_cli.rotations.derivatives import (
    backward_is_composed,
    composed,
    gradients,
    with_value,
)
from liere_cli.rotations.kernels.blocks import BlockKernel, block_kernel
from liere_cli.rotations.kernels.triton import blocks as triton
from liere_cli.rotations.precision import accumulation_dtype, check_heads, full_precision

AnyBlockKernel = BlockKernel | triton.BlockKernel

#: rows up to which blocks are merged
MERGED_ROWS = 32


def rotate_blocks(rotations: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
    """R(p) x for every token of one or more tensors.

    Args:
        rotations: [N or 1, n, T, b, b], float32 or float64; brought to the dtype of the tensors,
            but for half precision, whose products are float32 and rounded once.
        xs: each [B, N, S, n*b] of one shape and floating dtype, any strides; the first S - T
            tokens stay unchanged.

    Returns:
        As many tensors of that shape and dtype; exact gradients of any order flow to them and to
        the rotations.

    Raises:
        UsageError: shapes or dtypes that don't fit.
    """
    check_fit(rotations.shape, xs)
    if composed():
        return compose_blocks(rotations, *xs)
    kernel = _kernel(rotations, xs)
    if kernel is None:
        rotated = _RotateBlocks.apply(rotations, *xs)  # type: ignore[no-untyped-call]
    else:
        rotated = _CompiledBlocks.apply(kernel, rotations.contiguous(), *xs)  # type: ignore[no-untyped-call]
    return cast(tuple[Tensor, ...], rotated)


def rotate_projected_blocks(rotations: Tensor, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``rotate_blocks`` of the queries and keys of one projection, in place if compiled.

    Args:
        qkv: [B, S, 3, N, n*b], queries, keys and values, which nothing else may read: overwritten.

    Returns:
        Queries, keys and values, each [B, N, S, n*b].
    """
    q, k, v = split_projection(qkv)
    check_fit(rotations.shape, (q, k))
    # a graph has no tensors that are overwritten
    functional = composed() or torch.compiler.is_compiling()
    kernel = None if functional else _kernel(rotations, (q, k))
    if kernel is None:
        q, k = rotate_blocks(rotations, q, k)
        return q, k, v
    args = (kernel, rotations.contiguous(), qkv)
    q, k, v = _CompiledProjectedBlocks.apply(*args)  # type: ignore[no-untyped-call]
    return q, k, v


def _kernel(rotations: Tensor, xs: tuple[Tensor, ...]) -> AnyBlockKernel | None:
    if len(xs) > 2:
        return None
    compiling = torch.compiler.is_compiling()
    kernel = None if compiling else block_kernel(rotations, xs[0])
    return kernel or triton.block_kernel(rotations, xs[0])


def check_fit(rotations: torch.Size, xs: tuple[Tensor, ...]) -> None:
    """Raises UsageError unless rotations of that shape fit all the tensors."""
    for x in xs:
        check_heads(x)
        if x.shape != xs[0].shape or x.dtype != xs[0].dtype:
            raise UsageError("tensors that are rotated together must have one shape and dtype")
    heads, blocks, tokens, rows, _ = rotations
    _, x_heads, length, channels = xs[0].shape
    if heads not in (1, x_heads) or blocks * rows != channels or tokens > length:
        raise UsageError(
            f"rotations of {heads} heads, {tokens} tokens and {blocks} blocks of {rows} don't fit "
            f"queries of {x_heads} heads, {length} tokens and {channels} channels"
        )


def compose_blocks(rotations: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
    """``rotate_blocks`` of operations that have derivatives of every kind."""
    _, blocks, tokens, rows, _ = rotations.shape
    turned = []
    with full_precision(rotations):
        for x in xs:
            prefix = x.shape[2] - tokens
            parts = x[:, :, prefix:].unflatten(-1, (blocks, rows))
            wide = accumulation_dtype(x.dtype)
            y = torch.einsum("hntij,bhtnj->bhtni", rotations.to(wide), parts.to(wide))
            y = y.flatten(-2).to(x.dtype)
            turned.append(torch.cat((x[:, :, :prefix], y), 2) if prefix else y)
    return tuple(turned)


class _CompiledBlocks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, kernel: AnyBlockKernel, rotations: Tensor, *xs: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.kernel = kernel
        ctx.save_for_backward(rotations, *(xs if ctx.needs_input_grad[1] else ()))
        rotated = _with_prefix(xs, rotations.shape[2])
        kernel.rotate(rotations, _with_contiguous_channels(xs), rotated)
        return rotated

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        rotations, *xs = ctx.saved_tensors
        if backward_is_composed(*grads):
            return None, *_block_gradients(ctx.needs_input_grad[1:], rotations, xs, grads)
        back = _with_prefix(grads, rotations.shape[2])
        grads, saved = _with_contiguous_channels(grads), _with_contiguous_channels(xs) or None
        grad_rotations = ctx.kernel.rotate_backward(
            rotations, grads, back, saved, saved_output=False
        )
        return None, grad_rotations, *back


def _with_prefix(xs: Sequence[Tensor], tokens: int) -> tuple[Tensor, ...]:
    """New contiguous tensors with a copy of the prefix; the last tokens are uninitialised."""
    outs = tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in xs)
    for out, x in zip(outs, xs, strict=True):
        prefix = x.shape[2] - tokens
        out[:, :, :prefix] = x[:, :, :prefix]
    return outs


def _with_contiguous_channels(xs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The tensors, copied where their channels are not contiguous."""
    return tuple(x if x.stride(-1) == 1 else x.contiguous() for x in xs)


class _CompiledProjectedBlocks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, kernel: AnyBlockKernel, rotations: Tensor, qkv: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.kernel = kernel
        q, k, v = split_projection(qkv)
        kernel.rotate(rotations, (q, k), (q, k))
        ctx.save_for_backward(rotations, qkv if ctx.needs_input_grad[1] else None)
        return q, k, v

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        rotations, rotated = ctx.saved_tensors
        if backward_is_composed(*grads):
            return _projected_gradients(ctx.needs_input_grad[1:], rotations, rotated, grads)
        batch, heads, length, channels = grads[0].shape
        grad = grads[0].new_empty(batch, length, 3, heads, channels)
        *targets, grad_v = split_projection(grad)
        prefix = length - rotations.shape[2]
        for target, source in zip(targets, grads, strict=False):
            target[:, :, :prefix] = source[:, :, :prefix]
        grad_v.copy_(grads[2])
        saved = None if rotated is None else split_projection(rotated)[:2]
        both = _with_contiguous_channels(grads[:2])
        grad_rotations = ctx.kernel.rotate_backward(
            rotations, both, targets, saved, saved_output=True
        )
        return None, grad_rotations, grad


class _RotateBlocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rotations: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(rotations, *(xs if ctx.needs_input_grad[0] else ()))
        with full_precision(rotations):
            merged = _merge(rotations, accumulation_dtype(xs[0].dtype))
            rotated = torch.bmm(pack(xs, merged.shape), merged.flatten(0, 2).mT)
            return unpack(rotated, xs, merged.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        rotations, *xs = ctx.saved_tensors
        if backward_is_composed(*grads):
            return _block_gradients(ctx.needs_input_grad, rotations, xs, grads)
        with full_precision(rotations):
            merged = _merge(rotations, accumulation_dtype(grads[0].dtype))
            grad_rows = pack(grads, merged.shape)
            grad_rotations = None
            if ctx.needs_input_grad[0]:
                # the transposed gradient, which the exponential's backward pass needs
                grad_t = torch.bmm(pack(tuple(xs), merged.shape).mT, grad_rows)
                grad_rotations = _split(grad_t.view(merged.shape), rotations).mT
            grad_xs: tuple[Tensor | None, ...] = (None,) * len(grads)
            if any(ctx.needs_input_grad[1:]):
                back = torch.bmm(grad_rows, merged.flatten(0, 2))
                grad_xs = unpack(back, grads, merged.shape)
        return grad_rotations, *grad_xs


def _block_gradients(
    needed: Sequence[bool], rotations: Tensor, xs: Sequence[Tensor], grads: Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    """Gradients to rotations and tensors that can be differentiated; without rotations that need
    one, the tensors are not saved.
    """
    if not xs:
        return None, *compose_blocks(rotations.mT, *grads)
    return tuple(gradients(compose_blocks, (rotations, *xs), needed, grads))


def _projected_gradients(
    needed: Sequence[bool], rotations: Tensor, rotated: Tensor | None, grads: Sequence[Tensor]
) -> tuple[None, Tensor | None, Tensor | None]:
    """Those of ``_CompiledProjectedBlocks``, from the overwritten projection."""
    if rotated is None:
        return None, None, join_projection(*compose_blocks(rotations.mT, *grads[:2]), grads[2])
    q, k, v = split_projection(rotated.detach())
    before = join_projection(*compose_blocks(rotations.detach().mT, q, k), v)

    def composition(rotations: Tensor, qkv: Tensor) -> tuple[Tensor, ...]:
        q, k, v = split_projection(qkv)
        return *compose_blocks(rotations, q, k), v

    inputs = (rotations, with_value(rotated, before))
    to_rotations, to_projection = gradients(composition, inputs, needed, grads)
    return None, to_rotations, to_projection


def _merge(rotations: Tensor, dtype: torch.dtype) -> Tensor:
    """Small blocks side by side along the diagonal of larger ones: [N, n/g, T, g*b, g*b].

    Products of 8 x 8 blocks are cheap, but copying 8 channels at a time is not.
    """
    heads, blocks, tokens, rows, _ = rotations.shape
    group = _merged_blocks(blocks, rows)
    if group == 1:
        return rotations.to(dtype)
    size = (heads, blocks // group, tokens, group, rows, group, rows)
    merged = torch.zeros(size, dtype=dtype, device=rotations.device)
    # diagonal() puts the group last
    merged.diagonal(0, 3, 5).copy_(
        torch.unflatten(rotations, 1, (-1, group)).permute(0, 1, 3, 4, 5, 2)
    )
    return merged.flatten(5, 6).flatten(3, 4)


def _split(merged: Tensor, like: Tensor) -> Tensor:
    """The inverse of ``_merge``, in the shape and dtype of the rotations."""
    heads, blocks, tokens, rows, _ = like.shape
    group = _merged_blocks(blocks, rows)
    if group > 1:
        parts = merged.view(heads, blocks // group, tokens, group, rows, group, rows)
        merged = parts.diagonal(0, 3, 5).permute(0, 1, 5, 2, 3, 4).reshape(like.shape)
    return merged.to(like.dtype)


def _merged_blocks(blocks: int, rows: int) -> int:
    """Number of blocks to merge, a divisor of their number."""
    sizes = range(1, max(1, MERGED_ROWS // rows) + 1)
    return max(group for group in sizes if blocks % group == 0)


def pack(xs: tuple[Tensor, ...], rotations: torch.Size) -> Tensor:
    """The tokens with a position as rows for their rotations: [B, N, S, H] to [N n T, K, b], in
    float32 instead of half precision.
    """
    heads, blocks, tokens, size, _ = rotations
    batch, x_heads, length, _ = xs[0].shape
    shared = x_heads // heads
    dtype = accumulation_dtype(xs[0].dtype)
    rows = xs[0].new_empty(heads, blocks, tokens, len(xs), shared, batch, size, dtype=dtype)
    for i, x in enumerate(xs):
        tail = torch.unflatten(x[:, :, length - tokens :], -1, (blocks, size))
        rows[:, :, :, i] = torch.unflatten(tail, 1, (heads, shared)).permute(1, 4, 3, 2, 0, 5)
    return rows.view(heads * blocks * tokens, len(xs) * shared * batch, size)


def unpack(rows: Tensor, xs: tuple[Tensor, ...], rotations: torch.Size) -> tuple[Tensor, ...]:
    """The inverse of ``pack``, in the dtype of ``xs``, from which the prefix comes."""
    heads, blocks, tokens, size, _ = rotations
    batch, x_heads, length, channels = xs[0].shape
    prefix = length - tokens
    parts = rows.view(heads, blocks, tokens, len(xs), x_heads // heads, batch, size)
    outs = []
    for part, x in zip(parts.unbind(3), xs, strict=True):
        out = x.new_empty(batch, x_heads, length, channels)
        tail = torch.unflatten(out[:, :, prefix:], -1, (blocks, size))
        torch.unflatten(tail, 1, (heads, x_heads // heads)).copy_(part.permute(4, 0, 3, 2, 1, 5))
        if prefix:
            out[:, :, :prefix] = x[:, :, :prefix]
        outs.append(out)
    return tuple(outs)
