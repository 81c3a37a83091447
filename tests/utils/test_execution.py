"""How steps are executed on a GPU, as far as it can be chosen without one."""

from typing import Any

import pytest
import torch
from torch import nn

from liere_cli.bench.step import parse_shape
from liere_cli.utils import execution
from liere_cli.utils.execution import Execution, choose_execution, launch_bound

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
MODEL = nn.Linear(2, 2)


def chosen(device: torch.device, flops: float = 1e9) -> Execution:
    sample = (torch.zeros(1), None)
    return choose_execution(MODEL, device, lambda: sample, flops=flops, compiled=False, half=True)


@pytest.mark.parametrize(
    ("shape", "bound"),
    [
        ("nano,256,64", True),
        ("tiny,8x8,64", True),
        ("base,8x8,64", False),
        ("base,8x8,512", False),
    ],
)
def test_small_models_are_bound_by_launches(shape: str, bound: bool) -> None:
    step = parse_shape(shape)
    flops = step.model().step_flops(step.batch)
    assert launch_bound(flops, CUDA, 1) == bound
    assert not launch_bound(flops, CUDA, 2)
    assert not launch_bound(flops, CPU, 1)


def test_a_step_that_can_t_be_captured_is_eager_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*given: Any, **named: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(execution, "capture", refuse)
    refused = chosen(CUDA)
    assert refused.forward is MODEL
    assert not refused.graphed
    assert "(operation not permitted when stream is capturing)" in (refused.warning or "")
    monkeypatch.setattr(execution, "capture", lambda *given, half: len)
    captured = chosen(CUDA)
    assert (captured.description, captured.warning) == ("CUDA graphs", None)
    assert captured.graphed
    assert chosen(CUDA, 1e13).description == "eager"


def test_on_a_cpu_a_step_is_eager() -> None:
    assert chosen(CPU).forward is MODEL
    assert chosen(CPU).description == "eager"
