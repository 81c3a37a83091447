"""One pre-norm transformer: causal language model or classifier, any number of axes.

Shapes: B batch, T tokens with a position, S sequence (prefix + T), D width, C channels.
"""

import math
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from liere_cli.encodings.registry import Spec
from liere_cli.errors import UsageError
from liere_cli.key_value_cache import KeyValueCache
from liere_cli.model.attention import AttentionContext
from liere_cli.model.block import Block
from liere_cli.model.norm import build_norm
from liere_cli.model.shape import ModelShape, encoding_for
from liere_cli.model.visibility import visible_keys
from liere_cli.positions.cache import PositionCache, StateCache
from liere_cli.utils.seeding import stream
from liere_cli.utils.torch_modes import check_mode

ParameterGroup = Literal["decayed", "plain", "encoding"]


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
        if shape.has_cls:
            self.cls = nn.Parameter(torch.zeros(shape.dim))
        if shape.registers:
            self.registers = nn.Parameter(torch.zeros(shape.registers, shape.dim))
        self.encoding = encoding_for(shape, encoding)
        self.dropout = nn.Dropout(shape.dropout) if shape.dropout else nn.Identity()
        self.blocks = nn.ModuleList(Block(shape, layer) for layer in range(shape.layers))
        self.norm = build_norm(shape.norm, shape.dim)
        if not shape.tie_embeddings:
            self.head = nn.Linear(shape.dim, shape.classes, bias=not shape.causal)
        self._positions = PositionCache()
        #: of the encoding, for passes over a whole split
        self.states = StateCache()

    def initialise(self, seed: int) -> None:
        """Draws every weight from the random stream of its name.

        Matrices are normal with standard deviation fan_in^-1/2; those that write to the residual
        stream are divided by sqrt(2 * layers) (GPT-2, Radford et al. 2019, section 2.3); byte
        embeddings, CLS, registers and the head have 0.02.
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
                bytes_ = ("embed.weight",) if self.shape.causal else ()
                if name in ("cls", "registers", "head.weight", *bytes_):
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
        documents: Tensor | None = None,
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
            documents: int64 [B, T], the document of each byte, which attends to no other document.

        Returns:
            [B, T, classes] for a language model, [B, classes] for a classifier.

        Raises:
            UsageError: a mask of another shape or dtype, a cache with a mask or in a classifier,
                ``torch.jit.trace`` or forward-mode differentiation.
        """
        check_mode()
        shape = self.shape
        if cache is not None and (mask is not None or not shape.causal):
            raise UsageError("a key-value cache needs a language model, and no mask")
        if documents is not None and (cache is not None or not shape.causal):
            raise UsageError("documents need a language model, and no key-value cache")
        cached = 0 if cache is None else cache.tokens
        # a cache has the prefix already
        before, prefix = max(cached - shape.prefix_tokens, 0), 0 if cached else shape.prefix_tokens
        x = inputs
        tokens: tuple[int, ...] = (before + inputs.shape[-1],)
        if not shape.causal:
            tokens = shape.tokens(tuple(inputs.shape[2:]))
            x = self._patches(inputs, tokens)
        self._check_mask(mask, (len(x), x.shape[1]))
        if positions is None:
            positions = self.positions(tokens, inputs.device)
        all_positions = positions
        if before:
            positions = positions[before:]
        # the residual stream has the weights' dtype, also where autocast narrows an embedding
        x = self.encoding.embed(self.embed(x).to(self.norm.weight.dtype), positions)  # [B, T, D]
        if prefix:
            x = torch.cat([self._prefix().to(x.dtype).expand(len(x), -1, -1), x], 1)
        x = self.dropout(x)
        state = key_state = self.states.get(positions, self.encoding.prepare)
        if cached and "bias" in self.encoding.places:
            key_state = self.encoding.prepare(all_positions)
        context = AttentionContext(self.encoding, prefix, state, key_state, cache=cache)
        # one query at the end attends to all keys
        causal = shape.causal and x.shape[1] > 1
        masked = causal and (cached or "bias" in self.encoding.places)
        if masked or shape.window is not None or not (mask is None and documents is None):
            context.visible = visible_keys(
                tokens,
                x.device,
                prefix=shape.prefix_tokens,
                cached=cached,
                causal=causal,
                window=shape.window,
                present=None if mask is None else F.pad(mask, (prefix, 0), value=True),
                documents=documents,
            )
        for block in self.blocks:
            x = block(x, context)
        if shape.has_cls:
            x = x[:, 0]
        elif not shape.causal:
            x = _mean(x[:, prefix:], mask)
        else:
            x = x[:, prefix:]
        return self._logits(self.norm(x))

    def _prefix(self) -> Tensor:
        """CLS and registers, [prefix, D]."""
        parts = [self.cls[None]] if self.shape.has_cls else []
        return torch.cat([*parts, self.registers]) if self.shape.registers else parts[0]

    def _logits(self, x: Tensor) -> Tensor:
        """[..., D] to [..., classes]."""
        shape = self.shape
        weight = cast(Tensor, self.embed.weight)
        logits = F.linear(x, weight) if shape.tie_embeddings else self.head(x)
        if shape.logit_cap is not None:
            logits = shape.logit_cap * torch.tanh(logits / shape.logit_cap)
        return cast(Tensor, logits)

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
            is_matrix = parameter.ndim > 1 and name != "registers"
            group: ParameterGroup = "decayed" if is_matrix else "plain"
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
        window, cache, read = self.shape.grid[0], KeyValueCache(self.shape.layers), 0
        for _ in range(length):
            if len(text) <= window:
                logits = self(text[None, read:], cache=cache)[0, -1].float().cpu()
                read = len(text)
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
