"""Products of tiles, compiled by Triton."""

# mypy: ignore-errors

import triton
import triton.language as tl


@triton.jit
def tf32(x, HALF: tl.constexpr):
    """To the 10 bits of TF32's mantissa: rounded if HALF is half of the last, truncated if 0."""
    return ((x.to(tl.uint32, bitcast=True) + HALF) & 0xFFFFE000).to(tl.float32, bitcast=True)


@triton.jit
def product(x, y, PRECISION: tl.constexpr):
    """x y of float32 tiles. ``tf32x3`` has three products of tensor cores, about as accurate as
    float32; ``emulated`` computes those where there are none.
    """
    if PRECISION == "emulated":
        # as Triton's code does: it rounds, and what remains is truncated by the tensor cores
        x_high, y_high = tf32(x, 0x1000), tf32(y, 0x1000)
        x_low, y_low = tf32(x - x_high, 0), tf32(y - y_high, 0)
        low = tl.dot(x_low, y_high, input_precision="ieee")
        low += tl.dot(x_high, y_low, input_precision="ieee")
        result = low + tl.dot(x_high, y_high, input_precision="ieee")
    else:
        result = tl.dot(x, y, input_precision=PRECISION)
    return result


@triton.jit
def stored_product(x_ptr, y_ptr, size, TILE: tl.constexpr, PRECISION: tl.constexpr):
    """x y of contiguous float32 tiles in memory, 16 columns of x at a time. ``size`` is TILE, not
    known when this is compiled, so that the loop is not unrolled, which would take more registers.
    """
    i, k = tl.arange(0, TILE), tl.arange(0, 16)
    total = tl.zeros((TILE, TILE), tl.float32)
    for start in range(0, size, 16):
        x = tl.load(x_ptr + i[:, None] * TILE + (start + k)[None, :])
        y = tl.load(y_ptr + (start + k)[:, None] * TILE + i[None, :])
        total += product(x, y, PRECISION)
    return total


@triton.jit
def rotated(x, y, PRECISION: tl.constexpr):
    """x y, float32, of x in the model's dtype and a float32 y: half precision multiplies x, exact,
    by two parts of y, which have 16 bits or more together.
    """
    if x.dtype == tl.float32:
        result = product(x, y, PRECISION)
    else:
        high = y.to(x.dtype)
        low = (y - high.to(tl.float32)).to(x.dtype)
        result = tl.dot(x, low) + tl.dot(x, high)
    return result


@triton.jit
def outer(x, y, PRECISION: tl.constexpr):
    """x^T y, float32, of tiles in the model's dtype; products of half precision are exact."""
    if x.dtype == tl.float32:
        result = product(tl.trans(x), y, PRECISION)
    else:
        result = tl.dot(tl.trans(x), y)
    return result
