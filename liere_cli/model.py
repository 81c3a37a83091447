"""One pre-norm transformer: causal language model or classifier, any number of axes.

Shapes: B batch, T tokens with a position, S sequence (CLS prefix + T), D width, N heads,
H head_dim, C channels.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from liere_cli.encodings import Grid, PositionEncoding, build_encoding
from liere_cli.errors import UsageError
from liere_cli.utils.seeding import stream


@dataclass(frozen=True)
class ModelShape:
    """Everything that decides a transformer's weights, but the encoding.

    Args:
        layers, dim, heads: depth, width and attention heads.
        mlp_ratio: hidden width of the MLP over ``dim``.
        dropout: rate after the embedding, in attention and on both residual branches.
        pooling: what a classifier reads: a CLS token, or the mean over tokens.
        causal: a language model over bytes, else a classifier over patches.
        grid: extent of a training example along each axis: bytes, pixels, frames.
        patch: extent of a token along each axis.
        channels: of an input pixel; unused in a language model.
        classes: width of the logits.

    Raises:
        UsageError: sizes that do not fit together.
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
        self.tokens(self.grid)

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    def tokens(self, grid: tuple[int, ...]) -> tuple[int, ...]:
        """Tokens along each axis for examples of that grid.

        Raises:
            UsageError: the grid has other axes, or the patch does not divide it.
        """
        if len(grid) != len(self.patch):
            raise UsageError(
                f"grid {_by(grid)} has {len(grid)} axes, but model.patch {_by(self.patch)} has "
                f"{len(self.patch)}"
            )
        if any(
            extent % size or extent < size for extent, size in zip(grid, self.patch, strict=True)
        ):
            below = [max(e // s, 1) * s for e, s in zip(grid, self.patch, strict=True)]
            raise UsageError(
                f"grid {_by(grid)} can't be cut into patches of {_by(self.patch)}; "
                f"the nearest grid that can is {_by(below)}"
            )
        return tuple(extent // size for extent, size in zip(grid, self.patch, strict=True))


def _by(extents: tuple[int, ...] | list[int]) -> str:
    return "x".join(map(str, extents))


def encoding_for(shape: ModelShape, spec: str | Mapping[str, Any]) -> PositionEncoding:
    """The encoding that serves a transformer of that shape.

    Raises:
        UsageError: it is not defined for that shape.
    """
    return build_encoding(
        spec,
        axes=len(shape.grid),
        heads=shape.heads,
        head_dim=shape.head_dim,
        depth=shape.layers,
        dim=shape.dim,
        grid=shape.tokens(shape.grid),
    )


class KeyValueCache:
    """Encoded keys and values of the tokens that a causal model has read, for every layer."""

    def __init__(self, layers: int) -> None:
        self._kept: list[tuple[Tensor, Tensor] | None] = [None] * layers

    @property
    def tokens(self) -> int:
        """How many have been read."""
        last = self._kept[-1]
        return 0 if last is None else last[0].shape[2]

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Adds new tokens, [B, N, S, ...], and gives all of the layer's."""
        kept = self._kept[layer]
        if kept is not None:
            k, v = torch.cat((kept[0], k), 2), torch.cat((kept[1], v), 2)
        self._kept[layer] = (k, v)
        return k, v


@dataclass
class Scene:
    """What all layers of a forward pass share.

    Args:
        state: of the positions of the tokens that are read.
        key_state: of the positions of all keys: the same, but with a cache.
        seen: bool [Sq, Sk] or [B, 1, Sq, Sk], which keys each query sees; None where that is all of
            them or, in a language model, those up to its own.
        cache: of the tokens before these.
    """

    state: Any
    key_state: Any
    seen: Tensor | None = None
    cache: KeyValueCache | None = None
    _joined: tuple[Tensor, Tensor] | None = None

    def mask(self, bias: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
        """``seen``, or, with a bias, what is added to the logits of q and k, in their dtype: joined
        once for all layers that have the bias in common.
        """
        if bias is None:
            return self.seen
        if self._joined is None or self._joined[0] is not bias:
            prefix = (k.shape[2] - bias.shape[-1], 0, q.shape[2] - bias.shape[-2], 0)
            mask = F.pad(bias.to(q.dtype), prefix) if any(prefix) else bias.to(q.dtype)
            if self.seen is not None:
                mask = torch.where(self.seen, mask, -math.inf)
            self._joined = (bias, mask)
        return self._joined[1]


class Attention(nn.Module):
    """Multi-head self-attention whose queries and keys pass through the encoding."""

    def __init__(self, shape: ModelShape, layer: int) -> None:
        super().__init__()
        self.layer, self.causal = layer, shape.causal
        self.dropout = shape.dropout
        self.qkv = nn.Linear(shape.dim, 3 * shape.dim, bias=False)
        self.out = nn.Linear(shape.dim, shape.dim, bias=False)

    def forward(self, x: Tensor, encoding: PositionEncoding, scene: Scene) -> Tensor:
        """x: [B, S, D] -> [B, S, D]."""
        if scene.cache is None:
            q, k, v = encoding.project(x, self.qkv.weight, scene.state, self.layer)
        else:
            q, k, v = encoding.split(x, self.qkv.weight)  # each [B, N, S, H]
            q = encoding.encode_q(q, scene.state, self.layer)
            k = encoding.encode_k(k, scene.state, self.layer)
            k, v = scene.cache.extend(self.layer, k, v)
        mask = scene.mask(encoding.bias(scene.state, scene.key_state, self.layer), q, k)
        y = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            is_causal=self.causal and mask is None and q.shape[2] > 1,
            dropout_p=self.dropout if self.training else 0.0,
            scale=v.shape[-1] ** -0.5,
        )
        return cast(Tensor, self.out(y.transpose(1, 2).flatten(2)))


class Block(nn.Module):
    """Pre-norm attention and MLP, each on a residual branch."""

    def __init__(self, shape: ModelShape, layer: int) -> None:
        super().__init__()
        hidden = int(shape.dim * shape.mlp_ratio)
        self.attention_norm = nn.LayerNorm(shape.dim, bias=False)
        self.attention = Attention(shape, layer)
        self.mlp_norm = nn.LayerNorm(shape.dim, bias=False)
        self.mlp_in = nn.Linear(shape.dim, hidden, bias=False)
        self.mlp_out = nn.Linear(hidden, shape.dim, bias=False)
        self.dropout = nn.Dropout(shape.dropout) if shape.dropout else nn.Identity()

    def forward(self, x: Tensor, encoding: PositionEncoding, scene: Scene) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), encoding, scene))
        hidden: Tensor = F.gelu(self.mlp_in(self.mlp_norm(x)))
        return x + cast(Tensor, self.dropout(self.mlp_out(hidden)))


class Transformer(nn.Module):
    """Logits from bytes (causal) or pixels (classifier), with one position encoding."""

    def __init__(self, shape: ModelShape, encoding: str | Mapping[str, Any]) -> None:
        super().__init__()
        self.shape = shape
        self.token_grid = shape.tokens(shape.grid)
        if shape.causal:
            self.embed: nn.Module = nn.Embedding(shape.classes, shape.dim)
        else:
            self.embed = nn.Linear(shape.channels * math.prod(shape.patch), shape.dim)
        if not shape.causal and shape.pooling == "cls":
            self.cls = nn.Parameter(torch.zeros(shape.dim))
        self.encoding = encoding_for(shape, encoding)
        self.dropout = nn.Dropout(shape.dropout) if shape.dropout else nn.Identity()
        self.blocks = nn.ModuleList(Block(shape, layer) for layer in range(shape.layers))
        self.norm = nn.LayerNorm(shape.dim, bias=False)
        self.head = nn.Linear(shape.dim, shape.classes, bias=not shape.causal)
        self._positions: dict[tuple[Any, ...], Tensor] = {}

    def initialise(self, seed: int) -> None:
        """Draws every weight from a stream of its own name.

        Matrices are normal with standard deviation fan_in^-1/2; those that write to the residual
        stream are divided by sqrt(2 * layers) (GPT-2, Radford et al. 2019, section 2.3); byte
        embeddings, CLS and the head have 0.02.
        """
        for name, parameter in self.named_parameters():
            if name.startswith("encoding."):
                continue
            if "norm" in name:
                nn.init.ones_(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                std = parameter.shape[-1] ** -0.5
                if name.endswith(("attention.out.weight", "mlp_out.weight")):
                    std /= math.sqrt(2 * self.shape.layers)
                if name in ("cls", "head.weight") or (name == "embed.weight" and self.shape.causal):
                    std = 0.02
                nn.init.normal_(parameter, std=std, generator=stream(seed, "init", name))
        self.encoding.initialise(lambda name: stream(seed, "init", "encoding", name))

    def positions(self, tokens: tuple[int, ...], device: torch.device) -> Tensor:
        """Positions [T, A] of a token grid in the encoding's units, kept for the next call."""
        key = (tokens, device)
        if key not in self._positions:
            grid = Grid(tokens, self.token_grid)
            with torch.inference_mode(False):  # else a first call in that mode spoils training
                self._positions[key] = grid.positions(self.encoding.scaling, device)
        return self._positions[key]

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
            positions: [T, A] in the encoding's units, cached bytes included; None: those of the
                inputs' grid.
            mask: bool [B, T] over bytes or patches, False for padding, which changes no logit of
                another token and takes no part in the mean over tokens.
            cache: of the bytes before ``inputs``, which join it.

        Returns:
            [B, T, classes] for a language model, [B, classes] for a classifier.

        Raises:
            UsageError: a mask of another shape or dtype, or a cache with a mask or in a classifier.
        """
        if cache is not None and (mask is not None or not self.shape.causal):
            raise UsageError("a key-value cache serves language models, and no padding")
        read = 0 if cache is None else cache.tokens
        if self.shape.causal:
            tokens: tuple[int, ...] = (read + inputs.shape[1],)
            x = inputs
        else:
            tokens = self.shape.tokens(tuple(inputs.shape[2:]))
            x = self._patches(inputs, tokens)
        self._check_mask(mask, (len(x), x.shape[1]))
        if positions is None:
            positions = self.positions(tokens, inputs.device)
        all_positions, positions = positions, positions[read:]
        x = self.encoding.embed(self.embed(x), positions)  # [B, T, D]
        present = mask
        if not self.shape.causal and self.shape.pooling == "cls":
            x = torch.cat([self.cls.to(x.dtype).expand(len(x), 1, -1), x], 1)
            present = None if mask is None else F.pad(mask, (1, 0), value=True)
        x = self.dropout(x)
        state = key_state = self.encoding.prepare(positions)
        if read and "bias" in self.encoding.places:
            key_state = self.encoding.prepare(all_positions)
        scene = Scene(state, key_state, self._seen(present, x.shape[1], read, x.device), cache)
        for block in self.blocks:
            x = block(x, self.encoding, scene)
        if not self.shape.causal:
            x = x[:, 0] if self.shape.pooling == "cls" else _mean(x, mask)
        return cast(Tensor, self.head(self.norm(x)))

    def _seen(
        self, present: Tensor | None, queries: int, read: int, device: torch.device
    ) -> Tensor | None:
        """Which keys each of the queries sees, after ``read`` earlier ones: ``Scene.seen``."""
        causal = self.shape.causal and queries > 1  # one query at the end sees all keys
        if present is None and not (causal and (read or "bias" in self.encoding.places)):
            return None
        seen = torch.ones(queries, read + queries, dtype=torch.bool, device=device)
        if causal:
            seen = seen.tril(read)
        if present is None:
            return seen
        # a padded token sees itself at least: nothing at all would make it NaN
        itself = torch.eye(queries, dtype=torch.bool, device=device)
        return seen & present[:, None, None] | itself

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
        outer = [2 + 2 * axis for axis in range(axes)]
        inner = [3 + 2 * axis for axis in range(axes)]
        return x.permute(0, *outer, 1, *inner).flatten(1 + axes).flatten(1, axes)

    def parameter_groups(self) -> dict[Literal["decayed", "plain", "encoding"], list[nn.Parameter]]:
        """Matrices, vectors, and the encoding's own parameters, which are never decayed."""
        groups: dict[Literal["decayed", "plain", "encoding"], list[nn.Parameter]] = {
            "decayed": [],
            "plain": [],
            "encoding": [],
        }
        for name, parameter in self.named_parameters():
            if name.startswith("encoding."):
                groups["encoding"].append(parameter)
            else:
                groups["decayed" if parameter.ndim > 1 else "plain"].append(parameter)
        return groups

    def counts(self) -> tuple[int, int]:
        """Parameters in all, and those of the encoding."""
        own = sum(parameter.numel() for parameter in self.encoding.parameters())
        return sum(parameter.numel() for parameter in self.parameters()), own

    @torch.no_grad()
    def generate(
        self, prompt: Tensor, length: int, *, temperature: float, generator: torch.Generator
    ) -> Tensor:
        """Continues text byte by byte, looking back at most one training length.

        Within that length each byte is read once, and its keys and values are kept. Beyond it the
        window slides, and with it the position of every byte, so that all are read again.

        Args:
            prompt: int64 [P], at least one byte.
            length: bytes to add.
            temperature: 0 takes the most probable byte.
            generator: a CPU generator, so that all devices draw alike.

        Returns:
            int64 [P + length].
        """
        text = prompt
        window, cache = self.shape.grid[0], KeyValueCache(self.shape.layers)
        for _ in range(length):
            if len(text) <= window:
                logits = self(text[None, cache.tokens :], cache=cache)
            else:
                logits = self(text[None, -window:])
            logits = logits[0, -1].float().cpu()
            if temperature > 0:
                probabilities = (logits / temperature).softmax(-1)
                byte = torch.multinomial(probabilities, 1, generator=generator)
            else:
                byte = logits.argmax(-1, keepdim=True)
            text = torch.cat([text, byte.to(text.device)])
        return text


def _mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """The mean over tokens, [B, T, D] to [B, D], padding left out."""
    if mask is None:
        return x.mean(1)
    weights = mask.to(x.dtype)[..., None]
    return (x * weights).sum(1) / weights.sum(1).clamp(min=1)
