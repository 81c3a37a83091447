"""The architecture of a transformer, without its encoding."""

import math
from dataclasses import dataclass
from typing import Literal

from liere_cli.config.spec import scalar_text
from liere_cli.encodings import PositionEncoding, build_encoding
from liere_cli.encodings.registry import Spec
from liere_cli.errors import UsageError
from liere_cli.model.mlp import MlpKind, hidden_width
from liere_cli.model.norm import NormKind


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
        norm, mlp: the kinds of normalisation and MLP.
        qk_norm: queries and keys are normalised over the channels of each head, with a learned
            scale, before they are encoded (arXiv 2302.05442, section 2).
        registers: learned tokens without a position before all others (arXiv 2309.16588).
        kv_heads: heads of keys and values, each shared by an equal number of heads of queries
            (arXiv 2305.13245); None: as many as ``heads``.
        tie_embeddings: a language model's logits are products with its byte embeddings.
        logit_cap: c of c tanh(logits / c), arXiv 2408.00118, section 2; None: no cap.
        window: queries attend to keys less than this many tokens away along every axis, and to the
            prefix; None: to all.

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
    norm: NormKind = "layernorm"
    mlp: MlpKind = "gelu"
    qk_norm: bool = False
    registers: int = 0
    kv_heads: int | None = None
    tie_embeddings: bool = False
    logit_cap: float | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise UsageError(f"model.dim {self.dim} can't be split into model.heads {self.heads}")
        if self.hidden < 1:
            raise UsageError(
                f"model.mlp_ratio {self.mlp_ratio:g} of model.dim {self.dim} leaves the MLP no "
                f"width; it must be at least {math.ceil(1e6 / self.dim) / 1e6:g}"
            )
        if self.kv_heads is not None and self.heads % self.kv_heads:
            fitting = [str(n) for n in range(1, self.heads + 1) if self.heads % n == 0]
            raise UsageError(
                f"model.heads {self.heads} can't be split into model.kv_heads {self.kv_heads} "
                f"groups; those that fit: {', '.join(fitting)}"
            )
        if self.tie_embeddings and not self.causal:
            raise UsageError(
                "model.tie_embeddings is true, but a classifier's inputs are pixels, so its logits "
                "have no embeddings to share; set it to false on images and video"
            )
        self.tokens(self.grid)

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    @property
    def hidden(self) -> int:
        """Width of the MLP."""
        return hidden_width(self.mlp, self.dim, self.mlp_ratio)

    def step_flops(self, batch: float) -> float:
        """Floating-point operations of a training step, without the encoding: 6 for each weight and
        token (Kaplan et al. 2020, arXiv 2001.08361, section 2.1), attention counted as weights.
        """
        tokens = math.prod(self.tokens(self.grid))
        mlp = 2 * self.dim * int(self.dim * self.mlp_ratio)  # gated ones have as many weights
        layer = 4 * self.dim**2 + mlp + 2 * tokens * self.dim
        return 6.0 * batch * tokens * self.layers * layer

    @property
    def fuses_encoding(self) -> bool:
        """Whether nothing acts between projection and encoding, which may then be fused."""
        return not self.qk_norm and self.kv_heads in (None, self.heads)

    @property
    def has_cls(self) -> bool:
        return not self.causal and self.pooling == "cls"

    @property
    def prefix_tokens(self) -> int:
        """Tokens without a position, before the others."""
        return self.has_cls + self.registers

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
