"""Plane rotations of a projection, compiled by Triton.

A program takes one token of one head and the examples of the batch in turn. Channels of a plane are
neighbours, or a half of the channels apart if HALF_SPLIT.
"""

# mypy: ignore-errors

import triton
import triton.language as tl


@triton.jit
def _load(start, channels, mask, HALF_SPLIT: tl.constexpr):
    """First and second channels of the planes, in float32, of rows that begin at pointers."""
    PLANES: tl.constexpr = mask.shape[1]
    if HALF_SPLIT:
        at = start[:, None] + tl.arange(0, PLANES)[None, :]
        first = tl.load(at, mask, 0.0)
        second = tl.load(at + channels // 2, mask, 0.0)
    else:
        channel = tl.arange(0, 2 * PLANES)
        both = tl.reshape(tl.join(mask, mask), (mask.shape[0], 2 * PLANES))
        x = tl.load(start[:, None] + channel[None, :], both, 0.0)
        first, second = tl.split(tl.reshape(x, (mask.shape[0], PLANES, 2)))
    return first.to(tl.float32), second.to(tl.float32)


@triton.jit
def _store(start, channels, first, second, mask, HALF_SPLIT: tl.constexpr):
    """The inverse of ``_load``, with one rounding."""
    PLANES: tl.constexpr = mask.shape[1]
    dtype = start.dtype.element_ty
    if HALF_SPLIT:
        at = start[:, None] + tl.arange(0, PLANES)[None, :]
        tl.store(at, first.to(dtype), mask)
        tl.store(at + channels // 2, second.to(dtype), mask)
    else:
        channel = tl.arange(0, 2 * PLANES)
        both = tl.reshape(tl.join(mask, mask), (mask.shape[0], 2 * PLANES))
        x = tl.reshape(tl.join(first, second), (mask.shape[0], 2 * PLANES))
        tl.store(start[:, None] + channel[None, :], x.to(dtype), both)


@triton.jit
def _phases(table_ptr, table_head, head, token, planes, PLANES: tl.constexpr):
    """Cosines and sines of the planes of a token; 1 and 0 for one of the prefix, below 0."""
    plane = tl.arange(0, PLANES)
    at = table_ptr + head * table_head + (token * planes + plane) * 2
    mask = plane < tl.where(token >= 0, planes, 0)
    return tl.load(at, mask, 1.0), tl.load(at + 1, mask, 0.0)


@triton.jit
def rotate(
    qkv_ptr,
    table_ptr,
    batch,
    tokens,
    prefix,
    heads,
    channels,
    table_head,
    PLANES: tl.constexpr,
    BATCH: tl.constexpr,
    HALF_SPLIT: tl.constexpr,
):
    """Rotates queries and keys of [B, S, 3, N, H] in place, BATCH examples in a program."""
    token, head, part = tl.program_id(0) % tokens, tl.program_id(0) // tokens, tl.program_id(2)
    planes, length = channels // 2, prefix + tokens
    cos, sin = _phases(table_ptr, table_head, head, token, planes, PLANES)
    row = tl.program_id(1) * BATCH + tl.arange(0, BATCH)
    mask = (row < batch)[:, None] & (tl.arange(0, PLANES) < planes)[None, :]
    example = row.to(tl.int64) * (length * 3 * heads * channels)
    start = qkv_ptr + example + (((prefix + token) * 3 + part) * heads + head) * channels
    first, second = _load(start, channels, mask, HALF_SPLIT)
    cos, sin = cos[None, :], sin[None, :]
    rotated = first * cos - second * sin
    _store(start, channels, rotated, first * sin + second * cos, mask, HALF_SPLIT)


@triton.jit
def _backward(
    source,
    target,
    saved,
    channels,
    mask,
    cos,
    sin,
    cross,
    dot,
    SUMS: tl.constexpr,
    HALF_SPLIT: tl.constexpr,
):
    """Rotates a gradient back; adds y1 g2 - y2 g1 and y . g of rotated values y."""
    first, second = _load(source, channels, mask, HALF_SPLIT)
    back = first * cos + second * sin
    _store(target, channels, back, second * cos - first * sin, mask, HALF_SPLIT)
    if SUMS:
        y1, y2 = _load(saved, channels, mask, HALF_SPLIT)
        cross += tl.sum(y1 * second - y2 * first, 0)
        dot += tl.sum(y1 * first + y2 * second, 0)
    return cross, dot


@triton.jit
def rotate_backward(
    q_ptr,
    k_ptr,
    v_ptr,
    out_ptr,
    saved_ptr,
    table_ptr,
    cross_ptr,
    dot_ptr,
    batch,
    tokens,
    prefix,
    heads,
    channels,
    table_head,
    q_batch,
    q_head,
    q_token,
    k_batch,
    k_head,
    k_token,
    v_batch,
    v_head,
    v_token,
    PLANES: tl.constexpr,
    BATCH: tl.constexpr,
    SUMS: tl.constexpr,
    HALF_SPLIT: tl.constexpr,
):
    """The gradient to [B, S, 3, N, H] from those to rotated queries, rotated keys and values, each
    [B, N, S, H], and with SUMS [N, T, H/2] over examples, queries and keys.
    """
    planes, length = channels // 2, prefix + tokens
    at, head = tl.program_id(0) % length, tl.program_id(0) // length
    token, plane = at - prefix, tl.arange(0, PLANES)
    cos, sin = _phases(table_ptr, table_head, head, token, planes, PLANES)
    cos, sin = cos[None, :], sin[None, :]
    cross, dot = tl.zeros((PLANES,), tl.float32), tl.zeros((PLANES,), tl.float32)
    for chunk in range(0, batch, BATCH):
        row = (chunk + tl.arange(0, BATCH)).to(tl.int64)
        mask = (row < batch)[:, None] & (plane < planes)[None, :]
        out = row * (length * 3 * heads * channels) + (at * 3 * heads + head) * channels
        q = q_ptr + row * q_batch + head * q_head + at * q_token
        cross, dot = _backward(
            q, out_ptr + out, saved_ptr + out, channels, mask, cos, sin, cross, dot,
            SUMS, HALF_SPLIT,
        )  # fmt: skip
        out += heads * channels
        k = k_ptr + row * k_batch + head * k_head + at * k_token
        cross, dot = _backward(
            k, out_ptr + out, saved_ptr + out, channels, mask, cos, sin, cross, dot,
            SUMS, HALF_SPLIT,
        )  # fmt: skip
        v = v_ptr + row * v_batch + head * v_head + at * v_token
        first, second = _load(v, channels, mask, HALF_SPLIT)
        _store(out_ptr + out + heads * channels, channels, first, second, mask, HALF_SPLIT)
    if SUMS:
        if token >= 0:
            sums = (head * tokens + token) * planes + plane
            tl.store(cross_ptr + sums, cross, plane < planes)
            tl.store(dot_ptr + sums, dot, plane < planes)
