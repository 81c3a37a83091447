"""Folders of class folders: what is certain is read, the rest is counted or refused by name."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liere_cli.data import build_dataset
from liere_cli.data.sources.decode_image import SUFFIXES
from liere_cli.data.splits import TEST, TRAIN, UNASSIGNED, VAL, split_in_name
from liere_cli.errors import LiereError
from support.image_files import image, images

COUNTER = iter(range(1, 60_000))


def fill(folder: Path, count: int = 12) -> None:
    """Images of different content."""
    folder.mkdir(parents=True, exist_ok=True)
    for _ in range(count):
        number = next(COUNTER)
        (folder / f"{number}.png").write_bytes(image(number))


def write_text(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")


def make(root: Path, folders: str, count: int = 12) -> Path:
    """Folders as ``train/{a,b} test/{a,b}``; one with a text alone as ``+meta``."""
    for part in folders.split():
        if part.startswith("+"):
            write_text(root / part[1:] / "a.txt")
            continue
        head, _, tail = part.partition("{")
        for name in tail.rstrip("}").split(",") if tail else [""]:
            fill(root / head / name, count)
    return root


def contents(root: Path) -> tuple[int, tuple[int, ...]]:
    """Number of classes, and of items in each split."""
    dataset = images(root)
    return dataset.classes, tuple(len(dataset.load(s)) for s in ("train", "val", "test"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", TRAIN), ("Training", TRAIN), ("seg_train", TRAIN), ("train2014", TRAIN),
        ("images_train", TRAIN), ("trainImages", TRAIN), ("trainset", TRAIN), ("TRAIN-0", TRAIN),
        ("training_set", TRAIN), ("traindata", TRAIN), ("val2017", VAL), ("Valid", VAL),
        ("validation_images", VAL), ("dev", VAL), ("Testing", TEST), ("PublicTest", TEST),
        ("cifar100-test-00000-of-00001", TEST), ("contest", UNASSIGNED), ("strain", UNASSIGNED),
        ("valley", UNASSIGNED), ("trainval", UNASSIGNED), ("train_val", UNASSIGNED),
        ("attestation", UNASSIGNED), ("device", UNASSIGNED),
    ],
)  # fmt: skip
def test_the_split_in_a_name(name: str, split: int) -> None:
    assert split_in_name(name) == split


@pytest.mark.parametrize(
    "pair",
    ["Training Testing", "seg_train seg_test", "train2014 val2014", "images_train images_test",
     "training_set test_set", "TRAIN TEST", "trainImages testImages", "train_data test_images"],
)  # fmt: skip
def test_folders_named_after_splits_are_splits(pair: str, tmp_path: Path) -> None:
    train, test = pair.split()
    make(tmp_path, f"{train}/{{a,b,c}} {test}/{{a,b,c}}")
    classes, (*held_in, tested) = contents(tmp_path)
    assert (classes, sum(held_in), tested) == (3, 36, 36)


@pytest.mark.parametrize(
    ("folders", "classes", "items"),
    [
        # wrapped once or twice, as archives unpack
        ("birds/{a,b}", 2, 24),
        ("x/y/z/{a,b,c}", 3, 36),
        ("chest/train/{a,b} chest/test/{a,b}", 2, 48),
        ("training_set/training_set/{a,b} test_set/test_set/{a,b}", 2, 48),
        ("train/images/{a,b} test/images/{a,b}", 2, 48),
        # classes called like splits
        ("{bus,train,car}", 3, 36),
        ("{test_tube,beaker}", 2, 24),
        ("{train_station,train_track}", 2, 24),
        ("{dev,ops}", 2, 24),
        # files deeper down belong to the class above
        ("animals/{cat,dog} vehicles/{car,bus,tram}", 2, 60),
        # the splits in the classes
        ("cat/{train,test} dog/{train,test}", 2, 48),
        ("cat/{cat_train,cat_test} dog/{dog_train,dog_test}", 2, 48),
        ("train/{a,b}", 2, 24),
        ("images/{a,b} +meta", 2, 24),
        ("train/{a,b} test/{a,b} +annotations", 2, 48),
        ("{A,a}", 2, 24),
    ],
)
def test_layouts_that_are_certain(folders: str, classes: int, items: int, tmp_path: Path) -> None:
    make(tmp_path, folders)
    found, sizes = contents(tmp_path)
    assert (found, sum(sizes)) == (classes, items)
    if "test" in re.split(r"\W|_", folders) and "tube" not in folders:
        assert sizes[2] == items // 2


@pytest.mark.parametrize(
    ("folders", "sentence"),
    [
        # two folders of a split
        ("train/{a,b} training/{a,b} test/{a,b}", "train and training both look like the train"),
        ("train/{a,b} Train/{a,b}", "Train and train both look like the train split"),
        ("train/{a,b} val/{a,b} valid/{a,b}", "val and valid both look like the val split"),
        ("Training/{a,b} PublicTest/{a,b} PrivateTest/{a,b}", "both look like the test split"),
        # class sets that differ
        ("train/{cat,dog} test/{cats,dogs}", "in val or test .*cats, dogs.*is 'cats' the 'cat'"),
        ("train/{cat,dog} test/{Cat,dog}", r"\(Cat\); is 'Cat' the 'cat' of train"),
        ("train/{cat,dog} test/{cat,dog,owl}", r"that train does not have \(owl\)"),
        ("{cat,Cat,dog}", "'Cat' and 'cat' differ in case"),
        # a split without classes
        ("train/{a,b} +test", "test has no files directly in it, but a split needs one folder"),
        ("{a,b} +c", r"c is a class without files .*1 .txt"),
        ("train/{a,b} val/images test/images", r"that train does not have \(images\)"),
        ("train/{a,b} test", "test has 12 files directly in it, but a split needs one folder"),
        ("train test", "has 12 files directly in it"),
        ("images_train images_test", "has 12 files directly in it"),
        ("train/{a,b} test/{a,b} extra/{a,b}", "extra is not named after train, val or test"),
        ("train/{a,b} eval/{a,b}", "eval is not named after train, val or test"),
        ("trainval/{a,b} test/{a,b}", "trainval is not named after"),
        ("val/{a,b} test/{a,b}", "has items of val and of test, but none of train"),
        # either level may be the classes
        ("fold1/{a,b} fold2/{a,b}", "fold1, fold2 have the same folders a, b"),
        ("2014/{cat,dog,owl} 2015/{cat,dog,owl}", "so that either may be the classes"),
        ("train_red/{a,b} test_blue/{c,d}", "may be splits or classes"),
        ("cat/{train,other} dog/{train,more}", "class with a folder 'train' beside other"),
        ("cat/{train,test} dog", "folders of splits in some classes, but not in dog"),
        ("bottle/train/good bottle/test/{good,bad} nut/train/good nut/test/{good,bad}",
         "may be a data set by itself"),
        ("cat", r"has 1 class \(cat\)"),
    ],
)  # fmt: skip
def test_layouts_that_are_not_certain_are_refused(
    folders: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(LiereError, match=sentence) as error:
        contents(make(tmp_path, folders))
    assert str(tmp_path) in str(error.value)


JUNK: Mapping[str, Callable[[Path], object]] = {
    "checkpoints of notebooks": lambda root: fill(root / "cat" / ".ipynb_checkpoints", 3),
    "macOS": lambda root: fill(root / "__MACOSX" / "cat", 3),
    "macOS files": lambda root: (root / "cat/._1.png").write_bytes(b"x"),
    "Windows": lambda root: write_text(root / "cat/Thumbs.db"),
    "Windows settings": lambda root: write_text(root / "Desktop.ini"),
    "a disk station": lambda root: fill(root / "dog" / "@eaDir", 3),
    "a hidden class": lambda root: fill(root / ".cow", 3),
    "a table": lambda root: write_text(root / "labels.csv"),
    "a broken link": lambda root: (root / "cat/x.png").symlink_to("nowhere"),
    "a loop of links": lambda root: (root / "cat/y.png").symlink_to("y.png"),
    "a pipe": lambda root: os.mkfifo(root / "cat/z.png"),
    "in no class": lambda root: (root / "loose.png").write_bytes(image(9)),
}


@pytest.mark.parametrize("junk", JUNK)
def test_what_is_left_aside_is_counted_and_changes_nothing(junk: str, tmp_path: Path) -> None:
    make(tmp_path, "{cat,dog}")
    before = images(tmp_path)
    assert not any("left aside" in note for note in before.notes)
    JUNK[junk](tmp_path)
    after = images(tmp_path)
    assert after.fingerprint == before.fingerprint
    assert after.classes == 2
    count = (
        3
        if junk in ("checkpoints of notebooks", "macOS", "a disk station", "a hidden class")
        else 1
    )
    assert re.search(rf"left aside: {count} (hidden|\.csv|broken|not reg|in no)", after.notes[1])


@pytest.mark.parametrize("suffix", sorted(SUFFIXES - {".heic", ".heif", ".jxl"}))
@pytest.mark.parametrize("upper", [False, True])
def test_every_suffix_of_images_is_read(suffix: str, upper: bool, tmp_path: Path) -> None:
    make(tmp_path, "{cat,dog}")
    for path in sorted((tmp_path / "cat").iterdir()):
        path.rename(path.with_suffix(suffix.upper() if upper else suffix))
    assert contents(tmp_path) == (2, (20, 2, 2))


def test_images_that_can_not_be_decoded_are_named_and_not_left_out(tmp_path: Path) -> None:
    make(tmp_path, "{cat,dog}")
    (tmp_path / "cat/x.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(60))
    with pytest.raises(LiereError, match=r"x.HEIC .*HEIC images can't be decoded .* convert them"):
        contents(tmp_path)


def test_linked_folders_are_read(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", "more cow")
    make(tmp_path / "set", "{cat,dog}")
    (tmp_path / "set/cat/more").symlink_to(tmp_path / "elsewhere/more")
    (tmp_path / "set/cow").symlink_to(tmp_path / "elsewhere/cow")
    classes, sizes = contents(tmp_path / "set")
    assert (classes, sum(sizes)) == (3, 48)
    (tmp_path / "set/dog/all").symlink_to(tmp_path / "set")
    with pytest.raises(LiereError, match=r"dog/all is a link to a folder that contains it"):
        contents(tmp_path / "set")


def test_equal_images_in_several_splits_or_classes_are_counted(tmp_path: Path) -> None:
    make(tmp_path, "train/{cat,dog} test/{cat,dog}")
    for number, source in enumerate(sorted((tmp_path / "train/cat").iterdir())[:5]):
        (tmp_path / "test" / ("cat", "dog")[number == 4] / f"copy-{number}.png").write_bytes(
            source.read_bytes()
        )
    notes = images(tmp_path).notes
    assert "5 items of test are also in train or val, byte for byte" in notes
    assert "1 item is in several classes, byte for byte" in notes


def test_the_summary_says_what_was_read(tmp_path: Path) -> None:
    make(tmp_path, "train/{cat,dog,owl} test/{cat,dog}")
    assert images(tmp_path).notes == (
        "read 60 items of 3 classes (cat 24, dog 24, owl 12) from 60 files: 33 train, 3 val, "
        "24 test (train and test as in the files, val held out of train); test has no items of owl",
    )
    make(tmp_path / "whole", "{cat,dog}")
    assert images(tmp_path / "whole").notes == (
        "read 24 items of 2 classes (cat 12, dog 12) from 24 files: 20 train, 2 val, 2 test "
        "(split by fractions)",
    )


@given(
    st.lists(st.sampled_from(["cat", "dog", "train", "test", "valley", "s1"]), min_size=2,
             max_size=4, unique=True),
    st.booleans(),
)  # fmt: skip
@settings(max_examples=15)
def test_classes_of_any_name_are_read_below_splits(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], split: bool
) -> None:
    root = tmp_path_factory.mktemp("set")
    for folder in ("train", "test") if split else ("",):
        make(root / folder, "{" + ",".join(names) + "}", 4)
    if not split and set(names) <= {"train", "test"}:
        with pytest.raises(LiereError, match="a split needs one folder for each class"):
            images(root)
        return
    dataset = images(root)
    assert dataset.classes == len(names)
    assert f"read {len(names) * 4 * (1 + split)} items of {len(names)} classes" in dataset.notes[0]


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("a.zip", "is a .zip file.*unpack it"), ("a.tar", "unpack it"), ("a.npz", "use array:")],
)
def test_other_files_are_refused_with_a_remedy(name: str, remedy: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(LiereError, match=remedy):
        build_dataset(f"images:{tmp_path / name}")
