"""ALiBi: attention that decays with distance, at a fixed slope for each head."""

import torch
from pydantic import Field
from torch import Tensor

from liere_cli.encodings.base import PositionedOptions, Shape
from liere_cli.encodings.bias.base import LogitBias, distances
from liere_cli.errors import UsageError


class ALiBiOptions(PositionedOptions):
    heads: int | None = Field(
        None, ge=1, description="number of heads with a bias, the first ones; null: all"
    )


class ALiBi(LogitBias):
    """ALiBi (arXiv 2108.12409, section 3): head n adds -m_n |p_q - p_k| to its logits.

    The slopes m_n are fixed: 2^(-8 n / N) for n = 1 .. N if N is a power of two; otherwise those
    of the power of two below, and every second one of the power above. In a bidirectional model the
    bias is symmetric. On several axes the distance is Euclidean, as in CROMA (arXiv 2311.00566,
    section 3.2).
    """

    name = "alibi"
    summary = "logits decay linearly with distance, at fixed slopes"
    source = "arXiv 2108.12409; arXiv 2311.00566 (CROMA) for several axes"
    formula = "logit - m_n |p_q - p_k|"
    Options = ALiBiOptions

    def __init__(self, shape: Shape, options: ALiBiOptions | None = None) -> None:
        super().__init__(shape, options)
        heads = self.options.heads or shape.heads
        if heads > shape.heads:
            raise UsageError(
                f"encoding 'alibi': heads={heads} get a bias, but there are {shape.heads} heads"
            )
        by_head = torch.zeros(shape.heads)
        by_head[:heads] = slopes(heads)
        self.register_buffer("slopes", by_head[:, None, None], persistent=False)
        self.slopes: Tensor

    def between(self, queries: Tensor, keys: Tensor, layer: int) -> Tensor:
        return -self.slopes * distances(queries, keys)


def slopes(heads: int) -> Tensor:
    """ALiBi's slopes, [heads] float32 (arXiv 2108.12409, section 3, and its code for numbers of
    heads that are not powers of two).
    """
    below = 1 << (heads.bit_length() - 1)
    exact = [2 ** (-8 * (n + 1) / below) for n in range(below)]
    between = [2 ** (-8 * (2 * n + 1) / (2 * below)) for n in range(heads - below)]
    return torch.tensor(exact + between, dtype=torch.float32)
