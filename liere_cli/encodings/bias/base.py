"""The common base of encodings that add to the attention logits.

Shapes: N heads, Tq and Tk queries and keys with a position, A axes, L depth.
"""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from liere_cli.encodings.base import PositionEncoding
from liere_cli.positions.grid import finite_or_nan


@dataclass(frozen=True)
class BiasState:
    """Positions [T, A], and the biases between them by layer, built once in a forward pass."""

    positions: Tensor
    built: dict[int, Tensor] = field(default_factory=dict)


class LogitBias(PositionEncoding):
    """Adds b[l, n](p_q, p_k) to the logit of every query and key, independent of their content.

    A subclass defines ``between``. The bias is built once in a forward pass for the whole batch,
    and once for all layers unless ``layered``.
    """

    family = "bias"
    relative = True
    orthogonal = True
    prefix = "get no bias, as queries and as keys"
    #: whether each layer has its own bias
    layered: bool = False

    def prepare(self, positions: Tensor) -> BiasState:
        return BiasState(finite_or_nan(positions))

    def bias(self, state_q: Any, state_k: Any, layer: int) -> Tensor:
        layer = layer if self.layered else 0
        if state_q is not state_k:
            return self.between(state_q.positions, state_k.positions, layer)
        if layer not in state_q.built:
            state_q.built[layer] = self.between(state_q.positions, state_q.positions, layer)
        built: Tensor = state_q.built[layer]
        return built

    def between(self, queries: Tensor, keys: Tensor, layer: int) -> Tensor:
        """The bias of a layer, [N or 1, Tq, Tk] float32, of positions [Tq, A] and [Tk, A]."""
        raise NotImplementedError


def distances(queries: Tensor, keys: Tensor) -> Tensor:
    """Euclidean distances of positions [Tq, A] and [Tk, A]: [Tq, Tk]. Between equal positions the
    gradient is 0.
    """
    difference = queries[:, None] - keys[None]
    if queries.shape[1] == 1:
        return difference[..., 0].abs()
    squared = difference.square().sum(-1)
    equal = squared == 0  # where the derivative of the root is infinite
    return squared.masked_fill(equal, 1).sqrt().masked_fill(equal, 0)
