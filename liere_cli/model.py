"""One pre-norm transformer: causal language model or classifier, any number of axes.

Shapes: B batch, T tokens with a position, S sequence (CLS prefix + T), D width, N heads,
H head_dim, C channels.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from liere_cli.config.spec import scalar_text
from liere_cli.encodings import PositionEncoding, build_encoding
from liere_cli.encodings.registry import Spec
from liere_cli.errors import UsageError
from liere_cli.key_value_cache import KeyValueCache
from liere_cli.positions.cache import PositionCache, StateCache
from liere_cli.utils.seeding import stream
from liere_cli.utils.torch_modes import check_mode

ParameterGroup = Literal["decayed", "plain", "encoding"]


@dataclass(frozen=True)
class ModelShape:
    """The architecture of a transformer, without its encoding.

    Args:
        mlp_ratio: hidden width of the MLP over ``dim``.
        dropout: rate after the embedding, in attention and on both residual branches.
        pooling: what a classifier reads out: a CLS token, or the mean over tokens.
        causal: a language model over bytes; otherwise a classifier over patches.
        grid, patch: extents of a training example (bytes, pixels, frames) and of a token.
        channels: of an input pixel; unused in a language model.
        classes: width of the logits.

    Raises:
        UsageError: sizes that do not fit each other.
    """

    layers: int
    dim: int
    heads: int
    mlp_ratio: float
    dropout: float
    pooling: Literal["cls", "mean"]
    causal: bool
    grid: tuple[int, ...]
    patch: tuple[int, ...]
    channels: int
    classes: int

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise UsageError(f"model.dim {self.dim} can't be split into model.heads {self.heads}")
        if self.hidden < 1:
            raise UsageError(
                f"model.mlp_ratio {self.mlp_ratio:g} of model.dim {self.dim} leaves the MLP no "
                f"width; it must be at least {math.ceil(1e6 / self.dim) / 1e6:g}"
            )
        self.tokens(self.grid)

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    @property
    def hidden(self) -> int:
        """Width of the MLP."""
        return int(self.dim * self.mlp_ratio)

    def step_flops(self, batch: float) -> float:
        """Floating-point operations of a training step, without the encoding: 6 for each weight and
        token (Kaplan et al. 2020, arXiv 2001.08361, section 2.1), attention counted as weights.
        """
        tokens = math.prod(self.tokens(self.grid))
        layer = 4 * self.dim**2 + 2 * self.dim * self.hidden + 2 * tokens * self.dim
        return 6.0 * batch * tokens * self.layers * layer

    @property
    def prefix_tokens(self) -> int:
        """Tokens without a position, before the others."""
        return int(not self.causal and self.pooling == "cls")

    def tokens(self, grid: tuple[int, ...]) -> tuple[int, ...]:
        """Tokens along each axis of an example of that grid; UsageError for another number of axes,
        or an extent that the patch does not divide.
        """
        extents, patch = scalar_text(grid), scalar_text(self.patch)
        if len(grid) != len(self.patch):
            axes = f"{len(grid)} axes, but model.patch {patch} has {len(self.patch)}"
            raise UsageError(f"grid {extents} has {axes}")
        below = tuple(max(e // s, 1) * s for e, s in zip(grid, self.patch, strict=True))
        if below != grid:
            raise UsageError(
                f"grid {extents} can't be cut into patches of {patch}; the nearest grid that can "
                f"is {scalar_text(below)}"
            )
        return tuple(extent // size for extent, size in zip(grid, self.patch, strict=True))


def encoding_for(shape: ModelShape, spec: Spec) -> PositionEncoding:
    """The encoding for a transformer of that shape; UsageError if it is not defined for it."""
    return build_encoding(
        spec,
        axes=len(shape.grid),
        heads=shape.heads,
        head_dim=shape.head_dim,
        depth=shape.layers,
        dim=shape.dim,
        grid=shape.tokens(shape.grid),
    )


@dataclass
class AttentionContext:
    """What all layers of a forward pass share.

    Args:
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
    """Multi-head self-attention with encoded queries and keys."""

    def __init__(self, shape: ModelShape, layer: int) -> None:
        super().__init__()
        self.layer, self.causal, self.dropout = layer, shape.causal, shape.dropout
        self.qkv = nn.Linear(shape.dim, 3 * shape.dim, bias=False)
        self.out = nn.Linear(shape.dim, shape.dim, bias=False)

    def forward(self, x: Tensor, context: AttentionContext) -> Tensor:
        """x: [B, S, D] -> [B, S, D]."""
        encoding, state = context.encoding, context.state
        if context.cache is None:
            prefix = context.prefix_tokens
            q, k, v = encoding.project(x, self.qkv.weight, state, self.layer, prefix_tokens=prefix)
        else:
            q, k, v = encoding.split(x, self.qkv.weight)  # each [B, N, S, H]
            q = encoding.encode_q(q, state, self.layer)
            k = encoding.encode_k(k, state, self.layer)
            k, v = context.cache.extend(self.layer, k, v)
        mask = context.mask(encoding.bias(state, context.key_state, self.layer), q, k)
        causal = self.causal and mask is None and q.shape[2] > 1
        dropout, scale = self.dropout * self.training, v.shape[-1] ** -0.5
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal, dropout_p=dropout, scale=scale
        )
        return cast(Tensor, self.out(y.transpose(1, 2).flatten(2)))


class Block(nn.Module):
    """Pre-norm attention and MLP, each on a residual branch."""

    def __init__(self, shape: ModelShape, layer: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(shape.dim, bias=False)
        self.attention = Attention(shape, layer)
        self.mlp_norm = nn.LayerNorm(shape.dim, bias=False)
        self.mlp_in = nn.Linear(shape.dim, shape.hidden, bias=False)
        self.mlp_out = nn.Linear(shape.hidden, shape.dim, bias=False)
        self.dropout = nn.Dropout(shape.dropout) if shape.dropout else nn.Identity()

    def forward(self, x: Tensor, context: AttentionContext) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), context))
        hidden: Tensor = F.gelu(self.mlp_in(self.mlp_norm(x)))
        return x + cast(Tensor, self.dropout(self.mlp_out(hidden)))


class Transformer(nn.Module):
    """Logits from bytes (causal) or pixels (classifier), with one position encoding."""

    def __init__(self, shape: ModelShape, encoding: Spec) -> None:
        super().__init__()
        self.shape = shape
        self.token_grid = shape.tokens(shape.grid)
        if shape.causal:
            self.embed: nn.Module = nn.Embedding(shape.classes, shape.dim)
        else:
            self.embed = nn.Linear(shape.channels * math.prod(shape.patch), shape.dim)
        if shape.prefix_tokens:
            self.cls = nn.Parameter(torch.zeros(shape.dim))
        self.encoding = encoding_for(shape, encoding)
        self.dropout = nn.Dropout(shape.dropout) if shape.dropout else nn.Identity()
        self.blocks = nn.ModuleList(Block(shape, layer) for layer in range(shape.layers))
        self.norm = nn.LayerNorm(shape.dim, bias=False)
        self.head = nn.Linear(shape.dim, shape.classes, bias=not shape.causal)
        self._positions = PositionCache()
        #: of the encoding, for passes over a whole split
        self.states = StateCache()

    def initialise(self, seed: int) -> None:
        """Draws every weight from the random stream of its name.

        Matrices are normal with standard deviation fan_in^-1/2; those that write to the residual
        stream are divided by sqrt(2 * layers) (GPT-2, Radford et al. 2019, section 2.3); byte
        embeddings, CLS and the head have 0.02.
        """
        for name, parameter in self.named_parameters():
            if name.startswith("encoding."):
                continue
            # on the CPU, where the streams are
            drawn = torch.empty_like(parameter, device="cpu")
            if "norm" in name:
                nn.init.ones_(drawn)
            elif name.endswith("bias"):
                nn.init.zeros_(drawn)
            else:
                std = parameter.shape[-1] ** -0.5
                if name.endswith(("attention.out.weight", "mlp_out.weight")):
                    std /= math.sqrt(2 * self.shape.layers)
                if name in ("cls", "head.weight") or (name == "embed.weight" and self.shape.causal):
                    std = 0.02
                nn.init.normal_(drawn, std=std, generator=stream(seed, "init", name))
            with torch.no_grad():
                parameter.copy_(drawn)
        self.encoding.initialise(lambda name: stream(seed, "init", "encoding", name))

    def positions(self, tokens: tuple[int, ...], device: torch.device) -> Tensor:
        """Positions [T, A] of a token grid in the encoding's units, cached."""

        def build() -> Tensor:
            return self.encoding.positions(tokens, self.token_grid, device)

        return self._positions.get((tokens, device), build)

    def forward(
        self,
        inputs: Tensor,
        positions: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """
        Args:
            inputs: bytes, int64 [B, T], or pixels, float [B, C, *grid]; other lengths and
                resolutions than in training extend the positions.
            positions: [T, A] in the encoding's units, cached bytes included; None: the positions of
                the inputs' grid.
            mask: bool [B, T] over bytes or patches, False for padding, which does not affect other
                tokens and is excluded from the mean over tokens.
            cache: of the bytes before ``inputs``, which are added to it.

        Returns:
            [B, T, classes] for a language model, [B, classes] for a classifier.

        Raises:
            UsageError: a mask of another shape or dtype, a cache with a mask or in a classifier,
                ``torch.jit.trace`` or forward-mode differentiation.
        """
        check_mode()
        if cache is not None and (mask is not None or not self.shape.causal):
            raise UsageError("a key-value cache needs a language model, and no mask")
        cached = 0 if cache is None else cache.tokens
        x = inputs
        tokens: tuple[int, ...] = (cached + inputs.shape[-1],)
        if not self.shape.causal:
            tokens = self.shape.tokens(tuple(inputs.shape[2:]))
            x = self._patches(inputs, tokens)
        self._check_mask(mask, (len(x), x.shape[1]))
        if positions is None:
            positions = self.positions(tokens, inputs.device)
        all_positions = positions
        if cached:
            positions = positions[cached:]
        # the residual stream has the weights' dtype, also where autocast narrows an embedding
        x = self.encoding.embed(self.embed(x).to(self.norm.weight.dtype), positions)  # [B, T, D]
        prefix = self.shape.prefix_tokens
        if prefix:
            x = torch.cat([self.cls.to(x.dtype).expand(len(x), 1, -1), x], 1)
        present = None if mask is None else F.pad(mask, (prefix, 0), value=True)
        x = self.dropout(x)
        state = key_state = self.states.get(positions, self.encoding.prepare)
        if cached and "bias" in self.encoding.places:
            key_state = self.encoding.prepare(all_positions)
        context = AttentionContext(self.encoding, prefix, state, key_state, cache=cache)
        context.visible = self._visible(present, x.shape[1], cached, x.device)
        for block in self.blocks:
            x = block(x, context)
        if not self.shape.causal:
            x = x[:, 0] if prefix else _mean(x, mask)
        return cast(Tensor, self.head(self.norm(x)))

    def _visible(
        self, present: Tensor | None, queries: int, cached: int, device: torch.device
    ) -> Tensor | None:
        """``AttentionContext.visible`` for queries that follow ``cached`` keys."""
        causal = self.shape.causal and queries > 1  # one query at the end attends to all keys
        if present is None and not (causal and (cached or "bias" in self.encoding.places)):
            return None
        visible = torch.ones(queries, cached + queries, dtype=torch.bool, device=device)
        if causal:
            visible = visible.tril(cached)
        if present is None:
            return visible
        # padding attends to itself: a query without any key would be NaN
        itself = torch.eye(queries, dtype=torch.bool, device=device)
        return visible & present[:, None, None] | itself

    def _check_mask(self, mask: Tensor | None, expected: tuple[int, int]) -> None:
        if mask is not None and (mask.dtype != torch.bool or tuple(mask.shape) != expected):
            raise UsageError(
                f"the mask must be bool {list(expected)}, True for tokens, not "
                f"{str(mask.dtype).removeprefix('torch.')} {list(mask.shape)}"
            )

    def _patches(self, pixels: Tensor, tokens: tuple[int, ...]) -> Tensor:
        """[B, C, *grid] -> [B, T, C * patch pixels]."""
        axes = len(tokens)
        split = [extent for pair in zip(tokens, self.shape.patch, strict=True) for extent in pair]
        x = pixels.reshape(*pixels.shape[:2], *split)  # [B, C, t1, p1, t2, p2, ...]
        x = x.permute(0, *range(2, x.ndim, 2), 1, *range(3, x.ndim, 2))
        return x.flatten(1 + axes).flatten(1, axes)

    def parameter_groups(self) -> dict[ParameterGroup, list[nn.Parameter]]:
        """Matrices, vectors, and the encoding's parameters, which have no weight decay."""
        groups: dict[ParameterGroup, list[nn.Parameter]]
        groups = {"decayed": [], "plain": [], "encoding": []}
        for name, parameter in self.named_parameters():
            group: ParameterGroup = "decayed" if parameter.ndim > 1 else "plain"
            groups["encoding" if name.startswith("encoding.") else group].append(parameter)
        return groups

    def counts(self) -> tuple[int, int]:
        """Numbers of all parameters, and of those of the encoding."""
        encoding = sum(parameter.numel() for parameter in self.encoding.parameters())
        return sum(parameter.numel() for parameter in self.parameters()), encoding

    @torch.no_grad()
    def generate(
        self, prompt: Tensor, length: int, *, temperature: float, generator: torch.Generator
    ) -> Tensor:
        """Continues text byte by byte, with a context of at most one training length.

        Within that length keys and values are cached. Beyond it the window slides, which changes
        the position of every byte, so the whole window is computed again.

        Args:
            prompt: int64 [P], at least one byte.
            temperature: 0 takes the most probable byte.
            generator: a CPU generator, so that all devices draw the same.

        Returns:
            int64 [P + length].
        """
        text = prompt
        window, cache = self.shape.grid[0], KeyValueCache(self.shape.layers)
        for _ in range(length):
            if len(text) <= window:
                logits = self(text[None, cache.tokens :], cache=cache)[0, -1].float().cpu()
            else:
                logits = self(text[None, -window:])[0, -1].float().cpu()
            byte = logits.argmax(-1, keepdim=True)
            if temperature > 0:
                probabilities = (logits / temperature).softmax(-1)
                byte = torch.multinomial(probabilities, 1, generator=generator)
            text = torch.cat([text, byte.to(text.device)])
        return text


def _mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """The mean over tokens without padding, [B, T, D] to [B, D]."""
    if mask is None:
        return x.mean(1)
    weights = mask.to(x.dtype)[..., None]
    return (x * weights).sum(1) / weights.sum(1).clamp(min=1)
