"""Parquet and saved tables: every row is used, or a sentence names the column and the value."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from liere_cli.data import Dataset, build_dataset
from liere_cli.errors import LiereError
from support.image_files import image, images

NAMES = ("cat", "dog")


def write(
    path: Path,
    labels: Any,
    start: int = 0,
    names: Sequence[str] | None = None,
    **columns: Any,
) -> Path:
    """One image a row, of different content, with these labels."""
    count = len(labels)
    rows = {"image": [{"bytes": image(start + n), "path": None} for n in range(count)]}
    table = pa.table({**rows, "label": labels, **columns})
    if names:
        feature = {"label": {"_type": "ClassLabel", "names": list(names)}}
        info = json.dumps({"info": {"features": feature}})
        table = table.replace_schema_metadata({"huggingface": info})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def sizes(dataset: Dataset) -> list[int]:
    return [len(dataset.load(split)) for split in ("train", "val", "test")]  # type: ignore[arg-type]


HALVES = [0, 1] * 15


@pytest.mark.parametrize(
    "labels",
    [
        pa.array(HALVES, pa.int8()),
        pa.array(HALVES, pa.uint64()),
        pa.array([1.0 * label for label in HALVES], pa.float32()),
        pa.array([bool(label) for label in HALVES]),
        pa.array([NAMES[label] for label in HALVES]),
        pa.array([NAMES[label] for label in HALVES], pa.large_string()),
        pa.array([NAMES[label] for label in HALVES]).dictionary_encode(),
        pa.array([(-1, 1)[label] for label in HALVES]),
    ],
    ids=lambda labels: f"{labels.type} {labels[0]}",
)
def test_labels_of_one_kind_are_classes(labels: pa.Array, tmp_path: Path) -> None:
    dataset = images(write(tmp_path / "a.parquet", labels))
    assert dataset.classes == 2
    assert sum(sizes(dataset)) == 30
    assert min(sizes(dataset)) > 0


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([[0], [1]] * 15, r"'label' has values of type list<.*>, but whole numbers or text"),
        ([{"id": 0}, {"id": 1}] * 15, r"'label' has values of type struct<"),
        (pa.array([[0, 1], [1, 0]] * 15, pa.list_(pa.int64(), 2)), "of type fixed_size_list"),
        ([b"a", b"b"] * 15, "of type binary"),
        (pa.array([0, 1] * 15, pa.date32()), "of type date32"),
        ([0.5, 1.5] * 15, "'label' is 0.5, but whole numbers or text are expected"),
        ([0.0, float("nan")] * 15, "'label' is empty in some rows"),
        ([0, None] * 15, "'label' is empty in some rows"),
        (["cat", None] * 15, "'label' is empty in some rows"),
        (["cat", ""] * 15, "a class has a blank name"),
        (["Cat", "cat", "dog"] * 10, "the classes 'Cat' and 'cat' differ in case or spaces only"),
        (["cat", "cat ", "dog"] * 10, "'cat' and 'cat ' differ in case or spaces only"),
        (["caf\u00e9", "cafe\u0301", "dog"] * 10, "differ in case or spaces only"),
        ([1] * 30, r"has one class in 'label' \(1\)"),
        (pa.array([], pa.int64()), "has no rows"),
    ],
)
def test_labels_that_are_not_classes_are_named(labels: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(LiereError, match=sentence) as error:
        images(write(tmp_path / "a.parquet", labels)).load("train")
    assert "a.parquet" in str(error.value)


def test_labels_of_several_kinds_or_names_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a-train.parquet", HALVES)
    write(tmp_path / "a-test.parquet", [NAMES[label] for label in HALVES], 30)
    with pytest.raises(LiereError, match=r"labels in 'label' are text in .*, numbers in"):
        images(tmp_path)
    write(tmp_path / "a-train.parquet", HALVES, names=NAMES)
    write(tmp_path / "a-test.parquet", HALVES, 30, names=NAMES[::-1])
    with pytest.raises(LiereError, match=r"other names of classes in 'label'.*dog, cat"):
        images(tmp_path)


def test_classes_of_the_test_part_alone_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", ["cat", "dog"] * 15)
    write(tmp_path / "test.parquet", ["cats", "dogs"] * 15, 30)
    with pytest.raises(
        LiereError, match=r"classes in val or test .*cats, dogs.*is 'cats' the 'cat'"
    ):
        images(tmp_path).load("train")
    # unlabelled rows as the hub stores them
    write(tmp_path / "train.parquet", HALVES)
    write(tmp_path / "test.parquet", [-1] * 30, 30)
    with pytest.raises(LiereError, match=r"classes in val or test that train does not have \(-1\)"):
        images(tmp_path).load("train")


def test_a_row_with_two_images_is_refused(tmp_path: Path) -> None:
    pairs = [[image(2 * n), image(2 * n + 1)] for n in range(30)]
    pq.write_table(pa.table({"image": pairs, "label": HALVES}), tmp_path / "a.parquet")
    with pytest.raises(LiereError, match=r"row 0 has 2 images in 'image', but one .* use video:"):
        images(tmp_path / "a.parquet").load("train")
    single = [[image(n)] for n in range(30)]
    pq.write_table(pa.table({"image": single, "label": HALVES}), tmp_path / "a.parquet")
    assert sum(sizes(images(tmp_path / "a.parquet"))) == 30


def test_columns_that_are_not_certain_are_asked_for(tmp_path: Path) -> None:
    count = {"target": HALVES, "class": HALVES}
    table = pq.read_table(write(tmp_path / "a.parquet", HALVES, **count))
    assert images(tmp_path / "a.parquet").classes == 2
    pq.write_table(table.drop_columns(["label"]), tmp_path / "a.parquet")
    with pytest.raises(LiereError, match=r"column of the label can't be .*target, class.*label="):
        images(tmp_path / "a.parquet")
    assert images(tmp_path / "a.parquet", label="target").classes == 2


@pytest.mark.parametrize(
    "layout",
    ["{}.parquet", "{}-0.PARQUET", "data/{}-00000-of-00001.parquet", "default/{}/0000.parquet",
     "snapshots/1a2b/data/{}.parquet", "my-{}data.parq"],
)  # fmt: skip
def test_splits_are_found_in_every_layout_of_the_hub(layout: str, tmp_path: Path) -> None:
    write(tmp_path / layout.format("train"), HALVES)
    write(tmp_path / layout.format("test"), HALVES, 30)
    (tmp_path / "README.md").write_text("# Data")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref")
    dataset = images(tmp_path)
    assert sizes(dataset)[2] == 30
    assert sum(sizes(dataset)) == 60
    assert "from 2 files" in dataset.notes[0]
    assert dataset.notes[1] == "left aside: 1 hidden or of the system, 1 .md"


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (
            ("train.parquet", "test.parquet", "extra.parquet"),
            "extra.parquet has none of train, val",
        ),
        (("train.parquet", "train_test.parquet"), "train_test.parquet has none of .* or several"),
        (("trainval.parquet", "test.parquet"), "trainval.parquet has none of"),
        (("a/train.parquet", "b/train.parquet"), "several folders, which may be several data sets"),
        (("val.parquet", "test.parquet"), "has items of val and of test, but none of train"),
    ],
)
def test_files_that_would_be_left_out_are_refused(
    files: Sequence[str], sentence: str, tmp_path: Path
) -> None:
    for number, name in enumerate(files):
        write(tmp_path / name, HALVES, 30 * number)
    with pytest.raises(LiereError, match=sentence):
        images(tmp_path).load("train")


def test_parquet_beside_class_folders_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", HALVES)
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(image(1))
    with pytest.raises(LiereError, match=r"has parquet files \(a.parquet\) and other files"):
        images(tmp_path)


def test_a_split_without_rows_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", HALVES)
    write(tmp_path / "test.parquet", pa.array([], pa.int64()))
    with pytest.raises(LiereError, match=r"test.parquet has no rows"):
        images(tmp_path)


@pytest.mark.parametrize("splits", [("train", "test"), None])
def test_what_datasets_saves_is_read(splits: tuple[str, ...] | None, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))}
    )

    def part(start: int) -> Any:
        rows = {"image": [{"bytes": image(start + n), "path": None} for n in range(30)]}
        return datasets.Dataset.from_dict({**rows, "label": HALVES}, features=features)

    if splits:
        parts = {name: part(30 * n) for n, name in enumerate(splits)}
        datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    else:
        part(0).save_to_disk(tmp_path / "saved")
    write(tmp_path / "same" / ("train.parquet" if splits else "a.parquet"), HALVES)
    if splits:
        write(tmp_path / "same/test.parquet", HALVES, 30)
    saved, same = images(tmp_path / "saved"), images(tmp_path / "same")
    assert saved.fingerprint == same.fingerprint
    assert sizes(saved) == sizes(same)
    (tmp_path / "saved" / ("train" if splits else "") / "state.json").write_text("{")
    with pytest.raises(LiereError, match=r"saved is broken or not a folder of save_to_disk"):
        images(tmp_path / "saved")


def test_rows_without_a_recording_are_recordings_by_themselves(tmp_path: Path) -> None:
    clips = [[image(n), image(n)] for n in range(30)]
    table = pa.table(
        {"video": clips, "label": HALVES, "recording": pa.array([None] * 30, pa.string())}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    dataset = build_dataset({"name": "video", "path": str(tmp_path), "grid": "2x8x8"})
    groups = np.concatenate([dataset.load(s).groups for s in ("train", "val", "test")])  # type: ignore[arg-type, union-attr]
    assert len(np.unique(groups)) == 30
