"""What was read from the user's files reaches the user of each command once."""

import json
import warnings
from itertools import count, islice
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from liere_cli.cli.app import app
from support.image_files import image
from support.synthetic_runs import TINY

SETTINGS = [f"--set=model.{key}={value}" for key, value in TINY.items()]
FLAGS = [*SETTINGS, "--set=training.batch=4", "--budget=2steps", "--device=cpu", "--out=out"]
READ = "read 66 items of 3 classes (cat 22, dog 22, owl 22) from 66 files: 27 train, 3 val, 36 test"


def liere(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    numbers = count()
    for split, size in (("Training", 10), ("Testing", 12)):
        for name in ("cat", "dog", "owl"):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for number in islice(numbers, size):
                (folder / f"{number}.png").write_bytes(image(number))
            (folder / "Thumbs.db").write_bytes(b"x")
    return tmp_path


def test_train_says_once_what_was_read(here: Path) -> None:
    result = liere("train", "--data=images:pets,grid=8", *FLAGS)
    assert result.exit_code == 0, result.output
    assert result.stderr.count(READ) == 1
    assert result.stderr.count("left aside: 6 hidden or of the system") == 1
    assert READ not in result.stdout


def test_compare_says_once_for_all_runs_what_was_read(here: Path) -> None:
    arguments = ["--data=images:pets,grid=8", "--encodings=none,axial", "--seeds=2", *FLAGS]
    result = liere("compare", *arguments, "--set=compare.fractions=[0.5]", "--format=json")
    assert result.exit_code == 0, result.output
    assert result.stderr.count(READ) == 1
    assert result.stderr.count("left aside: 6 hidden or of the system") == 1
    notes = json.loads(result.stdout)["tables"][0]["notes"]
    assert READ in notes[0]


@pytest.mark.parametrize("command", ["train", "compare"])
def test_a_doubtful_folder_ends_with_one_sentence(command: str, here: Path) -> None:
    (here / "pets/Testing").rename(here / "pets/training-2")
    result = liere(command, "--data=images:pets,grid=8", *FLAGS)
    assert result.exit_code == 1
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Training and training-2 both look like the train split" in result.stderr


def test_no_warning_of_a_library_is_shown(here: Path) -> None:
    from PIL import Image

    palette = Image.new("P", (8, 8))
    palette.putpalette([0, 0, 255])
    palette.save(here / "pets/Training/cat/p.png", transparency=b"\x00")
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        result = liere("train", "--data=images:pets,grid=8", *FLAGS)
    assert result.exit_code == 0, result.output
    assert not [warning for warning in shown if "PIL" in warning.filename]
    assert "1 item: transparent pixels are shown on white" in result.stderr
