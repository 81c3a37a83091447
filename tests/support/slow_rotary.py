"""Reference implementation of rotary encodings: loops over tokens and planes, in float64."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from liere_cli.encodings import Grid, PositionEncoding, build_encoding

SHAPES: dict[int, tuple[int, ...]] = {1: (6,), 2: (3, 4), 3: (2, 3, 2)}


def built(
    spec: str, axes: int, head_dim: int = 16, heads: int = 2, depth: int = 2
) -> PositionEncoding:
    """The encoding in float64, with random parameters."""
    encoding = build_encoding(
        spec, axes=axes, heads=heads, head_dim=head_dim, depth=depth, grid=SHAPES[axes], seed=0
    ).double()
    with torch.no_grad():
        for parameter in encoding.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return encoding


def positions_of(encoding: PositionEncoding) -> Tensor:
    return Grid(SHAPES[encoding.shape.axes]).positions(encoding.scaling)


def random_qk(encoding: PositionEncoding, prefix: int = 0) -> tuple[Tensor, Tensor]:
    shape = encoding.shape
    tokens = math.prod(SHAPES[shape.axes]) + prefix
    q, k = torch.randn(2, 3, shape.heads, tokens, shape.head_dim, dtype=torch.float64)
    return q, k


def channels_of(plane: int, head_dim: int, layout: str) -> tuple[int, int]:
    if layout == "interleaved":
        return 2 * plane, 2 * plane + 1
    return plane, plane + head_dim // 2


def turned(
    x: Tensor, positions: Tensor, layout: str, angle: Callable[[int, int, list[float]], float]
) -> Tensor:
    """Rotates plane i of head n at position p by angle(n, i, p), x: [B, N, T, H]."""
    out = x.clone()
    for head in range(x.shape[1]):
        for token, position in enumerate(positions.double().tolist()):
            for plane in range(x.shape[3] // 2):
                a, b = channels_of(plane, x.shape[3], layout)
                c, s = (f(angle(head, plane, position)) for f in (math.cos, math.sin))
                first, second = x[:, head, token, a], x[:, head, token, b]
                out[:, head, token, a] = c * first - s * second
                out[:, head, token, b] = s * first + c * second
    return out


def scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.mT
