"""Positions of the grids that a model has seen last, and an encoding's state of them."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

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


class StateCache:
    """Keeps an encoding's state of the last positions, while parameters don't change."""

    def __init__(self) -> None:
        self._enabled = False
        self._last: tuple[Tensor, Any] | None = None

    @contextmanager
    def enabled(self) -> Iterator[None]:
        """Within it, forward passes without gradients share the state of the same tensor of
        positions. The caller changes neither parameters nor encoding.
        """
        self._enabled = True
        try:
            yield
        finally:
            self._enabled, self._last = False, None

    def get(self, positions: Tensor, prepare: Callable[[Tensor], Any]) -> Any:
        """The state of positions, prepared where it is not kept."""
        if not self._enabled or torch.is_grad_enabled():
            return prepare(positions)
        if self._last is None or self._last[0] is not positions:
            self._last = None  # frees it first
            self._last = (positions, prepare(positions))
        return self._last[1]


def outlives_its_call(x: Tensor) -> bool:
    """Whether a new tensor is none of a transform of ``torch.func``, a FakeTensorMode or
    ``torch.export``.
    """
    if torch.compiler.is_dynamo_compiling():
        return True
    return type(x) is Tensor and not torch._C._functorch.is_functorch_wrapped_tensor(x)
