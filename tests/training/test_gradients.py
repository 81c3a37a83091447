"""Norms of the encoding's and the model's gradients, and their clipping together or apart."""

from pathlib import Path

import pytest
import torch
from torch import nn

from liere_cli.config.files import load_recipe
from liere_cli.config.recipe import ClipSettings
from liere_cli.errors import UsageError
from liere_cli.model import Transformer
from liere_cli.runs.build import assemble, build_model
from liere_cli.training.gradients import clip_gradients
from liere_cli.training.run import train_run
from support.small_runs import CPU, SMALL, losses, run_spec_of

TRAINING = {**SMALL["training"], "budget": "4steps"}


def model_with_gradients(scale: float) -> Transformer:
    flags = {"data": "pointing:train=40,val=20,test=20", "encoding": "liere", **SMALL}
    model = build_model(assemble(load_recipe(flags=flags), device=CPU))
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = scale * torch.randn(parameter.shape, generator=generator)
    return model


def norm_of(module: nn.Module, without: nn.Module | None = None) -> float:
    left_out = {id(parameter) for parameter in without.parameters()} if without else set()
    gradients = [
        p.grad for p in module.parameters() if p.grad is not None and id(p) not in left_out
    ]
    return float(torch.cat([gradient.flatten() for gradient in gradients]).norm())


@pytest.mark.parametrize("scale", [1e-4, 1.0, 30.0])
def test_a_number_clips_as_torch_does_to_the_bit(scale: float) -> None:
    ours, reference = model_with_gradients(scale), model_with_gradients(scale)
    expected = {
        "model": norm_of(reference, reference.encoding), "encoding": norm_of(reference.encoding)
    }  # fmt: skip
    norms = clip_gradients(ours, ours.encoding, 1.0)
    nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
    for mine, other in zip(ours.parameters(), reference.parameters(), strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert torch.equal(mine.grad, other.grad)
    assert {name: float(norm) for name, norm in norms.items()} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("limits", [(1.0, 1.0), (0.5, None), (None, 0.25)])
def test_model_and_encoding_are_clipped_apart(limits: tuple[float | None, float | None]) -> None:
    model = model_with_gradients(10.0)
    before = norm_of(model, model.encoding), norm_of(model.encoding)
    clip_gradients(model, model.encoding, ClipSettings(model=limits[0], encoding=limits[1]))
    after = norm_of(model, model.encoding), norm_of(model.encoding)
    expected = [
        norm if limit is None else limit for norm, limit in zip(before, limits, strict=True)
    ]
    assert after == pytest.approx(expected, rel=1e-4)


def test_clipping_apart_is_another_run_and_norms_are_logged(tmp_path: Path) -> None:
    path = tmp_path / "verse.txt"
    path.write_text("The quick brown fox jumps over the lazy dog. " * 40)
    specs = {
        name: run_spec_of(path, budget="4steps", clip=clip)
        for name, clip in {"both": 1.0, "apart": {"model": 1, "encoding": 1e-6}}.items()
    }
    assert len({spec.run_id for spec in specs.values()}) == 2
    runs = {}
    for name, spec in specs.items():
        train_run(spec, outputs=tmp_path / name, device=CPU)
        runs[name] = spec.run(tmp_path / name)
    lines = [line for line in losses(runs["apart"]) if "loss" in line]
    assert all(line["gradient_norm_model"] > 0 for line in lines)
    assert all(line["gradient_norm_encoding"] > 0 for line in lines)
    assert losses(runs["both"]) != losses(runs["apart"])


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (-1, "'training.clip' is -1, but must be above 0"),
        ({"modl": 1}, "unknown key 'training.clip.modl'; did you mean 'model'"),
        ({"model": 0}, "'training.clip.model' is 0, but must be above 0"),
    ],
)
def test_other_values_are_refused(clip: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_recipe(flags={"training": {"clip": clip}})
