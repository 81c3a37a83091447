"""Images: folders and parquet, splits by content, and errors that name the file."""

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from liere_cli.data import Dataset, Examples, build_dataset
from liere_cli.data.images import Cifar100, Imagewoof
from liere_cli.data.sources.decode_image import decode_image
from liere_cli.errors import LiereError
from support.image_files import image, images

CLASSES = ("cat", "dog", "owl")


def write_folder(folder: Path, numbers: Sequence[int]) -> None:
    for number in numbers:
        class_folder = folder / CLASSES[number % 3]
        class_folder.mkdir(parents=True, exist_ok=True)
        (class_folder / f"{number}.png").write_bytes(image(number))


def write_parquet(
    path: Path,
    numbers: Sequence[int],
    columns: tuple[str, ...] = ("img", "fine_label", "coarse_label"),
    named: bool = True,
) -> None:
    """The hub's layout: images as a struct of bytes and path, labels as numbers with names."""
    first, *labels = columns
    rows: dict[str, Any] = {first: [{"bytes": image(n), "path": None} for n in numbers]}
    features: dict[str, Any] = {first: {"_type": "Image"}}
    for label in labels:
        rows[label] = pa.array([number % 3 for number in numbers], pa.int64())
        features[label] = {"_type": "ClassLabel", "names": list(CLASSES)}
    table = pa.table(rows)
    if named:
        info = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": info})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=7)


def numbers_in(dataset: Dataset, split: str) -> list[int]:
    """The numbers of the images in a split; checks that each has its own label."""
    examples = dataset.load(split)  # type: ignore[arg-type]
    assert isinstance(examples, Examples)
    assert examples.inputs.dtype == torch.uint8
    assert examples.labels.dtype == torch.int64
    corner = examples.inputs[:, :, 0, 0].int()
    numbers = corner[:, 0] + 256 * corner[:, 1]
    assert torch.equal(numbers % 3, examples.labels)
    assert bool((corner[:, 2] == 77).all())
    assert len(examples.groups.unique()) == len(examples)
    return numbers.tolist()


def splits(dataset: Dataset) -> dict[str, list[int]]:
    return {split: numbers_in(dataset, split) for split in ("train", "val", "test")}


def test_a_folder_is_split_by_class(tmp_path: Path) -> None:
    write_folder(tmp_path, range(300))
    dataset = images(tmp_path)
    by_split = splits(dataset)
    assert sorted(chain(*by_split.values())) == list(range(300))
    assert {split: len(numbers) for split, numbers in by_split.items()} == {
        "train": 240, "val": 30, "test": 30
    }  # fmt: skip
    for numbers in by_split.values():
        assert np.bincount([number % 3 for number in numbers]).tolist() == [len(numbers) / 3] * 3
    assert dataset.classes == 3


def test_splits_and_fingerprint_depend_on_content_not_names_or_containers(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder", range(90))
    write_parquet(tmp_path / "a.parquet", range(90))
    shuffled = torch.randperm(90, generator=torch.Generator().manual_seed(1)).tolist()
    write_parquet(tmp_path / "b.parquet", shuffled, ("image", "label"))
    write_folder(tmp_path / "renamed", range(90))
    for path in sorted((tmp_path / "renamed" / "cat").iterdir()):
        path.rename(path.with_name(f"z{hash(path.name)}.png"))
    sets = [images(tmp_path / name) for name in ("folder", "a.parquet", "b.parquet", "renamed")]
    assert len({dataset.fingerprint for dataset in sets}) == 1
    first = splits(sets[0])
    assert all(splits(dataset) == first for dataset in sets[1:])


def test_other_bytes_labels_or_rules_have_another_fingerprint(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", range(60))
    write_parquet(tmp_path / "b.parquet", range(1, 61))
    base = images(tmp_path / "a.parquet").fingerprint
    assert images(tmp_path / "b.parquet").fingerprint != base
    assert images(tmp_path / "a.parquet", fractions="0.6/0.2/0.2").fingerprint != base
    assert images(tmp_path / "a.parquet", grid=16).fingerprint == base
    write_folder(tmp_path / "folder", range(60))
    assert images(tmp_path / "folder").fingerprint == base
    (tmp_path / "folder/cat/0.png").rename(tmp_path / "folder/dog/0.png")
    assert images(tmp_path / "folder").fingerprint != base


def test_given_splits_are_kept(tmp_path: Path) -> None:
    for split, numbers in (("train", range(60)), ("valid", range(60, 90)), ("test", range(90, 99))):
        write_folder(tmp_path / split, numbers)
    by_split = splits(images(tmp_path))
    assert {split: sorted(numbers) for split, numbers in by_split.items()} == {
        "train": list(range(60)), "val": list(range(60, 90)), "test": list(range(90, 99))
    }  # fmt: skip


@pytest.mark.parametrize("second", ["val", "test"])
def test_of_two_given_splits_the_second_is_the_test(second: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "train", range(60))
    write_folder(tmp_path / second, range(60, 90))
    by_split = splits(images(tmp_path, validation=0.2))
    assert sorted(by_split["test"]) == list(range(60, 90))
    assert len(by_split["val"]) == 12
    assert sorted(by_split["train"] + by_split["val"]) == list(range(60))


def test_parquet_may_be_a_folder_or_a_pattern(tmp_path: Path) -> None:
    write_parquet(tmp_path / "birds-train-00000-of-00002.parquet", range(30))
    write_parquet(tmp_path / "birds-train-00001-of-00002.parquet", range(30, 60))
    write_parquet(tmp_path / "birds-test.parquet", range(60, 90))
    for path in (tmp_path, tmp_path / "birds-*.parquet"):
        by_split = splits(images(path))
        assert sorted(by_split["test"]) == list(range(60, 90))
        assert sorted(by_split["train"] + by_split["val"]) == list(range(60))


def test_labels_may_be_text_without_metadata(tmp_path: Path) -> None:
    table = pa.table(
        {"picture": [image(n) for n in range(30)], "kind": [CLASSES[n % 3] for n in range(30)]}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    dataset = images(tmp_path / "a.parquet", image="picture", label="kind")
    assert dataset.classes == 3
    assert sorted(chain(*splits(dataset).values())) == list(range(30))
    with pytest.raises(LiereError, match=r"column of the label .*picture, kind.* give label="):
        images(tmp_path / "a.parquet")


def test_decoding_happens_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, range(600, 640))
    first = splits(images(tmp_path))
    monkeypatch.setattr("liere_cli.data.images.decode_image", None)
    assert splits(images(tmp_path)) == first


def test_another_grid_is_decoded_from_the_stored_image(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:64, :96]
    ramp = np.stack([rows * 4, columns * 2, rows * 0], -1).astype(np.uint8)
    stored = io.BytesIO()
    Image.fromarray(ramp).save(stored, "png")
    # the shorter side is resized and the centre cut out: columns 16 to 79 remain
    small = decode_image(stored.getvalue(), (16, 16), "").astype(int)
    assert small.shape == (3, 16, 16)
    assert np.abs(small[0] - (np.arange(16) * 16 + 6)[:, None]).max() <= 3
    assert np.abs(small[1] - (32 + np.arange(16) * 8 + 3)[None]).max() <= 3
    exact = decode_image(stored.getvalue(), (64, 96), "")
    assert np.array_equal(exact, ramp.transpose(2, 0, 1))
    wide = decode_image(stored.getvalue(), (8, 96), "")
    assert wide.shape == (3, 8, 96)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK", "I;16"])
def test_every_kind_of_image_is_decoded_to_rgb(mode: str) -> None:
    stored = io.BytesIO()
    Image.new(mode, (5, 4)).save(stored, "tiff")
    assert decode_image(stored.getvalue(), (4, 5), "").shape == (3, 4, 5)


def break_image(path: Path, how: str) -> None:
    whole = path.read_bytes()
    foreign = {"foreign": b"no image", "web page": b" <!DOCTYPE html><p>", "empty": b""}
    foreign["pointer"] = b"version https://git-lfs.github.com/spec/v1"
    path.write_bytes(whole[:-30] if how == "cut" else foreign[how])


@pytest.mark.parametrize("how", ["empty", "cut", "foreign", "web page", "pointer"])
def test_a_broken_image_is_named(how: str, tmp_path: Path) -> None:
    write_folder(tmp_path, range(30))
    victim = tmp_path / "dog" / "4.png"
    break_image(victim, how)
    with pytest.raises(LiereError, match=r"dog/4.png is broken or not an image"):
        splits(images(tmp_path))


def make_one_class(folder: Path) -> None:
    write_folder(folder, range(0, 30, 3))


def make_empty_class(folder: Path) -> None:
    write_folder(folder, range(30))
    (folder / "emu").mkdir()


def make_few(folder: Path) -> None:
    write_folder(folder, range(3))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (make_one_class, r"has 1 class \(cat\), but one folder for each of two or more"),
        (make_empty_class, "emu is a class without files"),
        (make_few, "can't be split into train, val and test"),
        (Path.mkdir, "has no classes"),
        (lambda path: path.write_bytes(b""), "is a file, but a folder by class or parquet"),
    ],
)
def test_a_folder_that_is_not_a_data_set_is_named(
    make: Callable[[Path], None], sentence: str, tmp_path: Path
) -> None:
    make(tmp_path / "set")
    with pytest.raises(LiereError, match=sentence) as error:
        images(tmp_path / "set").load("train")
    assert "set" in str(error.value)


def test_broken_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(LiereError, match=r"a.parquet is missing, broken or not a parquet file"):
        images(tmp_path / "a.parquet")
    write_parquet(tmp_path / "b.parquet", range(30))
    with pytest.raises(LiereError, match=r"b.parquet has no column 'kind' .*img, fine_label"):
        images(tmp_path / "b.parquet", label="kind")
    whole = (tmp_path / "b.parquet").read_bytes()
    (tmp_path / "c.parquet").write_bytes(whole[:500] + bytes(300) + whole[800:])
    with pytest.raises(LiereError, match=r"c.parquet"):
        splits(images(tmp_path / "c.parquet"))


@pytest.mark.parametrize(
    "layout", ["cifar100-{}.parquet", "images/cifar100-{}-00000-of-00001.parquet",
               "cifar100/cifar100/{}-00000-of-00001.parquet", "uoft-cs/cifar100/data/{}.parquet"]
)  # fmt: skip
def test_a_published_set_is_found_in_a_mirror(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path / layout.format("train"), range(60))
    write_parquet(tmp_path / layout.format("test"), range(60, 90))
    assert Cifar100.is_available(tmp_path)
    assert not Cifar100.is_available(None)
    dataset = build_dataset("cifar100:grid=8", tmp_path)
    with pytest.raises(LiereError, match="should have 100 classes, but the files have 3"):
        dataset.load("train")
    dataset.classes = 3
    assert sorted(splits(dataset)["test"]) == list(range(60, 90))


def test_a_published_set_loads_through_datasets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a local folder replaces the repository on the hub: the same call, the same cache
    for split, numbers in (("train", range(60)), ("test", range(60, 90))):
        write_parquet(tmp_path / f"hub/data/{split}-00000-of-00001.parquet", numbers)
        write_parquet(tmp_path / f"mirror/cifar100-{split}.parquet", numbers[::-1])
    monkeypatch.setattr(Cifar100, "repository", str(tmp_path / "hub"))
    hub, mirror = (build_dataset("cifar100:grid=8", root) for root in (None, tmp_path / "mirror"))
    hub.classes = mirror.classes = 3
    assert splits(hub) == splits(mirror)
    assert hub.fingerprint == mirror.fingerprint


def test_the_error_for_an_unavailable_set_names_what_was_tried(tmp_path: Path) -> None:
    with pytest.raises(
        LiereError,
        match=r"cifar10 is not available: no cifar10-train\*.parquet under .*, and the hub's "
        r"uoft-cs/cifar10 can't be loaded \(.*\): put its parquet files into .* built-in data set",
    ):
        build_dataset("cifar10", tmp_path).load("train")


def test_imagewoof_is_read_from_its_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIERE_CACHE", str(tmp_path / "cache"))
    tree = tmp_path / "imagewoof2-160"
    write_folder(tree / "train", range(30))
    write_folder(tree / "val", range(30, 60))
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    with tarfile.open(mirror / "imagewoof2-160.tgz", "w:gz") as archive:
        archive.add(tree, "imagewoof2-160")
    monkeypatch.setattr(Imagewoof, "classes", 3)
    packed = build_dataset("imagewoof:grid=8", mirror)
    unpacked = build_dataset("imagewoof:grid=8", tmp_path)
    assert sorted(splits(packed)["test"]) == list(range(30, 60))
    assert packed.fingerprint == unpacked.fingerprint
    # the archive was unpacked into the cache, where it is found without a mirror
    assert Imagewoof.is_available(None)


def test_flips_and_shift_are_options(tmp_path: Path) -> None:
    write_folder(tmp_path, range(30))
    assert (images(tmp_path).flips, images(tmp_path).shift) == (False, 0)
    assert images(tmp_path, flips=True, shift=2).shift == 2
    cifar = build_dataset("cifar100")
    assert (cifar.flips, cifar.shift, cifar.patch) == (True, 4, (4, 4))
    assert build_dataset("cifar100:flips=false,shift=0").flips is False
