"""Normalisation of the residual stream, and of queries and keys."""

from typing import Literal

from torch import nn

NormKind = Literal["layernorm", "rmsnorm"]


def build_norm(kind: NormKind, width: int) -> nn.LayerNorm | nn.RMSNorm:
    """LayerNorm without a bias, or RMSNorm (arXiv 1910.07467) with Llama's epsilon of 1e-6, over
    the last axis of ``width`` channels.
    """
    if kind == "rmsnorm":
        return nn.RMSNorm(width, eps=1e-6)
    return nn.LayerNorm(width, bias=False)
