"""Encodings in Hugging Face's transformers: language models as Llama, image models as ViT.

Both call an attention function that ``AttentionInterface`` registers by name.

Shapes: B batch, N heads, S queries, K keys (prefix included), H head_dim.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

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

#: the attention function's name
NAME = "liere"


def is_transformers(module: nn.Module) -> bool:
    return any(cls.__module__ == "transformers.modeling_utils" for cls in type(module).__mro__)


def apply_to_transformers(
    module: Any, spec: Spec, tokens: int | None, seed: int | None
) -> PositionEncoding:
    """See :func:`liere_cli.api.in_models.apply_to.apply_to`."""
    base, config = module.base_model, module.config
    attentions: list[Any] = [
        part for part in base.modules() if hasattr(part, "scaling") and hasattr(part, "is_causal")
    ]
    text = hasattr(base, "rotary_emb")
    image = hasattr(base, "embeddings") and hasattr(base.embeddings, "position_embeddings")
    image = image and hasattr(config, "image_size")
    layers: Any = getattr(base, "layers", ())
    if not (text or image) or not attentions or len(attentions) != len(layers):
        raise UsageError(
            f"apply_to: {type(module).__name__} is not built as Llama (layers, rotary_emb) or ViT "
            "(layers, embeddings.position_embeddings), with one attention module in each layer"
        )
    if text:
        grid: tuple[int, ...] = (tokens or config.max_position_embeddings,)
    else:
        sizes = zip(_pair(config.image_size), _pair(config.patch_size), strict=True)
        grid = tuple(size // patch for size, patch in sizes)
    encoding = build_encoding(
        spec,
        axes=len(grid),
        heads=config.num_attention_heads,
        head_dim=attentions[0].head_dim,
        depth=len(attentions),
        dim=config.hidden_size,
        grid=grid,
        seed=seed,
    )
    applied = AppliedEncoding(encoding, 0 if text else 1)
    install(base, applied, attentions, layers[0])
    if text:
        applied.grid = None
        base.rotary_emb = PositionIds(applied)
    else:
        table = base.embeddings.position_embeddings
        base.embeddings.position_embeddings = nn.Parameter(
            torch.zeros_like(table), requires_grad=False
        )
        hook = PatchGrid(applied, _pair(config.patch_size))
        base.embeddings.patch_embeddings.register_forward_pre_hook(hook)
    _register()
    module.set_attn_implementation(NAME)
    return encoding


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def _register() -> None:
    """Registers the attention function, with the masks of ``sdpa``."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, attention_function)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def attention_function(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """An attention function of transformers: [B, S, N, H], and no weights."""
    layer: AppliedLayer | None = getattr(module, LAYER, None)
    if layer is None:
        raise UsageError(
            f"attention implementation '{NAME}': call liere_cli.apply_to on the model first"
        )
    y = layer.applied.attend(
        layer.number,
        query,
        key,
        value,
        mask=attention_mask,
        causal=bool(getattr(module, "is_causal", True) if is_causal is None else is_causal),
        dropout=dropout,
        scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
    )
    return y.transpose(1, 2).contiguous(), None


class PositionIds(nn.Module):
    """In the place of a rotary embedding: notes the positions, and rotates by nothing, so that
    queries and keys reach the attention function, and a cache, as they are.
    """

    def __init__(self, applied: AppliedEncoding) -> None:
        super().__init__()
        self._applied = applied

    def forward(self, x: Tensor, position_ids: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
        """Cosines 1 and sines 0, [1, S, H], at positions [B or 1, S]."""
        first = position_ids[:1]
        if not torch.compiler.is_compiling():
            expected = first[:, :1] + torch.arange(first.shape[1], device=first.device)
            if not torch.equal(position_ids, expected.expand_as(position_ids)):
                raise UsageError(
                    "position_ids must count up by 1 and be the same in every row; pad on the "
                    "right, with an attention mask"
                )
        self._applied.positions = self._applied.counted(first[0])
        ones = x.new_ones(1, first.shape[1], self._applied.encoding.shape.head_dim)
        return ones, torch.zeros_like(ones)
