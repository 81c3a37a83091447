"""What an encoding accepts: positions, queries and keys that fit its shape and each other.

Shapes: as in ``encodings.base``.
"""

from typing import TYPE_CHECKING

from torch import Tensor

from liere_cli.errors import UsageError

if TYPE_CHECKING:
    from liere_cli.encodings.base import Place, Shape


class ArgumentChecks:
    """Checks that raise UsageError, for :class:`liere_cli.encodings.base.PositionEncoding`."""

    shape: "Shape"
    places: "tuple[Place, ...]"

    def check_positions(self, positions: Tensor) -> None:
        """Raises UsageError unless positions are [T, A] with this encoding's axes."""
        axes = self.shape.axes
        if not isinstance(positions, Tensor):
            raise UsageError("positions must be a tensor, as encoding.positions(grid) makes it")
        given = list(positions.shape)
        if positions.ndim != 2 or given[1] != axes:
            raise UsageError(f"positions must be [tokens, {axes}], not {given}")

    def check_tokens(self, tokens: int, positions: int, prefix_tokens: int) -> None:
        """Raises UsageError unless ``tokens`` are the prefix and a token for each position."""
        if tokens == positions + prefix_tokens and prefix_tokens >= 0:
            return
        total, extra = positions + prefix_tokens, tokens - positions
        sentence = f"{tokens} tokens, but {positions} positions and {prefix_tokens=} make {total}"
        if extra > 0:
            first = "the first token has" if extra == 1 else f"the first {extra} tokens have"
            sentence += (
                f"; pass prefix_tokens={extra} if {first} no position (CLS, registers), or the "
                "positions of a grid that has all tokens"
            )
        raise UsageError(sentence)

    def check_sequences(self, positions: int, prefix_tokens: int, *xs: Tensor) -> None:
        """``check_tokens`` of queries or keys [B, N, S, H]."""
        for x in xs:
            self.check_tokens(x.shape[2], positions, prefix_tokens)

    def _check_acts_on_qk(self) -> None:
        """An encoding that acts only elsewhere must not seem to work; ``none`` acts nowhere."""
        if "encode_qk" in self.places:
            return
        name = getattr(self, "name", type(self).__name__)
        if "embed" in self.places:
            raise UsageError(f"'{name}' adds to the token embeddings: call embed(x, positions)")
        if "bias" in self.places:
            call = "bias(state, state, layer) with state = prepare(positions)"
            raise UsageError(f"'{name}' adds to the attention logits: call {call}")

    def _check_heads(self, name: str, x: Tensor) -> None:
        heads, head_dim = self.shape.heads, self.shape.head_dim
        shape = list(getattr(x, "shape", []))
        if not isinstance(x, Tensor) or len(shape) != 4 or shape[1::2] != [heads, head_dim]:
            expected = f"[batch, heads={heads}, tokens, head_dim={head_dim}]"
            raise UsageError(f"{name} must be a tensor {expected}, not {shape}")

    def _check_layer(self, layer: int) -> None:
        depth = self.shape.depth
        if not isinstance(layer, int) or not 0 <= layer < depth:
            raise UsageError(f"layer must be from 0 to {depth - 1} at {depth=}, not {layer}")
