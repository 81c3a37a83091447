"""Batches of an evaluation: their size, and what they share."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from liere_cli.config.files import load_recipe
from liere_cli.data import Examples, batches
from liere_cli.data.batches import placed
from liere_cli.encodings import available
from liere_cli.evaluation import evaluate as module
from liere_cli.evaluation.evaluate import Evaluation, evaluate, evaluation_batch
from liere_cli.runs.build import RunSpec, assemble, build_model

CPU = torch.device("cpu")


def spec_of(data: str, encoding: str = "liere", **model: Any) -> RunSpec:
    shape = {"layers": 2, "dim": 16, "heads": 2, **model}
    flags = {"encoding": encoding, "data": data, "model": shape}
    return assemble(load_recipe(flags=flags), device=CPU)


@pytest.mark.parametrize("name", [name for name, cls in available().items() if cls.serves(2)])
def test_batches_share_one_state_and_no_bit_changes(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    run_spec = spec_of("pointing:train=40,val=20,test=40", name)
    model = build_model(run_spec)
    examples = run_spec.dataset.load("test")
    monkeypatch.setattr(module, "evaluation_batch", lambda *given: 8)
    calls: list[Tensor] = []
    prepare: Callable[[Tensor], Any] = model.encoding.prepare

    def counted(positions: Tensor) -> Any:
        calls.append(positions)
        return prepare(positions)

    monkeypatch.setattr(model.encoding, "prepare", counted)

    def run() -> Evaluation:
        return evaluate(
            model, run_spec.dataset, examples,
            grid=run_spec.dataset.grid, device=CPU, precision="float32",
        )  # fmt: skip

    shared = run()
    assert len(calls) == 1
    monkeypatch.setattr("liere_cli.positions.cache.torch.is_grad_enabled", lambda: True)
    assert torch.equal(run().items["loss"], shared.items["loss"])
    assert len(calls) == 1 + 5


def test_a_state_is_not_kept_while_parameters_change() -> None:
    run_spec = spec_of("pointing:train=40,val=20,test=40")
    model, pixels = build_model(run_spec), torch.randn(2, 1, *run_spec.dataset.grid)
    pixels = pixels.expand(-1, run_spec.dataset.channels, -1, -1)
    with torch.no_grad():
        with model.states.enabled():
            before = model(pixels)
        for parameter in model.encoding.parameters():
            parameter.mul_(2)
        with model.states.enabled():
            assert not torch.equal(model(pixels), before)


def test_batches_on_a_gpu_follow_from_the_model() -> None:
    """About as many bytes in each, whatever the card, and more than a CPU's."""
    gpu = torch.device("cuda")
    tiny = spec_of("pointing:train=40,val=20,test=20")
    large = spec_of("pointing:train=40,val=20,test=20", dim=256, layers=1, heads=4)
    sizes = []
    for run_spec in (tiny, large):
        dataset = run_spec.dataset
        model = build_model(run_spec)
        sizes.append(evaluation_batch(model, dataset, dataset.grid, gpu))
        twice = tuple(2 * extent for extent in dataset.grid)
        assert evaluation_batch(model, dataset, twice, gpu) == pytest.approx(sizes[-1] / 4, abs=1)
        assert sizes[-1] > evaluation_batch(model, dataset, dataset.grid, CPU)
    assert sizes[0] == pytest.approx(16 * sizes[1], rel=0.01)


def test_only_a_small_split_is_kept_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.zeros(3, dtype=torch.long)
    examples = Examples(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), labels, labels)
    device = torch.device("meta")
    moved = placed(examples, device)
    assert isinstance(moved, Examples)
    assert moved.inputs.device == device
    monkeypatch.setattr(batches, "DEVICE_BYTES", 47)
    assert placed(examples, device) is examples
