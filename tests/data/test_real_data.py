"""The real files that developers have at hand: skipped where they are not."""

import shutil
from pathlib import Path

import pytest
import torch

from liere_cli.data import ByteStream, Examples, available, build_dataset


def test_cifar100_is_found_and_split(real_data: Path) -> None:
    assert available()["cifar100"].is_available(real_data)
    dataset = build_dataset("cifar100", real_data)
    test = dataset.load("test")
    assert isinstance(test, Examples)
    assert test.inputs.shape == (10_000, 3, 32, 32)
    assert test.labels.bincount().tolist() == [100] * 100
    mean = (test.inputs[:1000] / 255).mean((0, 2, 3))
    torch.testing.assert_close(mean, torch.tensor(dataset.mean), atol=0.03, rtol=0)
    parts = dataset._parts  # type: ignore[attr-defined]
    labels = dataset._index["labels"]  # type: ignore[attr-defined]
    for part, count in ((0, 450), (1, 50)):
        assert torch.from_numpy(labels[parts == part]).bincount().tolist() == [count] * 100
    # nothing decoded twice
    again = build_dataset("cifar100", real_data)
    assert again.fingerprint == dataset.fingerprint
    assert torch.equal(again.load("test").inputs[:10], test.inputs[:10])  # type: ignore[union-attr]


def test_enwik8_s_prefix_is_plain_text(real_data: Path) -> None:
    stream = build_dataset(f"text:{real_data}/text/enwik8-prefix.xz").load("train")
    assert isinstance(stream, ByteStream)
    assert len(stream) == 3_735_000
    assert stream.data[:10].numpy().tobytes() == b"<mediawiki"


def test_tinyshakespeare_passes_its_digest(real_data: Path) -> None:
    dataset = build_dataset("tinyshakespeare", real_data)
    sizes = [len(dataset.load(split)) for split in ("train", "val", "test")]
    assert sum(sizes) == 1_115_394


def test_ceiling_actions_keep_recordings_apart(real_data: Path) -> None:
    path = real_data / "video" / "ceiling-actions-*.parquet"
    dataset = build_dataset({"name": "video", "path": str(path), "grid": "4x32x32"})
    assert dataset.classes == 9
    parts = {split: dataset.load(split) for split in ("train", "val", "test")}  # type: ignore[arg-type]
    assert len(parts["train"]) + len(parts["val"]) == 604
    assert len(parts["test"]) == 226
    groups = [set(part.groups.tolist()) for part in parts.values()]  # type: ignore[union-attr]
    assert len(set.union(*groups)) == sum(map(len, groups)) == 20


def test_every_clip_decodes_whatever_its_codec_and_metadata(
    real_data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("av")
    for number, clip in enumerate(sorted((real_data / "video" / "clips").iterdir())):
        place = tmp_path / "ab"[number % 2]
        place.mkdir(exist_ok=True)
        shutil.copy(clip, place)
    dataset = build_dataset({"name": "video", "path": str(tmp_path), "grid": "4x48x64"})
    count = 0
    for split in ("train", "val", "test"):
        examples = dataset.load(split)  # type: ignore[arg-type]
        assert isinstance(examples, Examples)
        assert float(examples.inputs.float().std()) > 20
        count += len(examples)
    assert count == 10
