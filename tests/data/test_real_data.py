"""Tests on real data files; skipped where the files are not available."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from liere_cli.data import ByteStream, Examples, available, build_dataset
from liere_cli.data.clips.encoded import clip_at
from liere_cli.data.sources.decode_video import _numbered_frames, _times, decode_frames


def test_cifar100_is_found_and_split(real_data: Path) -> None:
    assert available()["cifar100"].is_available(real_data)
    dataset = build_dataset("cifar100", real_data)
    test = dataset.load("test")
    assert isinstance(test, Examples)
    assert test.inputs.shape == (10_000, 3, 32, 32)
    assert test.labels.bincount().tolist() == [100] * 100
    mean = (test.inputs[:1000] / 255).mean((0, 2, 3))
    torch.testing.assert_close(mean, torch.tensor(dataset.mean), atol=0.03, rtol=0)
    splits = dataset._splits  # type: ignore[attr-defined]
    labels = dataset._index["labels"]  # type: ignore[attr-defined]
    for split, count in ((0, 450), (1, 50)):
        assert torch.from_numpy(labels[splits == split]).bincount().tolist() == [count] * 100
    # nothing is decoded twice
    again = build_dataset("cifar100", real_data)
    assert again.fingerprint == dataset.fingerprint
    assert torch.equal(again.load("test").inputs[:10], test.inputs[:10])  # type: ignore[union-attr]


def test_the_prefix_of_enwik8_is_plain_text(real_data: Path) -> None:
    stream = build_dataset(f"text:{real_data}/text/enwik8-prefix.xz").load("train")
    assert isinstance(stream, ByteStream)
    assert len(stream) == 3_735_000
    assert stream.data[:10].numpy().tobytes() == b"<mediawiki"


def test_tinyshakespeare_has_its_digest(real_data: Path) -> None:
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


def test_clips_of_every_codec_are_decoded(real_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    for number, clip in enumerate(sorted((real_data / "video" / "clips").iterdir())):
        class_folder = tmp_path / "ab"[number % 2]
        class_folder.mkdir(exist_ok=True)
        shutil.copy(clip, class_folder)
    dataset = build_dataset({"name": "video", "path": str(tmp_path), "grid": "4x48x64"})
    count = 0
    for split in ("train", "val", "test"):
        examples = dataset.load(split)  # type: ignore[arg-type]
        assert isinstance(examples, Examples)
        assert float(examples.inputs.float().std()) > 20
        count += len(examples)
    assert count == 10


def test_clips_of_real_videos_are_those_of_the_whole_video(real_data: Path) -> None:
    for path in sorted((real_data / "video" / "clips").iterdir()):
        numbers = clip_at(_times(path).count, 8, 3, 0.9)
        clip = decode_frames(path, (8, 24, 32), lambda count: clip_at(count, 8, 3, 0.9))
        assert np.array_equal(clip, np.stack(_numbered_frames(path, numbers, (8, 24, 32)), 1))
