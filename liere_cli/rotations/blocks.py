"""Application of per-position rotation matrices to queries and keys.

Shapes: B batch, N heads, S sequence (prefix + T), T tokens with a position, H head_dim = n * b for n
blocks of b rows.
"""

import torch
from torch import Tensor

from liere_cli.errors import UsageError
from liere_cli.rotations.precision import check_heads, full_precision


def rotate_blocks(x: Tensor, rotations: Tensor) -> Tensor:
    """R(p) x for every token, as batched products whose rows are the batch.

    Args:
        x: [B, N, S, n*b], any floating dtype; the first S - T tokens pass unchanged.
        rotations: [N or 1, T, n, b, b]; brought to the dtype of ``x``.

    Returns:
        [B, N, S, n*b] in the dtype of ``x``; exact gradients flow to both.
    """
    check_heads(x)
    tokens, blocks, size = rotations.shape[-4:-1]
    if blocks * size != x.shape[-1] or tokens > x.shape[-2]:
        raise UsageError(
            f"rotations of {tokens} tokens, {blocks} blocks of {size} don't fit queries of "
            f"{x.shape[-2]} tokens and {x.shape[-1]} channels"
        )
    prefix = x.shape[-2] - tokens
    with full_precision(x):
        rows = x[..., prefix:, :].unflatten(-1, (blocks, size)).permute(1, 2, 3, 0, 4)
        turned = torch.matmul(rows, rotations.to(x.dtype).mT)
        turned = turned.permute(3, 0, 1, 2, 4).flatten(-2)
    return torch.cat((x[..., :prefix, :], turned), -2) if prefix else turned
