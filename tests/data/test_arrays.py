"""Arrays in .npz files: axes, channels, splits and values."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from liere_cli.data import Dataset, Examples, build_dataset
from liere_cli.errors import LiereError, UsageError

RANDOM = np.random.default_rng(0)


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def array(path: Path, **options: Any) -> Dataset:
    return build_dataset({"name": "array", "path": str(path), **options})


def load(dataset: Dataset, split: str, grid: tuple[int, ...] | None = None) -> Examples:
    examples = dataset.load(split, grid)  # type: ignore[arg-type]
    assert isinstance(examples, Examples)
    return examples


@pytest.mark.parametrize(
    ("shape", "options", "channels", "grid"),
    [
        ((8, 12), {}, 1, (8, 12)),
        ((8, 12, 3), {}, 3, (8, 12)),
        ((8, 12, 1), {}, 1, (8, 12)),
        ((3, 8, 12), {"axes": 2}, 3, (8, 12)),
        ((6, 8, 12), {}, 1, (6, 8, 12)),
        ((6, 8, 12, 3), {}, 3, (6, 8, 12)),
        ((2, 6, 8, 12), {}, 2, (6, 8, 12)),
        ((6, 8, 3), {"axes": 3}, 1, (6, 8, 3)),
    ],
)
def test_axes_and_channels_are_detected(
    shape: tuple[int, ...], options: dict[str, Any], channels: int, grid: tuple[int, ...],
    tmp_path: Path,
) -> None:  # fmt: skip
    x = RANDOM.integers(0, 256, (40, *shape), np.uint8)
    path = save(tmp_path / "a.npz", x=x, y=np.arange(40) % 4)
    dataset = array(path, **options)
    assert (dataset.channels, dataset.grid, dataset.classes) == (channels, grid, 4)
    assert all(extent % size == 0 for extent, size in zip(dataset.grid, dataset.patch, strict=True))
    parts = [load(dataset, split) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [32, 4, 4]
    for part in parts:
        assert part.inputs.shape[1:] == (channels, *grid)
        assert len(part.labels.unique()) == 4
        for item, number in zip(part.inputs, part.groups.tolist(), strict=True):
            assert sorted(item.flatten().tolist()) == sorted(x[number].flatten().tolist())
    assert sorted(torch.cat([part.groups for part in parts]).tolist()) == list(range(40))


@pytest.mark.parametrize("keys", ["x_{} y_{}", "{}_images {}_labels"])
def test_splits_in_the_file_are_kept(keys: str, tmp_path: Path) -> None:
    x_key, y_key = keys.split()
    arrays = {}
    for number, split in enumerate(("train", "val", "test")):
        arrays[x_key.format(split)] = np.full((10, 6, 6), number, np.uint8)
        # MedMNIST's labels are columns
        arrays[y_key.format(split)] = (np.arange(10) % 2)[:, None].astype(np.uint8)
    dataset = array(save(tmp_path / "a.npz", **arrays))
    for number, split in enumerate(("train", "val", "test")):
        examples = load(dataset, split)
        assert len(examples) == 10
        assert bool((examples.inputs == number).all())


def test_val_is_carved_out_of_train_when_missing(tmp_path: Path) -> None:
    x, y = np.zeros((90, 4, 4), np.uint8), np.arange(90) % 3
    path = save(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])
    dataset = array(path)
    assert [len(load(dataset, split)) for split in ("train", "val", "test")] == [81, 9, 9]


def test_floats_and_integers_become_bytes(tmp_path: Path) -> None:
    y = np.arange(20) % 2
    whole = RANDOM.integers(0, 256, (20, 4, 4), np.uint8)
    expected = load(array(save(tmp_path / "a.npz", x=whole, y=y)), "train").inputs
    for number, x in enumerate((whole.astype(np.int64), (whole / 255).astype(np.float32))):
        inputs = load(array(save(tmp_path / f"{number}.npz", x=x, y=y)), "train").inputs
        assert torch.equal(inputs, expected)


@pytest.mark.parametrize(("shape", "grid"), [((8, 8), (16, 16)), ((5, 8, 8), (8, 16, 4))])
def test_another_grid_is_interpolated(
    shape: tuple[int, ...], grid: tuple[int, ...], tmp_path: Path
) -> None:
    x = np.repeat(np.arange(20, dtype=np.uint8) * 10, np.prod(shape)).reshape(20, *shape)
    dataset = array(save(tmp_path / "a.npz", x=x, y=np.arange(20) % 2))
    examples = load(dataset, "train", grid)
    assert examples.inputs.shape[2:] == grid
    assert bool((examples.inputs.flatten(1) == (examples.groups * 10)[:, None]).all())
    assert array(tmp_path / "a.npz", grid="x".join(map(str, grid))).grid == grid


def test_the_fingerprint_depends_on_content_and_splits(tmp_path: Path) -> None:
    x, y = RANDOM.integers(0, 256, (20, 4, 4), np.uint8), np.arange(20) % 2
    base = array(save(tmp_path / "a.npz", x=x, y=y)).fingerprint
    assert array(save(tmp_path / "b.npz", x=x, y=1 - y)).fingerprint != base
    assert array(tmp_path / "a.npz", fractions="0.6/0.2/0.2").fingerprint != base
    assert array(tmp_path / "a.npz", grid=8).fingerprint == base


ZEROS, HALVES = np.zeros((20, 4, 4), np.uint8), np.arange(20) % 2


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"a": ZEROS}, "has neither x and y nor x_train and y_train .*there are: a"),
        ({"x": ZEROS, "y": HALVES[:5]}, r"one label for each .*\(5,\) and \(20, 4, 4\)"),
        ({"x": ZEROS, "y": HALVES * 0}, "has one class"),
        ({"x": ZEROS, "y": HALVES / 2}, "whole numbers from 0, not float64"),
        ({"x": ZEROS, "y": HALVES - 1}, "whole numbers from 0"),
        ({"x": ZEROS[:, 0], "y": HALVES}, r"shape \(20, 4\) are not 2 or 3D items"),
        ({"x": ZEROS - 1.0, "y": HALVES}, "float64 values outside 0 to 1"),
        ({"x": ZEROS + np.nan, "y": HALVES}, "float64 values outside 0 to 1"),
        ({"x": ZEROS + np.int16(300), "y": HALVES}, "int16 values outside 0 to 255"),
        ({"x": np.array([{}] * 20), "y": HALVES}, "contains Python objects"),
        ({"x": ZEROS[:0], "y": HALVES[:0]}, "one label for each"),
    ],
)
def test_invalid_arrays_are_named(arrays: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", **arrays)
    with pytest.raises(LiereError, match=sentence) as error:
        array(path)
    assert "a.npz" in str(error.value)


def test_a_file_that_is_not_an_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for content in (b"", b"junk"):
        path.write_bytes(content)
        with pytest.raises(LiereError, match=r"a.npz is not an .npz file"):
            array(path)
    save(path, x=ZEROS, y=HALVES)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(LiereError, match=r"a.npz is"):
        array(path)


def test_the_grid_has_the_axes_of_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x=ZEROS, y=HALVES)
    with pytest.raises(UsageError, match=r"grid 4x4x4 has 3 axes, but the arrays in .* have 2"):
        array(path, grid="4x4x4")


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.arange(40) % 4 + 10**12, "the largest is 1000000000003 and .* different ones 4"),
        (np.arange(40, dtype=np.uint64) % 4 + 2**63, "the largest is 9223372036854775811"),
        (np.arange(40) % 4 + 1, "without gaps, but the largest is 4"),
        (np.arange(40) % 4 - 1, "y must be whole numbers from 0, not -1"),
        (np.arange(40) % 4 / 1, "y must be whole numbers from 0, not float64"),
    ],
)
def test_labels_count_from_0_without_gaps(
    labels: np.ndarray, sentence: str, tmp_path: Path
) -> None:
    path = save(tmp_path / "a.npz", x=np.zeros((40, 8, 8), np.uint8), y=labels)
    with pytest.raises(LiereError, match=sentence):
        array(path)


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (np.zeros((40, 8, 8), np.complex64), "x has complex64 values: uint8, whole numbers"),
        (np.full((40, 8, 8), "a"), "x has <U1 values: uint8, whole numbers"),
        (np.zeros((40, 0, 8)), "is empty"),
    ],
)
def test_values_that_are_not_pixels_are_named(x: np.ndarray, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(LiereError, match=sentence):
        array(save(tmp_path / "a.npz", x=x, y=np.arange(40) % 4))


def test_a_grid_that_is_too_large_is_an_error_for_any_number_of_axes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x=np.zeros((40, 8, 8), np.uint8), y=np.arange(40) % 4)
    for grid in ("9000x9000", "8x9000x9000", [8, 9000, 9000]):
        with pytest.raises(UsageError, match="at most 16,777,216 pixels"):
            array(path, grid=grid)


def test_an_array_with_a_broken_header_is_named(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.save(content, np.zeros((4, 8, 8), np.uint8))
    broken = content.getvalue()[:20] + b"(" * 10 + content.getvalue()[30:]
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", broken)
    with pytest.raises(LiereError, match=r"a.npz is broken"):
        array(path)


@pytest.mark.parametrize("each", [1, 2])
def test_too_few_items_of_a_class_are_named_before_training(each: int, tmp_path: Path) -> None:
    count = 4 * each
    path = save(tmp_path / "a.npz", x=RANDOM.random((count, 8, 8)), y=np.arange(count) % 4)
    with pytest.raises(LiereError, match=r"a.npz can't be split into train, val and test: .*few"):
        array(path)
    assert array(save(path, x=RANDOM.random((12, 8, 8)), y=np.arange(12) % 4)).classes == 4


def test_a_class_of_the_test_part_alone_is_named(tmp_path: Path) -> None:
    x, y = RANDOM.random((20, 8, 8)), np.arange(20) % 2
    for part in ("val", "test"):
        extra = {f"x_{part}": x, f"y_{part}": y + 1}
        path = save(tmp_path / "a.npz", x_train=x, y_train=y, **extra)
        with pytest.raises(
            LiereError, match=r"a.npz has classes in val or test that train .*\(2\)"
        ):
            array(path)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("x_train", "y_train", "x_valid", "y_valid"), "x_valid would not be read"),
        (("x_train", "y_train", "x_test"), "x_test would not be read"),
        (("x_train", "y_train", "train_images", "train_labels"), "a split has several names"),
        (("x", "y", "x_test", "y_test"), "a split has several names"),
        (("x", "y", "X_train", "Y_train"), "X_train would not be read"),
        (("train_x", "train_y"), "has neither x and y nor x_train"),
        (("x_val", "y_val"), "has neither x and y nor x_train"),
    ],
)
def test_arrays_of_splits_that_would_be_left_out_are_refused(
    names: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    arrays = {n: HALVES if n.lower()[0] == "y" or "labels" in n else ZEROS for n in names}
    with pytest.raises(LiereError, match=sentence):
        array(save(tmp_path / "a.npz", **arrays))


def test_other_arrays_are_counted_and_equal_items_too(tmp_path: Path) -> None:
    x, y = RANDOM.integers(0, 256, (20, 8, 8), np.uint8), np.arange(20) % 2
    path = save(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x[:6], y_test=y[:6], names=["a"])
    assert array(path).notes == (
        "read 26 items of 2 classes (0 13, 1 13) from 1 file: 18 train, 2 val, 6 test (train and "
        "test as in the files, val held out of train)",
        "left aside: 1 array (names)",
        "6 items of test are also in train or val, byte for byte",
    )


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 16, 16), (4, 16, 16)])
def test_channels_or_slices_are_asked_for(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x=RANDOM.random((40, *shape)), y=np.arange(40) % 4)
    with pytest.raises(
        LiereError, match=r"images of \d channel.* or volumes of .*axes=2 or axes=3"
    ):
        array(path)
    assert (array(path, axes=2).channels, array(path, axes=2).grid) == (shape[0], shape[1:])
    assert (array(path, axes=3).channels, array(path, axes=3).grid) == (1, shape)


def test_frames_before_channels_are_named(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x=RANDOM.random((40, 8, 3, 16, 16)), y=np.arange(40) % 4)
    with pytest.raises(LiereError, match=r"channels on their third axis.*move that axis"):
        array(path)


def test_truth_values_are_black_and_white(tmp_path: Path) -> None:
    x = RANDOM.random((40, 8, 8)) > 0.5
    boolean = array(save(tmp_path / "a.npz", x=x, y=np.arange(40) % 4))
    assert load(boolean, "train").inputs.unique().tolist() == [0, 255]
    # its pixels were 0 and 1 before, so that it is another data set now
    whole = array(save(tmp_path / "b.npz", x=x.astype(np.uint8), y=np.arange(40) % 4))
    assert boolean.fingerprint != whole.fingerprint
