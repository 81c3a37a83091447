"""Volumes: the same voxels from every format, patches, files larger than memory, broken files."""

import os
import re
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import liere_cli as liere
from liere_cli.data import Dataset, Examples, TrainingBatches, build_dataset
from liere_cli.data.base import Encoded
from liere_cli.data.volumes.dataset import view_shares
from liere_cli.data.volumes.stored import open_volume
from liere_cli.errors import LiereError, UsageError
from liere_cli.runs.item_results import item_results
from support.views import fixed_views

SHAPE = (6, 8, 10)
RANDOM = np.random.default_rng(0)
VOLUMES = RANDOM.integers(0, 256, (24, *SHAPE), np.uint8)
LABELS = np.arange(24) % 2


def load(dataset: Dataset, split: str) -> Examples:
    examples = dataset.load(split)  # type: ignore[arg-type]
    assert isinstance(examples, Examples)
    return examples


def everything(dataset: Dataset) -> set[tuple[int, bytes]]:
    parts = [load(dataset, split) for split in ("train", "val", "test")]
    return {
        (int(label), item.numpy().tobytes())
        for part in parts
        for item, label in zip(part.inputs, part.labels, strict=True)  # type: ignore[arg-type]
    }


EXPECTED = {(int(n), volume.tobytes()) for volume, n in zip(VOLUMES, LABELS, strict=True)}
GRID = "grid=6x8x10"


def write_npy(folder: Path) -> str:
    np.save(folder / "all.npy", VOLUMES)
    np.save(folder / "labels.npy", LABELS)
    return f"volumes:{folder}/all.npy,labels_file={folder}/labels.npy"


def write_npz(folder: Path) -> str:
    np.savez(folder / "all.npz", x=np.asfortranarray(VOLUMES), y=LABELS[:, None])
    return f"volumes:{folder}/all.npz"


def write_medmnist(folder: Path) -> str:
    parts = {"train": slice(0, 14), "val": slice(14, 18), "test": slice(18, 24)}
    arrays = {f"{name}_images": VOLUMES[part] for name, part in parts.items()}
    arrays |= {f"{name}_labels": LABELS[part, None] for name, part in parts.items()}
    np.savez(folder / "organ.npz", **arrays)
    return f"volumes:{folder}/organ.npz"


def write_zarr(version: int, folder: Path) -> str:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(folder / f"v{version}.zarr"), mode="w", zarr_format=version)
    group.create_array("x", shape=VOLUMES.shape, chunks=(5, 4, 4, 4), dtype="u1")[:] = VOLUMES
    group.create_array("y", shape=LABELS.shape, chunks=(24,), dtype="i8")[:] = LABELS
    return f"volumes:{folder}/v{version}.zarr"


def write_files(suffix: str, folder: Path) -> str:
    for number, (volume, label) in enumerate(zip(VOLUMES, LABELS, strict=True)):
        path = folder / "set" / "ab"[label] / f"{number}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == ".npy":
            np.save(path, volume)
        elif suffix == ".zarr":
            zarr = pytest.importorskip("zarr")
            array = zarr.create_array(str(path), shape=SHAPE, chunks=(6, 5, 10), dtype="u1")
            array[:] = volume
        else:
            nibabel = pytest.importorskip("nibabel")
            nibabel.save(nibabel.Nifti1Image(volume.transpose(2, 1, 0), np.eye(4)), path)
    return f"volumes:{folder}/set"


FORMATS = {
    "npy": write_npy,
    "npz": write_npz,
    "medmnist": write_medmnist,
    "zarr 2": lambda folder: write_zarr(2, folder),
    "zarr 3": lambda folder: write_zarr(3, folder),
    **{
        f"files {suffix}": lambda folder, suffix=suffix: write_files(suffix, folder)
        for suffix in (".npy", ".zarr", ".nii", ".nii.gz")
    },
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_holds_the_same_voxels(name: str, tmp_path: Path) -> None:
    spec = FORMATS[name](tmp_path)
    dataset = build_dataset(f"{spec},{GRID}")
    assert everything(dataset) == EXPECTED
    assert (dataset.grid, dataset.channels, dataset.classes) == (SHAPE, 1, 2)
    assert "read 24 items of 2 classes" in dataset.notes[0]
    # a patch of the whole volume is the volume
    whole = build_dataset(f"{spec},{GRID},crop=true")
    parts = [load(whole, split) for split in ("train", "val", "test")]
    items = torch.cat([fixed_views(part) for part in parts])
    assert {item.numpy().tobytes() for item in items} == {content for _, content in EXPECTED}


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SAL", "IPL"])
def test_nifti_files_are_brought_to_one_orientation(codes: str, tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    canonical = VOLUMES[0].transpose(2, 1, 0)  # x, y, z
    image = nibabel.Nifti1Image(canonical, np.diag([1.0, 2, 3, 1]))
    axes = nibabel.orientations.axcodes2ornt(codes)
    turned = image.as_reoriented(nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), axes
    ))  # fmt: skip
    for suffix in (".nii", ".nii.gz"):
        nibabel.save(turned, tmp_path / f"a{suffix}")
        volume = open_volume(tmp_path / f"a{suffix}")
        assert volume.grid == SHAPE
        assert np.array_equal(volume.planes(0, 6)[0], VOLUMES[0])
        part = volume.read([slice(1, 3), slice(2, 7), slice(0, 4)])[0]
        assert np.array_equal(part, VOLUMES[0][1:3, 2:7, :4])


def test_values_of_nifti_files_are_scaled_and_windowed(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    stored = RANDOM.integers(0, 2000, (10, 8, 6), np.int16)
    for number in range(24):
        image = nibabel.Nifti1Image(stored + np.int16(number), np.eye(4))
        image.header.set_slope_inter(2.0, -1024.0)
        # as a scanner stores them, with a slope, and not as nibabel would scale them
        path = tmp_path / "set" / "ab"[number % 2] / f"{number}.nii"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.header.set_data_dtype(np.int16)
        nibabel.save(image, path)
        content = bytearray(path.read_bytes())
        content[112:120] = np.array([2.0, -1024.0], np.float32).tobytes()
        offset = int(np.frombuffer(bytes(content[108:112]), np.float32)[0])
        content[offset:] = (stored + np.int16(number)).tobytes(order="F")
        path.write_bytes(content)
    spec = f"volumes:{tmp_path}/set,{GRID}"
    with pytest.raises(LiereError, match="window=-1000/400"):
        load(build_dataset(spec), "train")
    volume = open_volume(tmp_path / "set/a/0.nii")
    values = stored.transpose(2, 1, 0) * 2.0 - 1024
    assert np.array_equal(volume.planes(0, 6)[0], values)
    dataset = build_dataset(f"{spec},window=-1000/400")
    expected = np.clip((values + 1000) / 1400 * 255, 0, 255).round()
    items = [item for split in ("train", "val", "test") for item in load(dataset, split).inputs]  # type: ignore[attr-defined]
    assert min(np.abs(item[0].numpy().astype(int) - expected).max() for item in items) <= 1
    other = build_dataset(f"{spec},window=volume")
    assert other.fingerprint != dataset.fingerprint
    spread = load(other, "train").inputs
    assert spread.min() == 0  # type: ignore[union-attr]
    assert spread.max() == 255  # type: ignore[union-attr]


def test_volumes_are_resized_by_means_of_planes(tmp_path: Path) -> None:
    spec = write_npy(tmp_path)
    dataset = build_dataset(f"{spec},grid=3x8x10")
    means = {
        np.round(volume.reshape(3, 2, 8, 10).astype(np.float32).mean(1)).astype(np.uint8).tobytes()
        for volume in VOLUMES
    }
    assert {content for _, content in everything(dataset)} == means
    assert load(build_dataset(f"{spec},grid=9x4x5"), "test").inputs.shape[1:] == (1, 9, 4, 5)


def test_patches_are_a_function_of_seed_and_step(tmp_path: Path) -> None:
    spec = write_npy(tmp_path)
    dataset = build_dataset(f"{spec},grid=4x4x4,crop=true,views=8")

    def batches(seed: int = 3) -> TrainingBatches:
        train = load(dataset, "train")
        return TrainingBatches(train, batch_size=8, seed=seed, mean=[0], std=[1 / 255])

    first = batches()
    parts = [first.at(step)[0] for step in range(4)]
    assert torch.equal(batches().at(3)[0], parts[3])
    assert torch.equal(batches().at(2, slice(1, 4))[0], parts[2][1:4])
    assert not torch.equal(batches(4).at(3)[0], parts[3])
    windows = np.lib.stride_tricks.sliding_window_view(VOLUMES, (4, 4, 4), (1, 2, 3))
    known = {patch.tobytes() for patch in windows.reshape(-1, 4, 4, 4)}
    drawn = {patch.numpy().astype(np.uint8).tobytes() for part in parts for patch in part}
    assert drawn <= known
    assert len(drawn) > 25
    test = load(dataset, "test")
    assert len(fixed_views(test, torch.tensor([1, 0]))) == 16
    small = ["model.layers=1", "model.dim=24", "model.heads=2", "training.batch=4"]
    run = liere.train(
        encoding="rope-mixed", data=f"{spec},grid=4x4x4,crop=true,views=8", budget="2steps",
        assignments=small, out=tmp_path / "runs",
    )  # fmt: skip
    items = item_results(run, "top1")
    assert items is not None
    assert len(items.scores) == len(test)


@given(st.integers(1, 200))
@settings(max_examples=30)
def test_views_are_a_centred_lattice(views: int) -> None:
    shares = np.array(view_shares(views))
    assert shares.shape == (views, 3)
    assert np.allclose(shares.mean(0), 0.5)
    assert len(np.unique(shares, axis=0)) == views


#: loads and reads a data set, and prints the kilobytes of memory that are not pages of its file
READ = """
import sys, torch
from liere_cli.data import build_dataset
inputs = build_dataset(sys.argv[1]).load("train").inputs
whole = torch.is_tensor(inputs)
print((inputs[:2] if whole else inputs.decode(0)).sum())
print(dict(line.split(":", 1) for line in open("/proc/self/status"))["RssAnon"].split()[0])
"""


def write_sparse(folder: Path, gigabytes: float) -> str:
    rows = int(gigabytes * 2**30) // (64 * 512 * 512)
    shape = (rows, 64, 512, 512)
    array = np.lib.format.open_memmap(folder / "large.npy", "w+", np.uint8, shape)
    for row in range(rows):
        array[row, 0, 0, 0] = row % 251
    del array
    assert os.stat(folder / "large.npy").st_blocks * 512 < 2**26
    np.save(folder / "labels.npy", np.arange(rows) % 2)
    return f"volumes:{folder}/large.npy,labels_file={folder}/labels.npy,grid=8x16x16"


def test_an_array_is_not_read_as_a_whole(tmp_path: Path) -> None:
    spec = write_sparse(tmp_path, 0.5)
    tracemalloc.start()
    for mode in ("crop=true", "crop=false"):
        train = load(build_dataset(f"{spec},{mode}"), "train")
        if isinstance(train.inputs, Encoded):
            assert fixed_views(train, torch.arange(2)).shape == (2, 1, 8, 16, 16)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 128 << 20


@pytest.mark.stress
@pytest.mark.parametrize("mode", ["crop=true", "crop=false"])
def test_twenty_gigabytes_need_less_than_one(mode: str, tmp_path: Path) -> None:
    spec = f"{write_sparse(tmp_path, 20)},{mode}"
    ran = subprocess.run(
        [sys.executable, "-c", READ, spec],
        capture_output=True, text=True, check=True, env=os.environ | {"LIERE_CACHE": str(tmp_path)},
    )  # fmt: skip
    assert int(ran.stdout.split()[-1]) < 1_000_000


def pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)


def zarr_with_pickle(path: Path) -> None:
    path.mkdir()
    codec = '{"id": "pickle"}'
    (path / ".zarray").write_text(
        '{"zarr_format": 2, "shape": [4, 4, 4], "chunks": [4, 4, 4], "dtype": "|u1", "order": "C",'
        f'"fill_value": 0, "compressor": null, "filters": [{codec}]}}'
    )


def nifti_of(shape: tuple[int, ...], path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4)), path)


HOSTILE: dict[str, tuple[Any, str]] = {
    "empty.npy": (b"", "is broken or not a volume"),
    "foreign.npy": (b"no array" * 99, "is broken or not a volume"),
    "pickle.npy": (pickled, "is broken or not a volume"),
    "flat.npy": (lambda path: np.save(path, np.zeros((8, 8), np.uint8)), "is no volume"),
    "many.npy": (lambda path: np.save(path, np.zeros((9, 9, 9, 9), np.uint8)), "is no volume"),
    "complex.npy": (lambda path: np.save(path, np.zeros((4, 4, 4), complex)), "complex128 values"),
    "text.npy": (lambda path: np.save(path, np.full((4, 4, 4), "a")), "<U1 values"),
    "int.npy": (lambda path: np.save(path, np.zeros((4, 4, 4), np.int16)), "window=-1000/400"),
    "channels.npy": (lambda path: np.save(path, np.zeros((4, 4, 4, 3), np.uint8)), "3 channels"),
    "empty.nii": (b"", "is broken or not a volume"),
    "foreign.nii.gz": (b"no nifti" * 99, "is broken or not a volume"),
    "foreign.gz": (b"\x1f\x8b" * 99, "is broken or not a volume"),
    "time.nii": (lambda path: nifti_of((4, 4, 4, 5), path), "its shape is (4, 4, 4, 5)"),
    "plane.nii": (lambda path: nifti_of((4, 4), path), "3 axes are expected"),
    "empty.zarr": (lambda path: path.mkdir(), "is broken or not a volume"),
    "pickle.zarr": (zarr_with_pickle, "is broken or not a volume"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_broken_volume_is_one_sentence(name: str, tmp_path: Path) -> None:
    if ".nii" in name or name.endswith(".gz"):
        pytest.importorskip("nibabel")
    if name.endswith(".zarr"):
        pytest.importorskip("zarr")
    for number in range(12):
        path = tmp_path / "set" / "ab"[number % 2] / f"{number:02}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, VOLUMES[number])
    make, message = HOSTILE[name]
    victim = tmp_path / "set" / "b" / name
    if isinstance(make, bytes):
        victim.write_bytes(make)
    else:
        make(victim)
    with pytest.raises(LiereError, match=re.escape(message)) as error:
        load(build_dataset(f"volumes:{tmp_path / 'set'},{GRID}"), "train")
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_what_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    spec = write_npy(tmp_path)
    # an index of the whole volumes says nothing about patches
    assert len(load(build_dataset(f"{spec},{GRID}"), "train"))
    cases = {
        f"volumes:{tmp_path}/all.npy": "has no labels",
        f"{spec},crop=true,grid=7x8x8": "smaller than crops of 7x8x8",
        f"{spec},views=3": "needs crop=true",
        f"{spec},window=4/4": "a lower and a higher value",
        f"volumes:{tmp_path}/labels.npy,labels_file={tmp_path}/labels.npy": "holds no volumes",
    }
    np.save(tmp_path / "few.npy", LABELS[:5])
    np.save(tmp_path / "gap.npy", LABELS * 2)
    np.save(tmp_path / "real.npy", LABELS / 2)
    file = f"volumes:{tmp_path}/all.npy,labels_file={tmp_path}"
    cases |= {f"{file}/few.npy": "24 volumes, but 5 labels", f"{file}/gap.npy": "without gaps"}
    cases |= {f"{file}/real.npy": "whole numbers from 0"}
    np.savez_compressed(tmp_path / "packed.npz", x=VOLUMES, y=LABELS)
    (tmp_path / "junk.npz").write_bytes(b"PK" * 50)
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("x.npy", b"no array")
    cases |= {
        f"volumes:{tmp_path}/packed.npz": "is compressed and can't be mapped",
        f"volumes:{tmp_path}/junk.npz": "is broken or not a volume",
        f"volumes:{tmp_path}/text.npz": "is broken or not a volume",
        f"volumes:{tmp_path}/none": "does not exist",
    }
    (tmp_path / "one.nii").write_bytes(b"x")
    cases |= {f"volumes:{tmp_path}/one.nii": "has no classes"}
    for case, message in cases.items():
        with pytest.raises((LiereError, UsageError), match=re.escape(message)):
            load(build_dataset(case), "train")


def test_lists_name_volumes(tmp_path: Path) -> None:
    lines = ["path,label,split,patient"]
    for number, volume in enumerate(VOLUMES):
        np.save(tmp_path / f"{number}.npy", volume)
        split = "train" if number < 16 else "test"
        lines.append(f"{number}.npy,{'ab'[number % 2]},{split},p{number // 2}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    dataset = build_dataset(f"volumes:{tmp_path}/list.csv,{GRID}")
    assert everything(dataset) == EXPECTED
    assert len(load(dataset, "test")) == 8
    assert len(load(dataset, "test").groups.unique()) == 4
