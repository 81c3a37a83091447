"""The common base of encodings that rotate queries and keys alike, by more than planes."""

from typing import Any

from torch import Tensor

from liere_cli.encodings.base import PositionEncoding


class MatrixRotation(PositionEncoding):
    """A subclass defines ``rotate``."""

    family = "matrix"
    orthogonal = True

    def rotate(
        self, state: Any, layer: int, prefix: int, *xs: Tensor, in_eigenbasis: bool
    ) -> tuple[Tensor, ...]:
        """R(p) x for every token of tensors [B, N, S, H]. ``in_eigenbasis``: Q^T R(p) x is allowed,
        where Q depends on the state alone: enough for scores of one call, as another may find other
        eigenvectors.
        """
        raise NotImplementedError

    def encode_qk(
        self, q: Tensor, k: Tensor, state: Any, layer: int, prefix_tokens: int = 0
    ) -> tuple[Tensor, Tensor]:
        q, k = self.rotate(state, layer, prefix_tokens, q, k, in_eigenbasis=True)
        return q, k

    def encode_q(self, q: Tensor, state: Any, layer: int, prefix_tokens: int = 0) -> Tensor:
        return self.rotate(state, layer, prefix_tokens, q, in_eigenbasis=False)[0]

    def encode_k(self, k: Tensor, state: Any, layer: int, prefix_tokens: int = 0) -> Tensor:
        return self.encode_q(k, state, layer, prefix_tokens)
