"""``liere compare`` as a person runs it; training itself is replaced."""

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from typer.testing import CliRunner, Result

from liere_cli.cli.app import app
from support.flags import last_of_each
from support.synthetic_runs import train, train_and_break

TINY = ("--set=model.layers=1", "--set=model.dim=32", "--set=model.heads=2")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("liere_cli.launchers.local.train_run", train)
    return tmp_path


def liere(*arguments: str) -> Result:
    command = ["compare", *last_of_each(arguments)]
    return CliRunner().invoke(app, command, env={"COLUMNS": "110"})


def compare(*arguments: str) -> Result:
    own = ("--data=pointing", "--encodings=none,axial,liere", "--name=compare")
    return liere(*own, *TINY, *arguments)


def refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    for part in parts:
        assert part in result.stderr


def test_a_comparison_ends_in_a_table_and_files(here: Path) -> None:
    result = compare()
    assert result.exit_code == 0, result.output
    assert "15 runs: 15 missing" in result.stderr
    assert "15/15 pointing · liere · seed 4" in result.stderr
    assert "images · pointing   top-1 %, higher is better" in result.stdout
    assert "15/15 runs · 5 seeds" in result.stdout
    assert re.search(r"liere .*better", result.stdout)
    folder = here / "outputs" / "compare"
    assert "| liere |" in (folder / "table.md").read_text()
    assert json.loads((folder / "table.json").read_text())["comparisons"] == 2


def test_what_is_done_is_not_trained_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compare("--seeds=2", "--format=json")
    monkeypatch.setattr("liere_cli.launchers.local.train_run", None)
    again = compare("--seeds=2", "--format=json")
    assert again.exit_code == 0
    assert "6 runs: 6 finished; time left: none" in again.stderr
    assert json.loads(again.stdout) == json.loads(first.stdout)


def test_more_seeds_train_the_new_ones_only(here: Path) -> None:
    compare("--seeds=2")
    assert "9 runs: 6 finished, 3 missing; time left: about 6.0s" in (compare("--seeds=3").stderr)


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
    shown = " ".join(result.stdout.split())
    assert "0 of 2 seeds finished (2 of 2 failed: the disk is full)" in shown
    assert "0 of 2 seeds finished (2 of 2 diverged: the loss was nan)" in shown


def test_a_divergence_is_a_result(here: Path) -> None:
    assert compare("--encodings=axial,absolute", "--seeds=1").exit_code == 0


def test_an_unforeseen_error_is_a_row_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liere_cli.launchers.local.train_run", train_and_break)
    result = compare("--seeds=1")
    assert result.exit_code == 1
    assert "ZeroDivisionError: division by zero" in result.stderr
    assert "Traceback" not in result.output


def test_an_interruption_says_how_to_go_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(run_spec: Any, **arguments: Any) -> dict[str, Any]:
        if run_spec.encoding == "liere":
            raise KeyboardInterrupt
        return train(run_spec, **arguments)

    monkeypatch.setattr("liere_cli.launchers.local.train_run", stop)
    result = compare("--seeds=2")
    assert result.exit_code == 130
    lines = [line for line in result.stderr.splitlines() if "nterrupted" in line]
    assert lines == ["Interrupted at 2 of 6 runs, saved. Run the same command to resume."]
    assert result.stderr.splitlines()[-1] == lines[0]


def test_workers_train_for_the_command(here: Path) -> None:
    # what workers train with is what this process looked up
    result = compare("--seeds=1", "--jobs=2")
    assert result.exit_code == 0, result.output
    assert "3/3" in result.stderr


def test_a_margin_settles_equivalence(here: Path) -> None:
    arguments = ("--encodings=axial,rope-mixed", "--seeds=10", "--format=json")
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
        (["--baseline=sinusoidal"], ["no baseline", "none, axial, liere"]),
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
    refused(liere("empty"), "not a run folder")


def test_an_outputs_folder_that_cannot_be_written(here: Path) -> None:
    (here / "file").write_text("")
    result = compare("--seeds=1", "--out=file")
    assert result.exit_code == 1
    assert result.stderr.count("can't be written") == 1
    assert "failed" not in result.output
    assert "Traceback" not in result.output


def test_everything_in_an_experiment_s_folder_is_compared(here: Path) -> None:
    compare("--seeds=2")
    (here / "outputs/compare/table.tex").write_text("")
    every = sorted(map(str, Path("outputs/compare").iterdir()))
    assert {"comparison.yaml", "table.json", "table.md"} <= {Path(path).name for path in every}
    result = liere(*every, "--format=json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads(liere("outputs/compare", "--format=json").stdout)
    files = [path for path in every if Path(path).is_file()]
    refused(liere(*files), "none of these files is a run")
    refused(liere(*every, "pyproject.toml"), "pyproject.toml")


def test_a_run_is_found_by_its_name_or_identity(here: Path) -> None:
    compare("--seeds=1")
    folder = next(path for path in Path("outputs/compare").iterdir() if path.is_dir())
    for name in (folder.name, folder.name.rpartition("-")[2]):
        result = liere(name, "--format=json")
        assert result.exit_code == 0, result.output
        assert len(json.loads(result.stdout)["tables"][0]["rows"]) == 1
    refused(liere("quik"), "no recipe file 'quik'")


def test_an_encoding_that_is_listed_twice_is_said(here: Path) -> None:
    result = compare("--encodings=axial,liere,axial:theta=100", "--seeds=1")
    assert result.exit_code == 0, result.output
    assert "axial:theta=100 is listed twice" not in result.stderr
    result = compare("--encodings=axial,liere,axial,liere", "--seeds=1")
    assert "axial is listed twice, and compared once" in result.stderr
    assert "liere is listed twice, and compared once" in result.stderr


def test_two_files_with_classes_of_one_name_are_told_apart(here: Path) -> None:
    for name in ("a", "b"):
        (here / f"{name}.py").write_text(
            "from liere_cli.encodings import PositionEncoding\n"
            f"class E(PositionEncoding):\n    # {name}\n    summary = source = 'x'\n"
        )
    result = compare(
        "--encodings=a.py:E,b.py:E,axial", "--baseline=b.py:E", "--seeds=2", "--format=json"
    )
    assert result.exit_code == 0, result.output
    table = json.loads(result.stdout)["tables"][0]
    assert [row["encoding"] for row in table["rows"]] == ["a.py:E", "b.py:E", "axial"]
    assert table["baseline"] == "b.py:E"
    again = json.loads(liere("outputs/compare", "--format=json").stdout)["tables"][0]
    assert {row["encoding"] for row in again["rows"]} == {"a.py:E", "b.py:E", "axial"}
    alone = compare("--encodings=a.py:E,axial", "--seeds=2", "--format=json")
    assert json.loads(alone.stdout)["tables"][0]["rows"][0]["encoding"] == "E"


def test_results_per_item_that_are_lost_are_said(here: Path) -> None:
    compare("--seeds=2")
    left_out = "so the test set's share of the error is left out"
    warnings = json.loads(liere("outputs/compare", "--format=json").stdout)["tables"][0]["warnings"]
    assert warnings == [f"no run has its items-test.safetensors, {left_out}"]
    items = {
        "correct": np.array([1, 0, 1], np.uint8),
        "weight": np.ones(3, np.int32),
        "group": np.arange(3),
    }
    for path in Path("outputs/compare").glob("*/recipe.yaml"):
        (path.parent / "items-test.safetensors").write_bytes(save(items))
    assert not json.loads(liere("outputs/compare", "--format=json").stdout)["tables"][0]["warnings"]
    (none,) = Path("outputs/compare").glob("*-none-s0-*")
    (liere_1,) = Path("outputs/compare").glob("*-liere-s1-*")
    (none / "items-test.safetensors").unlink()
    (liere_1 / "items-test.safetensors").write_bytes(b"junk")
    warnings = json.loads(liere("outputs/compare", "--format=json").stdout)["tables"][0]["warnings"]
    assert sorted(warnings) == [
        f"liere, seed 1: items-test.safetensors is damaged, {left_out}",
        f"none, seed 0: items-test.safetensors is missing, {left_out}",
    ]
    shown = " ".join(liere("outputs/compare").stdout.split())
    assert "warning: none, seed 0: items-test.safetensors is missing" in shown


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_word_is_broken_on_a_narrow_terminal(here: Path, width: int) -> None:
    compare("--seeds=2")
    result = CliRunner().invoke(app, ["compare", "outputs/compare"], env={"COLUMNS": str(width)})
    assert max(map(len, result.stdout.splitlines())) <= width
    for word in ("vs", "axial", "baseline", "better", "training", "details"):
        assert re.search(rf"\b{word}\b", result.stdout)


@pytest.mark.parametrize("width", [40, 60, 80])
def test_the_catalogue_breaks_no_name(width: int) -> None:
    result = CliRunner().invoke(app, ["data"], env={"COLUMNS": str(width)})
    assert max(map(len, result.stdout.splitlines())) <= width
    for name in ("tinyshakespeare", "bits_per_byte", "imagewoof", "licence"):
        assert name in result.stdout


def test_the_catalogue_s_data_root_must_be_a_folder() -> None:
    result = CliRunner().invoke(app, ["data", "--data-root=/nosuch"])
    refused(result, "the data root /nosuch is not a folder")
    assert result.stdout == ""


def test_the_catalogue_says_what_an_option_means() -> None:
    result = CliRunner().invoke(app, ["data", "pointing"], env={"COLUMNS": "110"})
    assert "null: 8 pixels a cell" in result.stdout


def test_an_encoding_is_held_against_itself_at_other_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = (
        "--data=motion:train=100,val=64,test=64", "--encodings=axial", "--aa", "--seeds=5",
        "--budget=4steps", *TINY, "--set=training.batch=4", "--set=training.test_limit=64",
        "--set=training.validation_limit=8", "--format=json", "--name=compare",
    )  # fmt: skip
    result = liere(*arguments)
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["tables"][0]["rows"]
    assert [row["encoding"] for row in rows] == ["axial", "axial (A/A)"]
    assert rows[1]["own_seeds"] == [5, 6, 7, 8, 9]
    assert rows[1]["verdict"] in ("undecided", "equivalent")
    folders = [path.name for path in Path("outputs/compare").glob("*-s*")]
    assert sorted(name.split("-s")[-1][0] for name in folders) == list("0123456789")
    assert json.loads(liere(*arguments).stdout)["tables"][0]["rows"] == rows


@pytest.mark.parametrize("form", ["table", "markdown", "latex", "json"])
def test_a_counterpart_takes_part_and_every_format_says_so(here: Path, form: str) -> None:
    flags = ["--data=pointing", "--encodings=rope,none", "--seeds=1", *TINY]
    result = liere(f"--format={form}", *flags)
    assert result.exit_code == 0, result.output
    shown = " ".join(result.stdout.split())
    assert "rope is not defined on 2 axes: its counterpart axial takes its place" in shown
    assert "takes its place" in liere("--dry-run", *flags).stderr
    again = liere(*flags, "--baseline=rope", "--encodings=axial,none")
    assert "the baseline is axial, the counterpart of rope" in " ".join(again.stdout.split())
