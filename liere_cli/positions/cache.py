"""Positions of the grids that a model has seen last."""

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

#: grids that are kept: those of training and validation, and a few others
MOST = 8


class PositionCache:
    """Keeps positions of a bounded number of grids: text that grows has a new one every token."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Tensor] = {}

    def get(self, key: Hashable, build: Callable[[], Tensor]) -> Tensor:
        """The positions of a key, built where they are not kept."""
        if key in self._kept:
            return self._kept[key]
        # a tensor made in inference mode can't be used in training later
        with torch.inference_mode(False):
            positions = build()
        if outlives_its_call(positions):
            if len(self._kept) >= MOST:
                self._kept.clear()
            self._kept[key] = positions
        return positions


def outlives_its_call(x: Tensor) -> bool:
    """Whether a new tensor is none of a transform of ``torch.func``, a FakeTensorMode or
    ``torch.export``.
    """
    if torch.compiler.is_dynamo_compiling():
        return True
    return type(x) is Tensor and not torch._C._functorch.is_functorch_wrapped_tensor(x)
