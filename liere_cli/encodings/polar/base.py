"""The common base of polar encodings: a channel is a magnitude, the position its phase.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim, P planes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from liere_cli.encodings.rotary.base import Rotary
from liere_cli.rotations.precision import accumulation_dtype, check_heads


class Polar(Rotary):
    """Channel i of head n in layer l becomes m (cos a, sin a) with a = p . f[l, n, :, i].

    That is a rotation of the pairs (m, 0), so frequencies work as in ``Rotary``; there are as many
    planes as channels, and encoded queries and keys are twice as wide. The score of two tokens is
    the sum of m_q m_k cos((p_q - p_k) . f).
    """

    family = "polar"
    qk_width = 2
    prefix = "have phase 0"

    def count_planes(self) -> int:
        head_dim, axes = self.shape.head_dim, self.shape.axes
        if head_dim < axes:
            needed = f"needs at least one channel for each of {axes} axes"
            raise self.error(f"{needed}, but head_dim is {head_dim}")
        return head_dim

    def magnitude(self, x: Tensor) -> Tensor:
        """The magnitudes m of channels, float32 or float64 of any shape."""
        return x

    def turn(self, x: Tensor, table: Tensor) -> Tensor:
        """[B, N, S, H] to [B, N, S, 2 H]."""
        return self.spread(x, with_prefix(table, x))

    def spread(self, x: Tensor, table: Tensor) -> Tensor:
        """``turn`` with phases for every token, prefix included. Returns [B, N, S, 2 H], m cos a of
        all channels before m sin a, in the dtype of ``x``; arithmetic is float32 (float64 for
        float64) with one rounding at the end.
        """
        check_heads(x)
        magnitudes = self.magnitude(x.to(accumulation_dtype(x.dtype)))
        waves = table.mT.contiguous()  # [N or 1, S, 2, P]
        return (magnitudes[..., None, :] * waves).flatten(-2).to(x.dtype)


def with_prefix(table: Tensor, x: Tensor) -> Tensor:
    """Cosines and sines [N or 1, T, P, 2] with phase 0 for the prefix of x: [N or 1, S, P, 2]."""
    prefix = x.shape[2] - table.shape[1]
    if not prefix:
        return table
    cos, sin = table.unbind(-1)
    still = (0, 0, prefix, 0)
    return torch.stack((F.pad(cos, still, value=1.0), F.pad(sin, still)), -1)
