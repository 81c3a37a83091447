"""Application of block rotations, compiled by Triton.

A program takes one token and neighbouring blocks, whose rotations are on the diagonal of one tile
W; the batch makes the rows of its products. Tensors are [B, N, T, n*b] with contiguous channels and
strides of batch, head and token.
"""

# mypy: ignore-errors

import triton
import triton.language as tl

from liere_cli.rotations.kernels.triton.tiles_device import outer, rotated


@triton.jit
def _tile(
    rotations_ptr,
    head,
    token,
    group,
    tokens,
    blocks,
    ROWS: tl.constexpr,
    PADDED: tl.constexpr,
    TILE: tl.constexpr,
):
    """Rotations of a group of blocks on the diagonal of a tile; offsets and mask of its entries in
    [N, n, T, b, b]; channels of its columns, and which of them exist.
    """
    i = tl.arange(0, TILE)
    block, within = group * (TILE // PADDED) + i // PADDED, i % PADDED
    exists = (block < blocks) & (within < ROWS)
    mask = (block[:, None] == block[None, :]) & exists[:, None] & exists[None, :]
    start = (head.to(tl.int64) * blocks * tokens + token) * (ROWS * ROWS)
    row = block * (tokens * ROWS * ROWS) + within * ROWS
    offsets = start + row[:, None] + within[None, :]
    return tl.load(rotations_ptr + offsets, mask, 0.0), offsets, mask, block * ROWS + within, exists


@triton.jit
def rotate(
    rotations_ptr,
    x_ptr,
    out_ptr,
    batch,
    tokens,
    blocks,
    x_batch,
    x_head,
    x_token,
    out_batch,
    out_head,
    out_token,
    SHARED: tl.constexpr,
    ROWS: tl.constexpr,
    PADDED: tl.constexpr,
    TILE: tl.constexpr,
    BATCH: tl.constexpr,
    INVERSE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """R x of every token, or R^T x if INVERSE; for BATCH examples in a program."""
    groups = tl.cdiv(blocks, TILE // PADDED)
    token, group, head = tl.program_id(0) // groups, tl.program_id(0) % groups, tl.program_id(1)
    w, _, _, channel, exists = _tile(
        rotations_ptr,
        head * 0 if SHARED else head,
        token,
        group,
        tokens,
        blocks,
        ROWS,
        PADDED,
        TILE,
    )
    if not INVERSE:
        w = tl.trans(w)
    row = (tl.program_id(2) * BATCH + tl.arange(0, BATCH)).to(tl.int64)
    mask = (row < batch)[:, None] & exists[None, :]
    x_row = row * x_batch + head * x_head + token * x_token
    x = tl.load(x_ptr + x_row[:, None] + channel[None, :], mask, 0.0)
    out_row = row * out_batch + head * out_head + token * out_token
    y = rotated(x, w, PRECISION).to(x.dtype)
    tl.store(out_ptr + out_row[:, None] + channel[None, :], y, mask)


@triton.jit
def rotate_backward(
    rotations_ptr,
    grad_ptr,
    out_ptr,
    saved_ptr,
    total_ptr,
    batch,
    heads,
    tokens,
    blocks,
    grad_batch,
    grad_head,
    grad_token,
    out_batch,
    out_head,
    out_token,
    saved_batch,
    saved_head,
    saved_token,
    SHARED: tl.constexpr,
    ROWS: tl.constexpr,
    PADDED: tl.constexpr,
    TILE: tl.constexpr,
    BATCH: tl.constexpr,
    ADD: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """R^T g of every token, and the sum of g x^T over all rows of R, x at ``saved_ptr``, added to
    ``total_ptr`` if ADD.
    """
    groups = tl.cdiv(blocks, TILE // PADDED)
    token, group, head = tl.program_id(0) // groups, tl.program_id(0) % groups, tl.program_id(1)
    w, offsets, entries, channel, exists = _tile(
        rotations_ptr, head, token, group, tokens, blocks, ROWS, PADDED, TILE
    )
    total = tl.zeros((TILE, TILE), tl.float32)
    # all rows of all heads that share a rotation
    chunks = tl.cdiv(batch, BATCH)
    for index in range(chunks * heads if SHARED else chunks):
        at = index // chunks if SHARED else head
        row = ((index % chunks) * BATCH + tl.arange(0, BATCH)).to(tl.int64)
        mask = (row < batch)[:, None] & exists[None, :]
        grad_row = row * grad_batch + at * grad_head + token * grad_token
        grad = tl.load(grad_ptr + grad_row[:, None] + channel[None, :], mask, 0.0)
        saved_row = row * saved_batch + at * saved_head + token * saved_token
        saved = tl.load(saved_ptr + saved_row[:, None] + channel[None, :], mask, 0.0)
        total += outer(grad, saved, PRECISION)
        out_row = row * out_batch + at * out_head + token * out_token
        back = rotated(grad, w, PRECISION).to(grad.dtype)
        tl.store(out_ptr + out_row[:, None] + channel[None, :], back, mask)
    if ADD:
        total += tl.load(total_ptr + offsets, entries, 0.0)
    tl.store(total_ptr + offsets, total, entries)
