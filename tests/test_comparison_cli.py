"""``liere compare`` as a person runs it; training itself is replaced."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from synthetic_runs import train, train_and_break
from typer.testing import CliRunner, Result

from liere_cli.cli.app import app

TINY = ("--set=model.layers=1", "--set=model.dim=32", "--set=model.heads=2")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("liere_cli.comparison.launch.train_cell", train)
    return tmp_path


def liere(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["compare", *arguments], env={"COLUMNS": "110"})


def compare(*arguments: str) -> Result:
    return liere("--data=pointing", "--encodings=none,axial,liere", *TINY, *arguments)


def refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    for part in parts:
        assert part in result.stderr


def test_a_comparison_ends_in_a_table_and_files(here: Path) -> None:
    result = compare("--seeds=3")
    assert result.exit_code == 0, result.output
    assert "9 runs: 9 missing" in result.stderr
    assert "9/9 pointing · liere · seed 2" in result.stderr
    assert "images · pointing: liere beats axial by" in result.stdout
    assert "(3 seeds)" in result.stdout
    folder = here / "outputs" / "compare"
    assert "| liere |" in (folder / "table.md").read_text()
    assert json.loads((folder / "table.json").read_text())["comparisons"] == 2


def test_what_is_done_is_not_trained_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compare("--seeds=2", "--format=json")
    monkeypatch.setattr("liere_cli.comparison.launch.train_cell", None)
    again = compare("--seeds=2", "--format=json")
    assert again.exit_code == 0
    assert "6 runs: 6 finished; training time left: none" in again.stderr
    assert json.loads(again.stdout) == json.loads(first.stdout)


def test_more_seeds_train_the_new_ones_only(here: Path) -> None:
    compare("--seeds=2")
    assert "9 runs: 6 finished, 3 missing; training time left: about 6.0s" in (
        compare("--seeds=3").stderr
    )


def test_the_written_recipe_repeats_the_table(here: Path) -> None:
    first = compare("--seeds=2", "--format=json")
    again = liere("outputs/compare/comparison.yaml", "--format=json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout) == json.loads(first.stdout)


def test_the_recipe_and_its_runs_make_one_table(here: Path) -> None:
    first = json.loads(compare("--seeds=2", "--format=json").stdout)
    again = json.loads(liere("outputs/compare", "--format=json").stdout)

    def rows(content: dict[str, Any]) -> dict[str, Any]:
        return {row["encoding"]: row for row in content["tables"][0]["rows"]}

    assert rows(again) == rows(first)
    folders = sorted(str(path) for path in Path("outputs/compare").iterdir() if path.is_dir())
    assert json.loads(liere(*folders, "--format=json").stdout) == again


def test_finished_runs_are_compared_without_torch(here: Path) -> None:
    compare("--seeds=2")
    code = (
        "import sys; sys.argv = ['liere', 'compare', 'outputs/compare', '--format=csv']\n"
        "from liere_cli.cli.app import app\n"
        "try: app(prog_name='liere')\n"
        "finally: assert 'torch' not in sys.modules and 'pandas' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=here)
    assert done.returncode == 0, done.stderr
    assert len(list(csv.reader(io.StringIO(done.stdout)))) == 4


def test_a_dry_run_shows_the_cells_and_trains_nothing(here: Path) -> None:
    result = compare("--seeds=2", "--dry-run")
    assert result.exit_code == 0
    assert "axial (baseline)" in result.stdout
    assert "missing 0 1" in result.stdout
    assert not (here / "outputs").exists()


def test_failures_are_rows_and_exit_code_1(here: Path) -> None:
    result = compare("--encodings=axial,sinusoidal,absolute", "--seeds=2")
    assert result.exit_code == 1
    assert "pointing · sinusoidal · seed 0: failed: the disk is full" in result.stderr
    assert "2 of 2 failed (the disk is full)" in result.stdout
    assert "2 of 2 diverged (the loss was nan)" in result.stdout


def test_a_divergence_is_a_result(here: Path) -> None:
    assert compare("--encodings=axial,absolute", "--seeds=1").exit_code == 0


def test_an_unforeseen_error_is_a_row_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liere_cli.comparison.launch.train_cell", train_and_break)
    result = compare("--seeds=1")
    assert result.exit_code == 1
    assert "ZeroDivisionError: division by zero" in result.stderr
    assert "Traceback" not in result.output


def test_an_interruption_says_how_to_go_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(cell: Any, **arguments: Any) -> dict[str, Any]:
        if cell.encoding == "liere":
            raise KeyboardInterrupt
        return train(cell, **arguments)

    monkeypatch.setattr("liere_cli.comparison.launch.train_cell", stop)
    result = compare("--seeds=2")
    assert result.exit_code == 130
    assert "2 of 6 runs are done" in result.stderr
    assert "goes on from here" in result.stderr


def test_workers_train_for_the_command(here: Path) -> None:
    # what workers train with is what this process looked up
    result = compare("--seeds=1", "--jobs=2")
    assert result.exit_code == 0, result.output
    assert "3/3" in result.stderr


def test_a_margin_settles_equivalence(here: Path) -> None:
    arguments = ("--encodings=axial,rope-mixed", "--seeds=5", "--format=json")
    loose = json.loads(compare(*arguments, "--set=compare.margins.top1=0.2").stdout)
    assert loose["tables"][0]["margin"] == 0.2
    assert loose["tables"][0]["rows"][1]["verdict"] == "equivalent"
    assert json.loads(compare(*arguments).stdout)["tables"][0]["margin"] is None


@pytest.mark.parametrize("form", ["table", "markdown", "csv", "latex", "json"])
def test_every_format_is_alone_on_stdout(here: Path, form: str) -> None:
    result = compare("--seeds=2", f"--format={form}")
    assert result.exit_code == 0
    assert "liere" in result.stdout
    assert "written to" not in result.stdout
    assert "seed 0:" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--encodings=lire,axial"], ["lire", "did you mean 'liere'"]),
        (["--encodings=liere:blok=8,axial"], ["blok", "did you mean 'block'"]),
        (["--encodings=rope,axial"], ["rope", "axis"]),
        (["--encodings="], ["names nothing"]),
        (["--data=pointng"], ["did you mean 'pointing'"]),
        (["--seeds=0"], ["--seeds 0"]),
        (["--seeds=1,1"], ["differ"]),
        (["--baseline=rope"], ["no baseline", "none, axial, liere"]),
        (["--budget=10x"], ["budget"]),
        (["--set=model.layer=3"], ["did you mean 'layers'"]),
        (["--set=compare.margins.top1=3"], ["share of 1", "0.03"]),
        (["--set=compare.margins.top2=3"], ["margins"]),
        (["--device=cuda:99"], ["--device"]),
        (["quik"], ["no recipe file 'quik'", "did you mean 'quick'"]),
        (["--jobs=0"], ["--jobs"]),
        (["--format=xml"], ["--format"]),
    ],
)
def test_mistakes_end_in_one_sentence(here: Path, arguments: list[str], parts: list[str]) -> None:
    refused(compare(*arguments), *parts)


def test_flags_that_finished_runs_cannot_obey_are_refused(here: Path) -> None:
    compare("--seeds=1")
    refused(liere("outputs/compare", "--seeds=2"), "--seeds", "as they are")
    refused(liere("outputs/compare", "nowhere"), "nowhere", "no run")
    (here / "empty").mkdir()
    refused(liere("empty"), "no run")


def test_an_outputs_folder_that_cannot_be_written(here: Path) -> None:
    (here / "file").write_text("")
    result = compare("--seeds=1", "--out=file")
    assert result.exit_code == 1
    assert "can't be written" in result.stderr
    assert "Traceback" not in result.output
