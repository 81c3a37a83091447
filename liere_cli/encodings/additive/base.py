"""The common base of encodings that add to the token embeddings.

Shapes: B batch, S sequence (prefix + T), T tokens with a position, A axes.
"""

import torch
from torch import Tensor

from liere_cli.encodings.base import PositionEncoding


class Additive(PositionEncoding):
    """Adds a vector for each position to the token embeddings. A subclass defines ``at``."""

    family = "embedding"

    def at(self, positions: Tensor) -> Tensor:
        """Vectors at positions [T, A]: [T, dim]."""
        raise NotImplementedError

    def embed(self, x: Tensor, positions: Tensor, prefix_tokens: int = 0) -> Tensor:
        self.check_positions(positions)
        self.check_tokens(x.shape[1], len(positions), prefix_tokens)
        vectors = self.at(positions).to(x.dtype)
        if not prefix_tokens:
            return x + vectors
        return torch.cat((x[:, :prefix_tokens], x[:, prefix_tokens:] + vectors), 1)
