"""Names, options and grids: valid ones are parsed, invalid ones are an error of one sentence."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import liere_cli.data
from liere_cli.data import available, build_dataset, dataset_class, parse_grid
from liere_cli.errors import LiereError, UsageError

extents = st.integers(1, 256)


@given(st.lists(extents, min_size=1, max_size=3))
def test_a_grid_reads_the_same_as_text_and_as_list(grid: list[int]) -> None:
    axes = len(grid)
    assert parse_grid("x".join(map(str, grid)), axes) == tuple(grid)
    assert parse_grid(grid, axes) == tuple(grid)


@given(extents)
def test_one_number_is_a_length_or_a_square(extent: int) -> None:
    assert parse_grid(extent, 1) == parse_grid(str(extent), 1) == (extent,)
    assert parse_grid(extent, 2) == parse_grid(str(extent), 2) == (extent, extent)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    "value", [0, -1, "", "x", "3x", "axb", 1.5, True, None, [], [0, 2], [1, 2, 3, 4], "8x-8", "٣"]
)
def test_a_bad_grid_is_named_with_what_is_allowed(value: object, axes: int) -> None:
    with pytest.raises(UsageError, match=r"such as .* is expected") as error:
        parse_grid(value, axes)
    assert repr(value) in str(error.value)


def test_one_number_is_not_a_video_grid() -> None:
    with pytest.raises(UsageError, match="FRAMESxROWSxCOLUMNS"):
        parse_grid(64, 3)


def test_data_sets_are_listed_by_kind_and_origin() -> None:
    assert list(available()) == [
        "enwik8", "text8", "tinyshakespeare", "text", "tokens", "stdlib",
        "cifar10", "cifar100", "imagewoof", "hub", "images", "pointing",
        "ucf101", "video", "volumes", "array", "motion",
    ]  # fmt: skip


def test_a_data_set_needs_one_file_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "noise.py").write_text(
        "from liere_cli.data.synthetic.pointing import Pointing\n"
        "class Noise(Pointing):\n"
        "    name = 'noise'\n"
    )
    monkeypatch.setattr(liere_cli.data, "__path__", [*liere_cli.data.__path__, str(tmp_path)])
    available.cache_clear()
    assert build_dataset("noise:cells=5").grid == (40, 40)
    monkeypatch.undo()
    sys.modules.pop("liere_cli.data.noise")
    available.cache_clear()
    assert "noise" not in available()


def test_every_class_describes_itself() -> None:
    for name, cls in available().items():
        assert dataset_class(name) is cls
        assert cls.name == name
        assert cls.task in ("language-model", "classification")
        assert cls.metric == {"language-model": "bits_per_byte"}.get(cls.task, "top1")
        assert cls.axes in (1, 2, 3, None)
        assert all((cls.summary, cls.source, cls.licence))
        assert "grid" in cls.Options.model_fields
        assert cls.is_available(None) in (True, False)


@pytest.mark.parametrize("name", ["stdlib", "cifar10", "cifar100", "imagewoof", "ucf101", "enwik8"])
def test_a_patch_tiles_the_default_grid(name: str) -> None:
    dataset = build_dataset(name)
    assert len(dataset.patch) == len(dataset.grid)
    assert all(extent % size == 0 for extent, size in zip(dataset.grid, dataset.patch, strict=True))


def test_text_and_mapping_mean_the_same() -> None:
    written = build_dataset("pointing:cells=5,grid=40x40,seed=3")
    mapped = build_dataset({"name": "pointing", "cells": 5, "grid": [40, 40], "seed": 3})
    assert written.options == mapped.options
    assert written.fingerprint == mapped.fingerprint


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("cifr100", "unknown data set 'cifr100'; did you mean 'cifar100'"),
        ("cifar100:gird=32", "data.cifar100: unknown key 'gird'; did you mean 'grid'"),
        ("cifar100:grid=a", "data.cifar100: 'grid' is 'a', but .* such as 32"),
        ("cifar100:labels=rough", "data.cifar100: 'labels' is 'rough'"),
        ("stdlib:grid=8x8", "data.stdlib: 'grid' is '8x8', but a whole number such as 256"),
        ("text", "data.text: 'path' is missing"),
        ("text:a.txt,fractions=0.5/0.5/0.5", "'fractions' is .* add to 1"),
        ("pointing:grid=40", "the grid 40x40 is not 9x9 square cells.* multiple of 9"),
        ("pointing:arrows=6", "arrows must be a multiple of 4"),
        ("pointing:cells=3", "must fit into cells x cells"),
        ("motion:speed=3", "both ways would look the same"),
        ("motion:grid=1x12x12", "1 frame shows no motion"),
        ("motion:grid=4x12x16", "square cells"),
        ("images:x,grid=1000000x1000000", "at most 16,777,216 pixels"),
        ("stdlib:grid=1000001", "at most 1,000,000 bytes"),
        (f"stdlib:grid={'9' * 5000}", "a whole number such as 256"),
    ],
)
def test_a_bad_spec_is_a_usage_error(spec: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        build_dataset(spec)


def test_the_name_must_be_text() -> None:
    with pytest.raises(UsageError, match="'name' is None"):
        build_dataset({"grid": 3})


@pytest.mark.parametrize("name", ["text", "images", "video", "array"])
def test_a_missing_file_is_named(name: str) -> None:
    with pytest.raises(UsageError, match="nowhere/at/all' does not exist"):
        build_dataset({"name": name, "path": "nowhere/at/all"})


@pytest.mark.parametrize("name", ["text", "images", "video", "array"])
def test_a_path_that_is_neither_file_nor_folder_is_named(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.parquet")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for path, problem in [
        ("/dev/null", "is not a regular file"),
        # reading it would wait for a writer
        (str(tmp_path / "fifo.parquet"), "is not a regular file"),
        (str(tmp_path / "link"), "is a broken link"),
        ("~nobody-at-all/x", "can't be read"),
    ]:
        with pytest.raises(LiereError, match=f"data.{name}: '{path}':? {problem}"):
            build_dataset({"name": name, "path": path})


@pytest.mark.parametrize("name", ["text", "array"])
def test_a_folder_is_not_a_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder, but a file is expected"):
        build_dataset({"name": name, "path": str(tmp_path)})


def test_a_folder_may_have_brackets_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "a[b]").mkdir()
    with pytest.raises(LiereError, match="has no class"):
        build_dataset({"name": "images", "path": str(tmp_path / "a[b]")})


@pytest.mark.parametrize("name", available())
def test_every_option_has_a_description(name: str) -> None:
    fields = dataset_class(name).Options.model_fields
    assert [key for key, field in fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("name", "grid", "grids"),
    [("motion", (8, 33, 33), "multiple of 12"), ("pointing", (63, 63), "multiple of 72")],
)
def test_the_grid_of_a_probe_fits_cells_and_patches(
    name: str, grid: tuple[int, ...], grids: str
) -> None:
    dataset = build_dataset(name)
    with pytest.raises(UsageError, match=grids) as error:
        dataset.check_grid(grid, dataset.patch)
    fitting = int(str(error.value).rpartition(" ")[2])
    dataset.check_grid((*grid[:-2], fitting, fitting), dataset.patch)
    assert fitting % dataset.patch[-1] == 0
    # patches of other sizes have other multiples
    dataset.check_grid(grid, tuple(1 for _ in dataset.patch))


def test_the_root_must_be_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"data root .*missing is not a folder"):
        build_dataset("stdlib", tmp_path / "missing")
    monkeypatch.setenv("LIERE_DATA", str(tmp_path / "missing"))
    with pytest.raises(UsageError, match="LIERE_DATA"):
        build_dataset("stdlib")
    monkeypatch.setenv("LIERE_DATA", str(tmp_path))
    assert build_dataset("stdlib").root == tmp_path
