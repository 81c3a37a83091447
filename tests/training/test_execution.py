"""How steps are executed on a GPU, as far as it can be chosen without one."""

from typing import Any

import pytest
import torch

from liere_cli.config.files import load_recipe
from liere_cli.runs.build import RunSpec, assemble, build_model
from liere_cli.training import execution
from liere_cli.training.execution import choose_execution, launch_bound

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def spec_of(**settings: Any) -> RunSpec:
    flags = {
        "data": "pointing:train=20,val=20,test=20",
        "training": {"batch": 64, **settings.pop("training", {})},
    }
    return assemble(load_recipe(flags=flags | settings), device=CPU)


@pytest.mark.parametrize(
    ("size", "batch", "bound"),
    [("nano", 64, True), ("tiny", 64, True), ("base", 64, False), ("base", 512, False)],
)
def test_small_models_are_bound_by_launches(size: str, batch: int, bound: bool) -> None:
    run_spec = spec_of(model={"size": size}, training={"batch": batch})
    assert launch_bound(run_spec, CUDA, 1) == bound
    assert not launch_bound(run_spec, CUDA, 2)
    assert not launch_bound(run_spec, CPU, 1)


def test_a_step_that_can_t_be_captured_is_eager_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_spec = spec_of()
    model = build_model(run_spec)

    def refuse(*given: Any, **named: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(execution, "capture", refuse)
    sample = (torch.zeros(1), None)
    chosen = choose_execution(run_spec, model, CUDA, 1, lambda: sample)
    assert chosen.forward is model
    assert not chosen.graphed
    assert "(operation not permitted when stream is capturing)" in (chosen.warning or "")
    monkeypatch.setattr(execution, "capture", lambda *given, half: len)
    chosen = choose_execution(run_spec, model, CUDA, 1, lambda: sample)
    assert (chosen.description, chosen.warning, chosen.graphed) == ("CUDA graphs", None, True)


def test_on_a_cpu_a_step_is_eager() -> None:
    run_spec = spec_of()
    model = build_model(run_spec)
    chosen = choose_execution(run_spec, model, CPU, 1, lambda: (torch.zeros(1), None))
    assert chosen.forward is model
    assert chosen.description == "eager"
