"""Real Schur form of skew-symmetric matrices, compiled by Triton: Jacobi's method on planes
(Paardekooper, Numerische Mathematik 17, 1971; Hacon, SIAM J. Matrix Anal. Appl. 14, 1993).

A matrix has four tiles, of even and odd rows and columns: a plane is a row or column of each. In a
round every plane is paired with another, and the 4 x 4 matrices of all pairs are brought to their
real Schur form at once; a sweep pairs each plane with every other. With vectors of a pair as
quaternions, a 4 x 4 skew matrix is x -> u x + x v with pure u and v, and rotations of u and v onto
the first axis are its form (the decomposition of so(4)). All products are of rotations, so Q is
orthogonal whatever frequencies are equal or zero. Arithmetic is float64.
"""

# mypy: ignore-errors

import triton
import triton.language as tl


@triton.jit
def _onto_axis(x, y, z):
    """The unit quaternion (w, 0, j, k) that rotates the first axis onto +-(x, y, z), whichever is
    nearer.
    """
    # squares of small numbers would be 0
    largest = tl.maximum(tl.maximum(tl.abs(x), tl.abs(y)), tl.abs(z))
    largest = tl.where(largest > 0, largest, 1.0)
    x, y, z = x / largest, y / largest, z / largest
    length = tl.sqrt(x * x + y * y + z * z)
    sign = tl.where(x < 0, -1.0, 1.0)
    w, j, k = length + tl.abs(x), -sign * z, sign * y
    norm = tl.sqrt(w * w + j * j + k * k)
    safe = tl.where(norm > 0, norm, 1.0)
    return tl.where(norm > 0, w / safe, 1.0), j / safe, k / safe


@triton.jit
def _combine(even, odd, other_even, other_odd, a, b, c, d):
    return even * a + odd * b + other_even * c + other_odd * d


@triton.jit
def _entry(x, mask):
    """By column, the entry in the row where the mask is set."""
    return tl.sum(tl.where(mask, x, 0.0), 0)


@triton.jit
def _of_pair(x, at, first):
    """By column, the entry in the row of the second plane and the column of the first one: the very
    same number for both columns, or their rotations would differ.
    """
    return tl.where(first, tl.sum(tl.where(at, x, 0.0), 0), tl.sum(tl.where(at, x, 0.0), 1))


@triton.jit
def _coefficients(ee, eo, oe, oo, partner):
    """By column: what the even and the odd column of a plane get of its own even and odd columns
    and of those of its partner, four numbers each.
    """
    i = tl.arange(0, ee.shape[0])
    at = i[:, None] == partner[None, :]
    frequency = _entry(oe, i[:, None] == i[None, :])
    other = tl.sum(tl.where(at, frequency[:, None], 0.0), 0)
    first = i < partner
    a, b = tl.where(first, frequency, other), tl.where(first, other, frequency)
    m20, m21 = _of_pair(ee, at, first), _of_pair(eo, at, first)
    m30, m31 = _of_pair(oe, at, first), _of_pair(oo, at, first)
    # u x + x v; the rotation is y -> l y r
    l0, l2, l3 = _onto_axis(a + b, m20 - m31, m30 + m21)
    r0, r2, r3 = _onto_axis(a - b, m20 + m31, m30 - m21)
    r2, r3 = -r2, -r3
    d0, d2, d3 = l0 * r0, l2 * r2, l3 * r3
    s, t = l2 * r3, l3 * r2
    even_even = tl.where(first, d0 - d2 - d3, d0 - d2 + d3)
    odd_odd = tl.where(first, d0 + d2 + d3, d0 + d2 - d3)
    # (1, 0) and (3, 2), then (0, 1) and (2, 3)
    odd_to_even = tl.where(first, s - t, -s - t)
    even_to_odd = tl.where(first, s - t, -s - t)
    # entries (row, column) of the rotation: first plane 0, 1, second 2, 3
    g20, g30 = l0 * r2 + l2 * r0, l0 * r3 + l3 * r0
    g21, g31 = l3 * r0 - l0 * r3, l0 * r2 - l2 * r0
    g02, g12 = -l2 * r0 - l0 * r2, l0 * r3 - l3 * r0
    g03, g13 = -l3 * r0 - l0 * r3, l2 * r0 - l0 * r2
    return (
        even_even,
        odd_to_even,
        tl.where(first, g20, g02),
        tl.where(first, g30, g12),
        even_to_odd,
        odd_odd,
        tl.where(first, g21, g03),
        tl.where(first, g31, g13),
    )


@triton.jit
def _off_planes(ee, eo, oe, oo):
    """Sum of squares of all entries, and of those outside of the planes."""
    i = tl.arange(0, ee.shape[0])
    squares = ee * ee + eo * eo + oe * oe + oo * oo
    outside = tl.where(i[:, None] == i[None, :], 0.0, squares)
    return tl.sum(tl.sum(squares, 0), 0), tl.sum(tl.sum(outside, 0), 0)


@triton.jit
def real_schur(
    a_ptr,
    basis_ptr,
    frequencies_ptr,
    ROWS: tl.constexpr,
    PLANES: tl.constexpr,
    SWEEPS: tl.constexpr,
    TOLERANCE: tl.constexpr,
):
    """Q and the frequencies of a matrix of ROWS rows, PLANES a power of two of at least half."""
    i = tl.arange(0, PLANES)
    row, column = i[:, None], i[None, :]
    mask = (row < ROWS // 2) & (column < ROWS // 2)
    start = tl.program_id(0).to(tl.int64) * (ROWS * ROWS)
    at = start + 2 * row * ROWS + 2 * column
    ee = tl.load(a_ptr + at, mask, 0.0).to(tl.float64)
    eo = tl.load(a_ptr + at + 1, mask, 0.0).to(tl.float64)
    oe = tl.load(a_ptr + at + ROWS, mask, 0.0).to(tl.float64)
    oo = tl.load(a_ptr + at + ROWS + 1, mask, 0.0).to(tl.float64)
    q_ee = tl.where(row == column, 1.0, 0.0).to(tl.float64)
    q_eo, q_oe, q_oo = q_ee * 0.0, q_ee * 0.0, q_ee
    total, outside = _off_planes(ee, eo, oe, oo)
    sweep = 0
    while (sweep < SWEEPS) & (outside > TOLERANCE * total):
        for step in range(1, PLANES):
            partner = i ^ step
            a, b, c, d, e, f, g, h = _coefficients(ee, eo, oe, oo, partner)
            by_column = partner[None, :] + tl.zeros((PLANES, PLANES), tl.int32)
            by_row = partner[:, None] + tl.zeros((PLANES, PLANES), tl.int32)
            # columns of Q and A
            x, y = tl.gather(q_ee, by_column, 1), tl.gather(q_eo, by_column, 1)
            even = _combine(q_ee, q_eo, x, y, a[None, :], b[None, :], c[None, :], d[None, :])
            q_eo = _combine(q_ee, q_eo, x, y, e[None, :], f[None, :], g[None, :], h[None, :])
            q_ee = even
            x, y = tl.gather(q_oe, by_column, 1), tl.gather(q_oo, by_column, 1)
            even = _combine(q_oe, q_oo, x, y, a[None, :], b[None, :], c[None, :], d[None, :])
            q_oo = _combine(q_oe, q_oo, x, y, e[None, :], f[None, :], g[None, :], h[None, :])
            q_oe = even
            x, y = tl.gather(ee, by_column, 1), tl.gather(eo, by_column, 1)
            even = _combine(ee, eo, x, y, a[None, :], b[None, :], c[None, :], d[None, :])
            eo = _combine(ee, eo, x, y, e[None, :], f[None, :], g[None, :], h[None, :])
            ee = even
            x, y = tl.gather(oe, by_column, 1), tl.gather(oo, by_column, 1)
            even = _combine(oe, oo, x, y, a[None, :], b[None, :], c[None, :], d[None, :])
            oo = _combine(oe, oo, x, y, e[None, :], f[None, :], g[None, :], h[None, :])
            oe = even
            # rows of A
            x, y = tl.gather(ee, by_row, 0), tl.gather(oe, by_row, 0)
            even = _combine(ee, oe, x, y, a[:, None], b[:, None], c[:, None], d[:, None])
            oe = _combine(ee, oe, x, y, e[:, None], f[:, None], g[:, None], h[:, None])
            ee = even
            x, y = tl.gather(eo, by_row, 0), tl.gather(oo, by_row, 0)
            even = _combine(eo, oo, x, y, a[:, None], b[:, None], c[:, None], d[:, None])
            oo = _combine(eo, oo, x, y, e[:, None], f[:, None], g[:, None], h[:, None])
            eo = even
        total, outside = _off_planes(ee, eo, oe, oo)
        sweep += 1
    frequency = _entry(oe, row == column)
    sign = tl.where(frequency < 0, -1.0, 1.0)[None, :]
    tl.store(basis_ptr + at, q_ee, mask)
    tl.store(basis_ptr + at + 1, q_eo * sign, mask)
    tl.store(basis_ptr + at + ROWS, q_oe, mask)
    tl.store(basis_ptr + at + ROWS + 1, q_oo * sign, mask)
    frequencies = frequencies_ptr + tl.program_id(0) * (ROWS // 2) + i
    tl.store(frequencies, tl.abs(frequency), i < ROWS // 2)
