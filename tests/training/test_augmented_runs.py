"""Runs on images that are decoded and augmented beside the step: equal to the bit, also resumed."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from liere_cli.config.files import load_recipe
from liere_cli.runs.build import RunSpec, assemble
from liere_cli.runs.folder import Run
from liere_cli.training.run import train_run
from support.small_runs import CPU, SMALL, StopAt, losses

EVERYTHING = {
    "crop": 0.2, "randaugment": 9, "mixup": 0.2, "cutmix": 1.0, "eval_crop": 0.875, "flips": True,
    "shift": 1,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(40):
        path = tmp_path / "images" / f"class{number % 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (5, 7, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).resize((40, 30)).save(buffer, "JPEG")
        path.write_bytes(buffer.getvalue())
    return tmp_path / "images"


def run_spec_of(folder: Path, encoding: str = "axial", **options: Any) -> RunSpec:
    data = {"name": "images", "path": str(folder), "grid": 16, **options}
    flags = {"encoding": encoding, "data": data, "seed": 0, **SMALL}
    return assemble(load_recipe(flags=flags), device=CPU)


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.path("last.safetensors"))


@pytest.mark.parametrize("options", [{"cache": "none", "flips": True}, EVERYTHING])
def test_a_stopped_run_goes_on_to_the_same_bits(
    options: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    run_spec = run_spec_of(folder, **options)
    whole = train_run(run_spec, outputs=tmp_path / "whole", device=CPU)
    with pytest.raises(KeyboardInterrupt):
        train_run(run_spec, outputs=tmp_path / "parts", device=CPU, callbacks=StopAt(6))
    again = train_run(run_spec, outputs=tmp_path / "parts", device=CPU)
    assert again.test == whole.test
    runs = [run_spec.run(tmp_path / name) for name in ("whole", "parts")]
    assert losses(runs[0]) == losses(runs[1])
    first, second = map(weights, runs)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_decoding_each_time_and_once_make_the_same_run(folder: Path, tmp_path: Path) -> None:
    specs = [run_spec_of(folder, cache=cache, flips=True, shift=2) for cache in ("none", "full")]
    assert specs[0].run_id == specs[1].run_id
    for name, spec in zip("ab", specs, strict=True):
        train_run(spec, outputs=tmp_path / name, device=CPU)
    first, second = (weights(specs[0].run(tmp_path / name)) for name in "ab")
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_training_without_augmentation_sees_whole_images(folder: Path, tmp_path: Path) -> None:
    specs = [run_spec_of(folder), run_spec_of(folder, **{**EVERYTHING, "eval_crop": 1.0})]
    plain = [
        assemble(
            spec.recipe.model_copy(
                update={"training": spec.recipe.training.model_copy(update={"augment": False})}
            ),
            device=CPU,
        )
        for spec in specs
    ]
    for name, spec in zip("ab", plain, strict=True):
        train_run(spec, outputs=tmp_path / name, device=CPU)
    first, second = (weights(spec.run(tmp_path / n)) for n, spec in zip("ab", plain, strict=True))
    assert all(torch.equal(first[key], second[key]) for key in first)
