"""Buckets of gradients: each parameter once, in one order, while the backward pass continues."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from liere_cli.training import gradient_sum
from liere_cli.training.gradient_sum import GradientSum
from liere_cli.utils.distributed import ALONE, Ranks


class Doubled:
    """Stands in for a reduction over two ranks with equal gradients."""

    def __init__(self, flat: Tensor) -> None:
        self.flat = flat

    def wait(self) -> None:
        self.flat.mul_(2)


def layers(count: int, unused: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(count)))
    if unused:
        model.register_parameter("unused", nn.Parameter(torch.ones(3)))
    return model


@pytest.mark.parametrize("unused", [False, True])
@pytest.mark.parametrize("bucket", [1, 100, 1 << 20])
def test_every_gradient_is_summed_once_and_early(
    monkeypatch: pytest.MonkeyPatch, bucket: int, unused: bool
) -> None:
    sizes: list[int] = []
    without_gradient: list[int] = []
    model = layers(5, unused)

    def reduce(flat: Tensor, async_op: bool) -> Any:
        assert async_op
        sizes.append(flat.numel())
        without_gradient.append(sum(p.grad is None for p in model.parameters()))
        return Doubled(flat)

    monkeypatch.setattr(gradient_sum, "BUCKET_BYTES", bucket)
    monkeypatch.setattr(gradient_sum.dist, "all_reduce", reduce)
    plain = layers(5)
    x = torch.randn(3, 4)
    gradients = GradientSum(model.parameters(), Ranks(0, 2))
    for parts in (1, 2):  # parts of a step, of which the last is reduced
        model.zero_grad()
        plain.zero_grad()
        sizes.clear()
        without_gradient.clear()
        for part in range(parts):
            loss = model(x).square().sum()
            if part == parts - 1:
                gradients.begin(loss.detach())
            loss.backward()
            plain(x).square().sum().backward()
        assert float(gradients.finish()) == 2 * float(loss.detach())
        summed = dict(model.named_parameters())
        for name, parameter in plain.named_parameters():
            ours, theirs = summed[name].grad, parameter.grad
            assert ours is not None
            assert theirs is not None
            assert torch.equal(ours, 2 * theirs)
        assert sum(sizes) == 1 + sum(p.numel() for p in plain.parameters())
        assert len(sizes) == len(gradients.buckets) - (unused and bucket == 1)
    if bucket == 1 and not unused:
        model.zero_grad()
        without_gradient.clear()
        gradients.begin(torch.zeros(()))
        model(x).square().sum().backward()
        gradients.finish()
        assert without_gradient == sorted(without_gradient, reverse=True)
        assert without_gradient[0] > 0, "the first bucket is reduced while others are computed"


def test_one_rank_has_nothing_to_reduce() -> None:
    model = layers(2)
    gradients = GradientSum(model.parameters(), ALONE)
    loss = torch.ones(())
    gradients.begin(loss)
    assert gradients.finish() is loss
