"""Self-attention with encoded queries and keys.

Shapes: B batch, S sequence (prefix + T), D width, N heads, K heads of keys and values, H head_dim.
"""

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from liere_cli.encodings import PositionEncoding
from liere_cli.key_value_cache import KeyValueCache
from liere_cli.model.norm import build_norm
from liere_cli.model.shape import ModelShape


@dataclass
class AttentionContext:
    """What all layers of a forward pass share.

    Args:
        prefix_tokens: of the input, before its tokens with a position.
        state: the encoding's state for the input tokens.
        key_state: the encoding's state for all keys: the same, except with a cache.
        visible: bool [Sq, Sk] or [B, 1, Sq, Sk], the keys that each query attends to; None for all
            keys or, in a language model, those up to its own.
        cache: of the tokens before the input.
    """

    encoding: PositionEncoding
    prefix_tokens: int
    state: Any
    key_state: Any
    visible: Tensor | None = None
    cache: KeyValueCache | None = None
    _bias_mask: tuple[Tensor, Tensor] | None = None

    def mask(self, bias: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
        """``visible``, or, with a bias, what is added to the logits of q and k, in their dtype:
        computed once for all layers that share the bias.
        """
        if bias is None:
            return self.visible
        if self._bias_mask is None or self._bias_mask[0] is not bias:
            prefix = (k.shape[2] - bias.shape[-1], 0, q.shape[2] - bias.shape[-2], 0)
            mask = F.pad(bias.to(q.dtype), prefix) if any(prefix) else bias.to(q.dtype)
            if self.visible is not None:
                mask = torch.where(self.visible, mask, -math.inf)
            self._bias_mask = (bias, mask)
        return self._bias_mask[1]


class Attention(nn.Module):
    """Multi-head self-attention with encoded queries and keys, or values too.

    Heads of queries that share a head of keys each have a copy of it, which is encoded as their own
    head is: an encoding may have other parameters for each.
    """

    def __init__(self, shape: ModelShape, layer: int) -> None:
        super().__init__()
        self.layer, self.causal, self.dropout = layer, shape.causal, shape.dropout
        self.heads, self.kv_heads = shape.heads, shape.kv_heads or shape.heads
        rows = (self.heads + 2 * self.kv_heads) * shape.head_dim
        self.qkv = nn.Linear(shape.dim, rows, bias=False)
        self.normed = shape.qk_norm
        if shape.qk_norm:
            self.q_norm = build_norm(shape.norm, shape.head_dim)
            self.k_norm = build_norm(shape.norm, shape.head_dim)
        self.fused = shape.fuses_encoding
        self.out = nn.Linear(shape.dim, shape.dim, bias=False)

    def forward(self, x: Tensor, context: AttentionContext) -> Tensor:
        """x: [B, S, D] -> [B, S, D]."""
        encoding, state, prefix = context.encoding, context.state, context.prefix_tokens
        if context.cache is None and self.fused:
            q, k, v = encoding.project(x, self.qkv.weight, state, self.layer, prefix_tokens=prefix)
        elif context.cache is None:
            q, k, v = self._heads(x)
            q, k = encoding.encode_qk(q, k, state, self.layer, prefix_tokens=prefix)
        else:
            q, k, v = self._heads(x)
            q = encoding.encode_q(q, state, self.layer, prefix_tokens=prefix)
            k = encoding.encode_k(k, state, self.layer, prefix_tokens=prefix)
        if rotates_values := "values" in encoding.places:
            v = encoding.encode_v(v, state, self.layer, prefix_tokens=prefix)
        if context.cache is not None:
            k, v = context.cache.extend(self.layer, k, v)
        mask = context.mask(encoding.bias(state, context.key_state, self.layer), q, k)
        causal = self.causal and mask is None and q.shape[2] > 1
        dropout, scale = self.dropout * self.training, v.shape[-1] ** -0.5
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal, dropout_p=dropout, scale=scale
        )
        if rotates_values:
            y = encoding.decode_v(y, state, self.layer, prefix_tokens=prefix)
        return cast(Tensor, self.out(y.transpose(1, 2).flatten(2)))

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values without position, each [B, N, S, H]."""
        groups = [self.heads, self.kv_heads, self.kv_heads]
        qkv = self.qkv(x).unflatten(-1, (sum(groups), -1)).transpose(1, 2)
        q, k, v = qkv.split(groups, 1)  # [B, N, S, H] and twice [B, K, S, H]
        if self.normed:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.kv_heads == self.heads:
            return q, k, v
        shared = self.heads // self.kv_heads
        return q, k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)
