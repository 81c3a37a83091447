"""Keys and values of earlier tokens, for text that is written byte by byte."""

import torch
from torch import Tensor


class KeyValueCache:
    """Encoded keys and values of previous tokens of a causal model, for every layer."""

    def __init__(self, layers: int) -> None:
        self._layers: list[tuple[Tensor, Tensor] | None] = [None] * layers

    @property
    def tokens(self) -> int:
        """Number of cached tokens."""
        last = self._layers[-1]
        return 0 if last is None else last[0].shape[2]

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Adds new tokens, [B, N, S, ...], and returns all tokens of the layer."""
        previous = self._layers[layer]
        if previous is not None:
            k, v = torch.cat((previous[0], k), 2), torch.cat((previous[1], v), 2)
        self._layers[layer] = (k, v)
        return k, v
