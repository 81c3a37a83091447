"""The command line as a person uses it: results, errors, exit codes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from liere_cli import __version__
from liere_cli.cli.app import app
from support.flags import last_of_each

COMMANDS = [
    "train",
    "eval",
    "compare",
    "encodings",
    "data",
    "runs",
    "status",
    "cache",
    "init",
    "schema",
]
TINY = [
    "--set=model.layers=1",
    "--set=model.dim=16",
    "--set=model.heads=2",
    "--set=training.batch=4",
    "--set=training.log_every=2",
    "--set=training.validations=2",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "verse.txt").write_text("The quick brown fox jumps over the lazy dog. " * 40)
    return tmp_path


def liere(*arguments: str) -> Result:
    return CliRunner().invoke(app, last_of_each(arguments))


def train(*arguments: str) -> Result:
    return liere("train", "--data=text:verse.txt,grid=16", "--budget=6steps", *TINY, *arguments)


def refused(result: Result, code: int, *words: str) -> None:
    """The command ended with that code and one sentence that has all the words."""
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    sentence = result.stderr.strip()
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    for word in words:
        assert word in sentence


def test_help_and_version_import_nothing_heavy() -> None:
    for command in [[], *[[name] for name in COMMANDS]]:
        script = (
            "import sys\nfrom liere_cli.cli.app import app\n"
            f"try:\n    app({[*command, '--help']!r})\nexcept SystemExit:\n    pass\n"
            "heavy = {'torch', 'datasets', 'numpy', 'scipy', 'yaml'} & set(sys.modules)\n"
            "sys.exit(f'imported {heavy}' if heavy else 0)\n"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "Usage" in done.stdout
    version = liere("--version")
    assert version.stdout.strip() == f"liere {__version__}"


def test_train_says_what_came_out_and_where_it_lies(here: Path) -> None:
    result = train("--encoding=liere:block=4")
    assert result.exit_code == 0, result.output
    assert "liere:block=4 on verse" in result.stdout
    assert "bits/byte" in result.stdout
    (folder,) = (here / "outputs").glob("[!.]*/*")
    assert folder.name in result.stdout.replace("\n", "")
    names = {path.name for path in folder.iterdir()}
    assert {"recipe.yaml", "signature.txt", "environment.json", "metrics.jsonl"} <= names
    again = train("--encoding=liere:block=4")
    assert "not trained again" in again.stderr
    assert again.stdout == result.stdout
    assert "not trained again" not in train("--encoding=liere:block=4", "--fresh").stderr


def test_json_is_alone_on_stdout(here: Path) -> None:
    summary = json.loads(train("--encoding=rope", "--json").stdout)
    assert summary["status"] == "finished"
    assert Path(summary["folder"]).is_dir()
    for command in ("encodings", "data"):
        rows = json.loads(liere(command, "--json").stdout)
        assert len(rows) > 5
        assert all(row["source"] for row in rows)


def test_eval_measures_other_lengths_and_writes_text(here: Path) -> None:
    summary = json.loads(train("--encoding=rope", "--json").stdout)
    result = liere("eval", summary["folder"], "--grid=16", "--grid=32", "--json")
    rows = json.loads(result.stdout)["rows"]
    assert [row["grid"] for row in rows] == ["16", "32"]
    assert rows[0]["value"] == pytest.approx(summary["test"])
    assert rows[0]["trained"]
    assert not rows[1]["trained"]
    by_name = liere("eval", summary["id"], "--split=val", "--sample=20", "--prompt=The ")
    assert by_name.exit_code == 0, by_name.output
    assert "The " in by_name.stdout


@pytest.mark.parametrize(
    ("data", "grids"),
    [
        ("pointing:train=20,val=10,test=10", ["72x72", "144x144"]),
        ("motion:train=20,val=10,test=10", ["8x12x12", "4x24x24"]),
    ],
)
def test_eval_at_other_resolutions(here: Path, data: str, grids: list[str]) -> None:
    arguments = ["train", f"--data={data}", "--encoding=liere", "--budget=2steps", *TINY, "--json"]
    folder = json.loads(liere(*arguments).stdout)["folder"]
    flags = [f"--grid={grid}" for grid in grids]
    result = liere("eval", folder, *flags)
    assert result.exit_code == 0, result.output
    for grid in grids:
        assert grid in result.stdout
    assert f"liere on {data}, test split" in result.stdout.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--encoding=leire"], ["unknown encoding 'leire'", "'liere'"]),
        (["--encoding=liere:blocks=4"], ["unknown key 'blocks'", "'block'"]),
        (["--encoding=liere:block=5"], ["5", "head_dim"]),
        (["--encoding=liere:block=many"], ["'block'", "'many'"]),
        (["--encoding=nowhere.py:Mine"], ["there is no file 'nowhere.py'"]),
        (["--encoding="], ["has no name"]),
        (["--data=enwik9"], ["unknown data", "'enwik8'"]),
        (["--data=text:absent.txt"], ["absent.txt"]),
        (["--budget=10parsecs"], ["10parsecs", "budget"]),
        (["--seed=-1"], ["seed", "-1"]),
        (["--set=training.lr=1"], ["unknown key 'training.lr'", "allowed"]),
        (["--set=training.batch=0"], ["training.batch", "0"]),
        (["--set=training.batch"], ["--set training.batch", "section.key=value"]),
        (["--set=training.accumulate=3"], ["training.batch 4", "training.accumulate 3"]),
        (["--set=model.heads=3"], ["model.dim 16", "model.heads 3"]),
        (["--device=gpu"], ["--device gpu", "cuda"]),
        (["--device=cuda:77"], ["--device cuda:77"]),
        (["--recipe=nowhere.yaml"], ["nowhere.yaml"]),
    ],
)
def test_wrong_usage_is_one_sentence_and_code_2(
    here: Path, arguments: list[str], words: list[str]
) -> None:
    result = train("--encoding=rope", *arguments)
    if arguments[0] == "--data=text:absent.txt":
        assert result.exit_code in (1, 2)
        refused(result, result.exit_code, *words)
    else:
        refused(result, 2, *words)
    assert not list(here.glob("outputs/*/*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], ["trian", "train"]),
        (["train", "--budgt=3"], ["--budgt", "--budget", "train --help"]),
        (["eval"], ["RUN"]),
        (["compare", "--jobs=0"], ["--jobs", "1"]),
        (["compare", "--format=xml"], ["--format", "xml", "markdown"]),
    ],
)
def test_what_the_parser_refuses_is_one_sentence_too(
    arguments: list[str], words: list[str]
) -> None:
    refused(liere(*arguments), 2, *words)


def test_nothing_at_all_shows_the_help() -> None:
    result = liere()
    assert result.exit_code == 2
    assert "compare" in result.stdout


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "verse.txt"), (b"short", "verse.txt")],
)
def test_useless_files_are_named(here: Path, content: bytes, words: str) -> None:
    (here / "verse.txt").write_bytes(content)
    result = train("--encoding=rope")
    refused(result, result.exit_code, words)
    assert result.exit_code in (1, 2)


def test_a_resolution_that_patches_do_not_divide(here: Path) -> None:
    arguments = ["train", "--data=pointing:train=20,val=10,test=10", "--encoding=axial"]
    folder = json.loads(liere(*arguments, "--budget=2steps", *TINY, "--json").stdout)["folder"]
    refused(liere("eval", folder, "--grid=50x50"), 2, "50x50")
    refused(liere("eval", folder, "--grid=36x36x36"), 2, "36")
    refused(liere("eval", folder, "--sample=10"), 2, "--sample")
    refused(liere("eval", "no-such-run"), 2, "no-such-run")


def test_an_output_folder_that_cannot_be_written(here: Path) -> None:
    (here / "outputs").write_text("a file where a folder should be")
    refused(train("--encoding=rope"), 1, "outputs", "can't be written")


def test_weights_of_another_run_are_refused(here: Path) -> None:
    first = Path(json.loads(train("--encoding=rope", "--json").stdout)["folder"])
    wider = train("--encoding=rope", "--set=model.dim=32", "--json")
    other = Path(json.loads(wider.stdout)["folder"])
    (first / "last.safetensors").write_bytes((other / "last.safetensors").read_bytes())
    refused(liere("eval", str(first)), 1, "last.safetensors", "changed after the run ended")
    (first / "last.safetensors").write_bytes(b"noise")
    refused(liere("eval", str(first)), 1, "last.safetensors", "damaged")
    (first / "summary.json").write_text("{")
    refused(train("--encoding=rope"), 1, "summary.json")


def test_data_that_changed_since_training_is_noticed(here: Path) -> None:
    folder = json.loads(train("--encoding=rope", "--json").stdout)["folder"]
    (here / "verse.txt").write_text("Other words altogether. " * 60)
    refused(liere("eval", folder), 1, "has changed since")


@pytest.mark.parametrize("name", ["renamed", "my best run-2", "verse-rope-s0", "run-abcdef"])
def test_a_run_is_evaluated_whatever_its_folder_is_called(here: Path, name: str) -> None:
    folder = Path(json.loads(train("--encoding=rope", "--json").stdout)["folder"])
    before = liere("eval", str(folder), "--json")
    moved = here / name
    folder.rename(moved)
    after = liere("eval", str(moved), "--json")
    assert after.exit_code == 0, after.output
    assert json.loads(after.stdout)["rows"] == json.loads(before.stdout)["rows"]
    refused(liere("eval", str(moved), "--data=other.txt"), 2, "other.txt", "does not exist")


@pytest.mark.parametrize("command", [["eval"], ["encodings", "--plot=rope.svg", "--run"]])
def test_moved_data_is_found_where_a_flag_says(here: Path, command: list[str]) -> None:
    folder = json.loads(train("--encoding=rope", "--json").stdout)["folder"]
    (here / "verse.txt").rename(here / "elsewhere.txt")
    refused(liere(*command, folder), 2, "verse.txt", "does not exist", "--data PATH")
    for path in ("elsewhere.txt", "text:elsewhere.txt"):
        assert liere(*command, folder, f"--data={path}").exit_code == 0
    (here / "other.txt").write_text("Other words altogether. " * 60)
    refused(liere(*command, folder, "--data=other.txt"), 1, "data at 'other.txt'", "has changed")


def test_data_without_a_path_has_no_other_place(here: Path) -> None:
    arguments = ["train", "--data=motion:train=20,val=10,test=10", "--encoding=none", *TINY]
    folder = json.loads(liere(*arguments, "--budget=2steps", "--json").stdout)["folder"]
    refused(liere("eval", folder, "--data=x"), 2, "motion", "has no path", "--data-root")


def test_ctrl_c_leaves_a_run_that_goes_on(here: Path) -> None:
    command = [
        sys.executable, "-m", "liere_cli", "train", "--data=text:verse.txt,grid=16",
        "--encoding=rope", "--budget=100000steps", *TINY,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    metrics: list[Path] = []
    while time.monotonic() < deadline and not (metrics and metrics[0].stat().st_size):
        metrics = list((here / "outputs").glob("[!.]*/*/metrics.jsonl"))
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    (line,) = [line for line in stderr.splitlines() if "nterrupted" in line]
    assert re.fullmatch(
        r"Interrupted at step [\d,]+ \(\d+%\), saved. Run the same command to resume.", line
    )
    assert "Traceback" not in stderr
    (folder,) = (here / "outputs").glob("[!.]*/*")
    assert list((folder / "checkpoints").glob("*.json"))
    assert not (folder / "summary.json").exists()


FAULTY = {
    "raises.py": "    def __init__(self, shape, options=None):\n        raise KeyError(1)\n",
    "shapes.py": "    def encode_qk(self, q, k, state, layer):\n        return q[..., :1], k\n",
    "halves.py": "    def encode_qk(self, q, k, state, layer):\n        return q\n",
}


def write_encoding(path: Path, body: str) -> None:
    path.write_text(
        "from liere_cli.encodings import EncodingOptions, PositionEncoding\n"
        "class Mine(PositionEncoding):\n"
        "    name, summary, source = 'mine', 'for a test', 'test'\n"
        "    Options = EncodingOptions\n" + body
    )


@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_in_a_foreign_encoding_is_one_sentence(here: Path, name: str) -> None:
    write_encoding(here / name, FAULTY[name])
    refused(train(f"--encoding={name}:Mine"), 1, "Mine", "line")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("def (", "line 1"),
        ("raise SystemExit(3)", "SystemExit"),
        ("import nowhere_to_be_found", "nowhere_to_be_found"),
    ],
)
def test_a_foreign_file_that_cannot_be_run(here: Path, content: str, words: str) -> None:
    (here / "broken.py").write_text(content)
    refused(train("--encoding=broken.py:Mine"), 1, "broken.py", words)
    refused(train("--encoding=broken.py"), 2, "broken.py:Class")


def test_a_foreign_encoding_takes_part_in_a_comparison(here: Path) -> None:
    write_encoding(here / "mine.py", "")
    result = liere(
        "compare", "--encodings=none,mine.py:Mine", "--data=text:verse.txt,grid=16", "--seeds=2",
        "--baseline=none", "--budget=4steps", *TINY, "--format=json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert '"Mine"' in result.stdout


def test_a_diverged_run_is_shown_and_ends_with_code_1(here: Path) -> None:
    write_encoding(
        here / "nan.py",
        "    def encode_qk(self, q, k, state, layer):\n        return q * float('nan'), k\n",
    )
    result = train("--encoding=nan.py:Mine")
    assert result.exit_code == 1
    assert "diverged" in result.stdout


def test_windows_longer_than_the_text_are_refused(here: Path) -> None:
    folder = json.loads(train("--encoding=rope", "--json").stdout)["folder"]
    refused(liere("eval", folder, "--grid=9999"), 2, "length of 9999", "bytes")


def test_a_comparison_recipe_is_not_trained_as_a_run() -> None:
    refused(liere("train", "--recipe=quick"), 2, "compares 3 data sets", "liere compare quick")


@pytest.mark.parametrize("junk", [b"\xff\xfe\x00", b"5\n", b'{"step": "x"}\n', b"[]\n"])
def test_damaged_metrics_and_summaries_do_not_stop_a_run(here: Path, junk: bytes) -> None:
    folder = Path(json.loads(train("--encoding=rope", "--json").stdout)["folder"])
    (folder / "summary.json").write_text('{"status": "finished"}')
    refused(train("--encoding=rope"), 1, "summary.json", "lacks", "delete it")
    (folder / "summary.json").unlink()
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(junk)
    assert train("--encoding=rope").exit_code == 0
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert all(isinstance(json.loads(line)["step"], int) for line in lines)


def test_output_that_cannot_be_shown_or_written(here: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "liere_cli", "encodings"]
    narrow = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert narrow.returncode == 0, narrow.stderr
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_output_path_that_is_too_long(here: Path) -> None:
    refused(train("--encoding=rope", f"--out={'x' * 300}"), 1, "File name too long")
