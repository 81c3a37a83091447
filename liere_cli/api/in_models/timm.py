"""Encodings in timm's vision transformers: ``VisionTransformer`` and ``Eva``.

Shapes: B batch, N heads, S tokens (prefix included), H head_dim.
"""

from types import MethodType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from liere_cli.api.in_models.applied import (
    LAYER,
    AppliedEncoding,
    AppliedLayer,
    PatchGrid,
    install,
)
from liere_cli.encodings import PositionEncoding, build_encoding
from liere_cli.encodings.registry import Spec
from liere_cli.errors import UsageError


def is_timm(module: nn.Module) -> bool:
    return any(cls.__module__.startswith("timm.models.") for cls in type(module).__mro__)


def apply_to_timm(module: Any, spec: Spec, seed: int | None) -> PositionEncoding:
    """See :func:`liere_cli.api.in_models.apply_to.apply_to`."""
    from timm.layers.attention import Attention, AttentionRope
    from timm.models.eva import EvaAttention

    classes = (Attention, AttentionRope, EvaAttention)
    attentions = [part for part in module.modules() if type(part) in classes]
    blocks = getattr(module, "blocks", None)
    if blocks is None or not hasattr(module, "patch_embed") or len(attentions) != len(blocks):
        raise UsageError(
            f"apply_to: {type(module).__name__} has {len(attentions)} attention modules of timm's "
            "Attention, AttentionRope and EvaAttention; it needs one in each of its blocks, after "
            "patch_embed"
        )
    grid = tuple(module.patch_embed.grid_size)
    first: Any = attentions[0]
    encoding = build_encoding(
        spec,
        axes=len(grid),
        heads=first.num_heads,
        head_dim=first.head_dim,
        depth=len(attentions),
        dim=module.embed_dim,
        grid=grid,
        seed=seed,
    )
    applied = AppliedEncoding(encoding, module.num_prefix_tokens)
    install(module, applied, attentions, blocks[0])
    module.patch_embed.register_forward_pre_hook(
        PatchGrid(applied, tuple(module.patch_embed.patch_size))
    )
    for attention in attentions:
        attention.forward = MethodType(_forward, attention)
    module.pos_embed = None
    if getattr(module, "rope", None) is not None:
        module.rope = None
    return encoding


def _forward(
    self: Any,
    x: Tensor,
    rope: Tensor | None = None,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
) -> Tensor:
    """What the three modules compute, with the encoding in the place of ``rope``."""
    layer: AppliedLayer = getattr(self, LAYER)
    q, k, v = _heads(self, x)
    y = layer.applied.attend(
        layer.number,
        self.q_norm(q),
        self.k_norm(k),
        v,
        mask=attn_mask,
        causal=is_causal,
        dropout=self.attn_drop.p if self.training else 0.0,
        scale=self.scale,
    )
    y = self.norm(y.transpose(1, 2).flatten(2))
    if self.gate is not None:
        y = y * self.gate(x).sigmoid()
    return cast(Tensor, self.proj_drop(self.proj(y)))


def _heads(attention: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [B, N, S, H], and keys and values, of which there may be fewer heads."""
    if attention.qkv is None:
        parts = (attention.q_proj(x), attention.k_proj(x), attention.v_proj(x))
        q, k, v = (p.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2) for p in parts)
        return q, k, v
    bias = attention.qkv.bias
    if getattr(attention, "q_bias", None) is not None:
        bias = torch.cat((attention.q_bias, attention.k_bias, attention.v_bias))
    qkv = F.linear(x, attention.qkv.weight, bias).unflatten(-1, (3, attention.num_heads, -1))
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    return q, k, v
