"""Exponentials of skew-symmetric matrices, compiled by Triton: the algorithm of exponential.c.

A program computes one tile, with several small matrices on its diagonal. X is a matrix divided by
2^n for the n squarings that its own norm requires, E = exp(X) - I.
"""

# mypy: ignore-errors

import triton
import triton.language as tl

from liere_cli.rotations.kernels.triton.tiles_device import product, stored_product


@triton.jit
def _indices(tile, count, ROWS: tl.constexpr, PADDED: tl.constexpr, TILE: tl.constexpr):
    """A tile of [count, ROWS, ROWS]: the offset of its first matrix; by row, that of the row's
    matrix from there, and the row in it; by row and column, which entries exist.
    """
    i = tl.arange(0, TILE)
    matrix, within = i // PADDED, i % PADDED
    first = tile * (TILE // PADDED)
    exists = (first + matrix < count) & (within < ROWS)
    mask = (matrix[:, None] == matrix[None, :]) & exists[:, None] & exists[None, :]
    return first.to(tl.int64) * (ROWS * ROWS), matrix * (ROWS * ROWS), within, mask


@triton.jit
def _squarings(square, RADIUS: tl.constexpr, MAX: tl.constexpr, PADDED: tl.constexpr):
    """By row of a tile: the squarings of its matrix, and whether MAX are enough for its norm."""
    TILE: tl.constexpr = square.shape[0]
    by_row = tl.sum(square * square, 1)
    i = tl.arange(0, TILE)
    same = (i // PADDED)[:, None] == (i // PADDED)[None, :]
    fourth_powers = tl.sum(tl.where(same, by_row[None, :], 0.0), 1)
    norm = tl.sqrt(tl.sqrt(fourth_powers * 0.5))
    count = tl.zeros((TILE,), tl.int32)
    radius = RADIUS
    for _ in tl.static_range(MAX):
        count += (norm > radius).to(tl.int32)
        radius = radius * 2.0
    valid = norm <= radius
    return tl.where(valid, count, 0), valid


@triton.jit
def _sum(
    x,
    square,
    Y1: tl.constexpr,
    Y2: tl.constexpr,
    X1: tl.constexpr,
    X3: tl.constexpr,
    X4: tl.constexpr,
    X5: tl.constexpr,
    X6: tl.constexpr,
    X7: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """E, P and Q of ``Polynomial`` in scaling_squaring.py."""
    i = tl.arange(0, x.shape[0])
    diagonal = i[:, None] == i[None, :]
    factor = X1 * x + square + tl.where(diagonal, X3, 0.0)
    p = product(square, factor, PRECISION)
    q = X5 * x + X6 * square + X7 * p + tl.where(diagonal, X4, 0.0)
    e = Y1 * x + Y2 * square + product(p, q, PRECISION)
    return e, p, q


@triton.jit
def _halved(count):
    """2^-count, exactly."""
    return ((127 - count) << 23).to(tl.float32, bitcast=True)


@triton.jit
def exponential(
    a_ptr,
    out_ptr,
    count,
    Y1: tl.constexpr,
    Y2: tl.constexpr,
    X1: tl.constexpr,
    X3: tl.constexpr,
    X4: tl.constexpr,
    X5: tl.constexpr,
    X6: tl.constexpr,
    X7: tl.constexpr,
    RADIUS: tl.constexpr,
    MAX: tl.constexpr,
    PLAIN: tl.constexpr,
    ROWS: tl.constexpr,
    PADDED: tl.constexpr,
    TILE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """exp of [count, ROWS, ROWS]."""
    start, matrix, row, mask = _indices(tl.program_id(0), count, ROWS, PADDED, TILE)
    offsets = (matrix + row * ROWS)[:, None] + row[None, :]
    x = tl.load(a_ptr + start + offsets, mask, 0.0)
    # what is not finite in one matrix does not reach the others
    square = tl.where(mask, product(x, x, PRECISION), 0.0)
    squarings, valid = _squarings(square, RADIUS, MAX, PADDED)
    scale = _halved(squarings)[:, None]
    x = tl.where(valid[:, None], x * scale, 0.0)
    square = tl.where(valid[:, None], square * scale * scale, 0.0)
    e, _, _ = _sum(x, square, Y1, Y2, X1, X3, X4, X5, X6, X7, PRECISION)
    i = tl.arange(0, TILE)
    total = tl.max(squarings, 0)
    plain = tl.maximum(total - PLAIN, 0)
    first = (total - squarings)[:, None]
    for step in range(plain):
        squared = 2.0 * e + product(e, e, PRECISION)
        e = tl.where(step >= first, squared, e)
    e += tl.where(i[:, None] == i[None, :], 1.0, 0.0)
    for step in range(plain, total):
        squared = product(e, e, PRECISION)
        e = tl.where(step >= first, squared, e)
    e = tl.where(valid[:, None], e, float("nan"))
    tl.store(out_ptr + start + offsets, e, mask)


@triton.jit
def _write(pointers, x):
    """Writes a tile that all threads of the program have stopped reading and read next."""
    tl.debug_barrier()
    tl.store(pointers, x)
    tl.debug_barrier()


@triton.jit
def _levels(
    a,
    mask,
    x_ptr,
    size,
    Y1: tl.constexpr,
    Y2: tl.constexpr,
    X1: tl.constexpr,
    X3: tl.constexpr,
    X4: tl.constexpr,
    X5: tl.constexpr,
    X6: tl.constexpr,
    X7: tl.constexpr,
    RADIUS: tl.constexpr,
    MAX: tl.constexpr,
    PLAIN: tl.constexpr,
    PADDED: tl.constexpr,
    TILE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Writes X, X^2, P, Q, the factor of P and every level of the squarings of a tile ``a`` from
    ``x_ptr`` on. Returns the last level; by row, whether it is valid and its first squaring; the
    scale, all squarings, and those of E without the identity.
    """
    SIZE: tl.constexpr = TILE * TILE
    i = tl.arange(0, TILE)
    cells = i[:, None] * TILE + i[None, :]
    diagonal = i[:, None] == i[None, :]
    square_ptr, p_ptr, q_ptr = x_ptr + SIZE, x_ptr + 2 * SIZE, x_ptr + 3 * SIZE
    factor_ptr, levels = x_ptr + 5 * SIZE, x_ptr + 6 * SIZE
    _write(x_ptr + cells, a)
    square = tl.where(mask, stored_product(x_ptr, x_ptr, size, TILE, PRECISION), 0.0)
    squarings, valid = _squarings(square, RADIUS, MAX, PADDED)
    scale = _halved(squarings)[:, None]
    square = tl.where(valid[:, None], square * scale * scale, 0.0)
    x = tl.where(valid[:, None], tl.load(x_ptr + cells) * scale, 0.0)
    _write(x_ptr + cells, x)
    _write(square_ptr + cells, square)
    _write(factor_ptr + cells, X1 * x + square + tl.where(diagonal, X3, 0.0))
    p = stored_product(square_ptr, factor_ptr, size, TILE, PRECISION)
    _write(p_ptr + cells, p)
    q = X5 * tl.load(x_ptr + cells) + X6 * tl.load(square_ptr + cells)
    _write(q_ptr + cells, q + X7 * p + tl.where(diagonal, X4, 0.0))
    e = stored_product(p_ptr, q_ptr, size, TILE, PRECISION)
    e += Y1 * tl.load(x_ptr + cells) + Y2 * tl.load(square_ptr + cells)
    total = tl.max(squarings, 0)
    plain = tl.maximum(total - PLAIN, 0)
    first = (total - squarings)[:, None]
    for step in range(total):
        e += tl.where(diagonal & (step == plain), 1.0, 0.0)
        level = levels + step * SIZE
        _write(level + cells, e)
        squared = stored_product(level, level, size, TILE, PRECISION)
        e = tl.load(level + cells)
        squared += tl.where(step < plain, 2.0, 0.0) * e
        e = tl.where(step >= first, squared, e)
    return e, valid, first, scale, total, plain


@triton.jit
def exponential_backward(
    a_ptr,
    grad_ptr,
    result_ptr,
    rotations_ptr,
    levels_ptr,
    count,
    tiles,
    grad_row,
    grad_column,
    size,
    Y1: tl.constexpr,
    Y2: tl.constexpr,
    X1: tl.constexpr,
    X3: tl.constexpr,
    X4: tl.constexpr,
    X5: tl.constexpr,
    X6: tl.constexpr,
    X7: tl.constexpr,
    RADIUS: tl.constexpr,
    MAX: tl.constexpr,
    PLAIN: tl.constexpr,
    ROWS: tl.constexpr,
    PADDED: tl.constexpr,
    TILE: tl.constexpr,
    PRECISION: tl.constexpr,
    ROTATIONS: tl.constexpr,
):
    """The skew part of the gradient to A from the gradient to exp(A), and exp(A) if ROTATIONS.

    Each program computes several tiles, in a part of ``levels_ptr`` of its own, [6 + MAX, TILE,
    TILE], small enough for the cache, as registers hold few matrices. Gradients are transposed.
    """
    SIZE: tl.constexpr = TILE * TILE
    i = tl.arange(0, TILE)
    cells, diagonal = i[:, None] * TILE + i[None, :], i[:, None] == i[None, :]
    x_ptr = levels_ptr + tl.program_id(0).to(tl.int64) * ((6 + MAX) * SIZE)
    square_ptr, p_ptr, q_ptr = x_ptr + SIZE, x_ptr + 2 * SIZE, x_ptr + 3 * SIZE
    grad_x_ptr, other_ptr, levels = x_ptr + 4 * SIZE, x_ptr + 5 * SIZE, x_ptr + 6 * SIZE
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        start, matrix, row, mask = _indices(tile, count, ROWS, PADDED, TILE)
        offsets = (matrix + row * ROWS)[:, None] + row[None, :]
        a = tl.load(a_ptr + start + offsets, mask, 0.0)
        e, valid, first, scale, total, plain = _levels(
            a, mask, x_ptr, size, Y1, Y2, X1, X3, X4, X5, X6, X7,
            RADIUS, MAX, PLAIN, PADDED, TILE, PRECISION,
        )  # fmt: skip
        if ROTATIONS:
            e += tl.where(diagonal & (total == 0), 1.0, 0.0)
            tl.store(
                rotations_ptr + start + offsets, tl.where(valid[:, None], e, float("nan")), mask
            )
        transposed = (matrix + row * grad_column)[:, None] + (row * grad_row)[None, :]
        grad = tl.load(grad_ptr + start + transposed, mask, 0.0)
        for back in range(total):
            step = total - 1 - back
            level = levels + step * SIZE
            _write(grad_x_ptr + cells, grad)
            before = stored_product(grad_x_ptr, level, size, TILE, PRECISION)
            before += stored_product(level, grad_x_ptr, size, TILE, PRECISION)
            grad = tl.load(grad_x_ptr + cells)
            before += tl.where(step < plain, 2.0, 0.0) * grad
            grad = tl.where(step >= first, before, grad)
        _write(grad_x_ptr + cells, grad)
        grad_q = stored_product(grad_x_ptr, p_ptr, size, TILE, PRECISION)
        _write(p_ptr + cells, grad_q)
        grad_p = stored_product(q_ptr, grad_x_ptr, size, TILE, PRECISION)
        _write(q_ptr + cells, grad_p + X7 * tl.load(p_ptr + cells))
        grad_factor = stored_product(q_ptr, square_ptr, size, TILE, PRECISION)
        _write(square_ptr + cells, grad_factor)
        grad_square = stored_product(other_ptr, q_ptr, size, TILE, PRECISION)
        grad_square += Y2 * tl.load(grad_x_ptr + cells) + X6 * tl.load(p_ptr + cells)
        grad_square += tl.load(square_ptr + cells)
        # for skew X only the symmetric part of the gradient to X^2 reaches the skew part
        _write(other_ptr + cells, grad_square + tl.trans(grad_square))
        grad_x = stored_product(other_ptr, x_ptr, size, TILE, PRECISION)
        grad_x += Y1 * tl.load(grad_x_ptr + cells) + X5 * tl.load(p_ptr + cells)
        grad_x += X1 * tl.load(square_ptr + cells)
        skew = (tl.trans(grad_x) - grad_x) * (0.5 * scale)
        tl.store(result_ptr + start + offsets, tl.where(valid[:, None], skew, float("nan")), mask)
