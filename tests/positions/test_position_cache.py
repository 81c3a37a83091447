"""The cache of positions of a model."""

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from liere_cli.positions.cache import MOST, PositionCache


def test_it_is_bounded_and_returns_what_it_keeps() -> None:
    cache = PositionCache()
    for length in range(3 * MOST):
        first = cache.get(length, lambda: torch.arange(5.0))
        assert cache.get(length, lambda: torch.zeros(5)) is first
        assert len(cache._kept) <= MOST


def test_it_keeps_no_tensor_that_ends_with_a_transform() -> None:
    cache = PositionCache()

    def function(x: Tensor) -> Tensor:
        return (cache.get("key", lambda: torch.ones(3)) * x).sum()

    torch.func.grad(function)(torch.ones(3))
    with FakeTensorMode():
        cache.get("key", lambda: torch.ones(3))
    assert not cache._kept
    with torch.inference_mode():
        cache.get("key", lambda: torch.ones(3))
    assert not cache.get("key", lambda: torch.zeros(3)).is_inference()
