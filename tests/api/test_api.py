"""The public functions: the commands' results as Python values, and the commands' errors."""

import inspect
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import liere_cli as liere
from liere_cli.cli.app import app
from liere_cli.launchers.events import (
    Event,
    PhaseEnded,
    PlanReady,
    RunEnded,
    RunReported,
    RunStarted,
    TrainingStarted,
)

TINY = ["model.layers=1", "model.dim=16", "model.heads=2", "training.batch=4"]
RUN: dict[str, Any] = {
    "data": "text:verse.txt,grid=16",
    "budget": "6steps",
    "assignments": [*TINY, "training.log_every=2", "training.validations=2"],
    "device": "cpu",
}
COMPARISON: dict[str, Any] = RUN | {
    "encodings": ["rope", "none"], "seeds": 2, "baseline": "rope", "name": "compare",
}  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "verse.txt").write_text("The quick brown fox jumps over the lazy dog. " * 40)
    return tmp_path


def command(*arguments: str) -> str:
    """What a command prints on stdout."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def flags(**settings: Any) -> list[str]:
    """The flags of a command that say the same as keyword arguments."""
    settings = dict(settings)
    pairs = [f"--set={assignment}" for assignment in settings.pop("assignments", [])]
    for name, value in settings.items():
        pairs.append(f"--{name}={','.join(value) if isinstance(value, list) else value}")
    return pairs


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = (
        "import sys, liere_cli as liere\n"
        "assert callable(liere.compare) and liere.UsageError\n"
        "heavy = {'torch', 'datasets', 'scipy', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if 'torch' in heavy or 'datasets' in heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [name for name in liere.__all__ if name != "__version__"])
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(liere, name)
    assert inspect.getdoc(value)
    assert name in dir(liere)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        liere.trian  # noqa: B018


def test_train_makes_the_run_of_the_command(here: Path) -> None:
    run = liere.train(encoding="rope", **RUN)
    summary = run.summary()
    assert summary is not None
    assert summary.status == "finished"
    printed = json.loads(command("train", "--json", "--encoding=rope", *flags(**RUN)))
    assert Path(printed.pop("folder")).resolve() == run.folder.resolve()
    assert printed == summary.to_record()
    assert liere.train(encoding="rope", **RUN).folder == run.folder


def test_an_interrupted_run_continues_with_the_same_bits(here: Path) -> None:
    whole = liere.train(encoding="rope", out="whole", **RUN)
    seen: list[Event] = []

    def stop(event: Event) -> None:
        seen.append(event)
        if isinstance(event, RunReported) and event.report.step == 4:
            raise KeyboardInterrupt

    settings = RUN | {"assignments": [*RUN["assignments"], "training.checkpoint_seconds=1e-6"]}
    with pytest.raises(KeyboardInterrupt):
        liere.train(encoding="rope", out="parts", on_progress=stop, **settings)
    resumed: list[Event] = []
    run = liere.train(encoding="rope", out="parts", on_progress=resumed.append, **settings)
    started = next(event for event in resumed if isinstance(event, RunStarted))
    assert started.step > 0
    first, second = (one.path("last.safetensors").read_bytes() for one in (whole, run))
    assert first == second


def test_evaluate_gives_the_rows_of_the_command(here: Path) -> None:
    run = liere.train(encoding="rope", **RUN)
    rows = liere.evaluate(run, grids=[16, "32", (24,)], device="cpu")
    printed = json.loads(
        command("eval", str(run.folder), "--grid=16", "--grid=32", "--grid=24", "--json")
    )
    assert [asdict(row) for row in rows] == printed["rows"]
    summary = run.summary()
    assert summary is not None
    assert rows[0].value == pytest.approx(summary.test)
    trained = liere.open_trained(run, device="cpu")
    assert liere.evaluate(trained, grids=[32])[0] == rows[1]


def test_compare_gives_the_tables_of_the_command(here: Path) -> None:
    comparison = liere.compare(**COMPARISON)
    assert comparison.folder == Path("outputs/compare")
    for form, text in {
        "json": comparison.to_json(),
        "markdown": comparison.to_markdown(),
        "latex": comparison.to_latex(),
        "csv": comparison.to_csv(),
    }.items():
        assert command("compare", f"--format={form}", *flags(**COMPARISON)) == text
    assert (comparison.folder / "table.md").read_text() == comparison.to_markdown()
    rows = json.loads(comparison.to_json())["tables"][0]["rows"]
    for row, stored in zip(comparison.rows, rows, strict=True):
        assert (row.encoding, row.mean, row.p_corrected) == (
            stored["encoding"], stored["mean"], stored["p_corrected"],
        )  # fmt: skip
    assert comparison.verdict("rope") == "baseline"
    assert comparison.verdict("none", data="verse") == comparison.row("none").verdict
    assert "none" in str(comparison)
    again = liere.compare(str(comparison.folder), baseline="rope")
    assert {(row.encoding, row.mean, row.p) for row in again.rows} == {
        (row.encoding, row.mean, row.p) for row in comparison.rows
    }
    assert again.folder is None


def test_a_row_that_is_not_there_is_one_sentence(here: Path) -> None:
    comparison = liere.compare(**COMPARISON)
    with pytest.raises(liere.UsageError, match="did you mean 'none'"):
        comparison.verdict("non")
    with pytest.raises(liere.UsageError, match="unknown data set 'motion'"):
        comparison.verdict("none", data="motion")


def test_events_tell_the_story_of_a_comparison(here: Path) -> None:
    events: list[Event] = []
    liere.compare(on_progress=events.append, **COMPARISON)
    kinds = [type(event) for event in events]
    assert kinds[0] is PlanReady
    assert kinds.index(TrainingStarted) < kinds.index(RunStarted) < kinds.index(RunEnded)
    assert kinds.count(RunEnded) == 4
    assert kinds[-1] is PhaseEnded
    events.clear()
    liere.compare(on_progress=events.append, **COMPARISON)
    assert [type(event) for event in events] == [PlanReady]


def test_nothing_is_printed_unless_asked(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    liere.compare(**COMPARISON)
    assert capfd.readouterr() == ("", "")
    liere.compare(on_progress=liere.ProgressBar(), **(COMPARISON | {"seeds": 3}))
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "seed 2" in printed.err


def test_runs_become_one_row_each(here: Path) -> None:
    liere.compare(**COMPARISON)
    stopped = liere.load_runs("outputs/compare")[0]
    Path(stopped.folder, "summary.json").unlink()
    damaged = liere.load_runs("outputs/compare")[1]
    Path(damaged.folder, "summary.json").write_text("{")
    runs = liere.load_runs("outputs/compare")
    assert len(runs) == 4
    assert sorted(row.status for row in runs) == ["damaged", "finished", "finished", "partial"]
    assert {row.id for row in runs} == {
        path.name[-12:] for path in Path("outputs/compare").glob("*-*")
    }
    frame = runs.to_pandas()
    assert list(frame["encoding"].dropna()) == [row.encoding for row in runs if row.encoding]
    assert frame["score"].count() == 2
    assert list(liere.compare("outputs/compare/" + Path(runs[2].folder).name).to_pandas().columns)


def test_without_pandas_a_sentence_says_so(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = liere.compare(**COMPARISON)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(liere.LiereError, match="pip install pandas"):
        comparison.to_pandas()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: liere.compare("quik"), "did you mean 'quick'"),
        (lambda: liere.compare(encodings="lire"), "did you mean 'liere'"),
        (lambda: liere.compare(device="tpu"), "allowed are auto, cpu, cuda"),
        (lambda: liere.compare(["outputs/a", "outputs/b"], seeds=3), "--seeds"),
        (lambda: liere.train(data="stdlb"), "did you mean 'stdlib'"),
        (lambda: liere.train(assignments=["training.lr=1"]), "training.lr"),
        (lambda: liere.evaluate("nowhere"), "there is no run"),
        (lambda: liere.load_runs("nowhere"), "there is no run"),
        (lambda: liere.load_runs(3), "'sources' is (3,), but must be a path"),
        (lambda: liere.compare([]), "'source' is [], but must name a recipe or runs"),
        (lambda: liere.compare(path for path in ()), "must name a recipe or runs"),
        (lambda: liere.compare(3), "must be a recipe, a run, or a list of runs"),
        (lambda: liere.compare(encodings=[]), "must name at least one"),
        (lambda: liere.compare(encodings=[None, "rope"]), "must be a name or a list of names"),
        (lambda: liere.compare(data=Path("x.txt")), "must be a name or a list of names"),
        (lambda: liere.compare(seeds=2.5), "must be how many (3) or which ([0, 1, 2])"),
        (lambda: liere.compare(seeds=[]), "must hold at least one seed"),
        (lambda: liere.compare(seeds=10**12), "between 1 and 10000 seeds"),
        (lambda: liere.compare(jobs=0), "'jobs' is 0, but must be at least 1"),
        (lambda: liere.compare(launcher="ray"), "'launcher' is 'ray', but must be 'local' or"),
        (lambda: liere.compare(out=None), "'out' is None, but must be a path"),
        (lambda: liere.compare(budget=3), "text"),
        (lambda: liere.compare(on_progress=None), "on_progress is None"),
        (lambda: liere.compare(on_progress=liere.ProgressBar), "such as liere.ProgressBar()"),
        (lambda: liere.train(recipe=3), "'recipe' is 3, but must be a path"),
        (lambda: liere.train(assignments={"a": 1}), "must be a list"),
        (lambda: liere.evaluate(None), "'run' is None, but must be a path"),
        (lambda: liere.evaluate("x", weights="bst"), "'weights' is 'bst', but must be 'last' or"),
    ],
)
def test_a_mistake_is_the_packages_own_exception(here: Path, call: Any, words: str) -> None:
    with pytest.raises(liere.UsageError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grids": 2.5}, "must be grids"),
        ({"grids": [None]}, "must be grids"),
        ({"split": "testt"}, "'split' is 'testt', but must be 'train', 'val' or 'test'"),
        ({"limit": 0}, "'limit' is 0, but must be at least 1"),
        ({"extend": "p"}, "did you mean 'pi'"),
    ],
)
def test_a_wrong_evaluation_is_one_sentence(here: Path, changes: Any, words: str) -> None:
    run = liere.train(encoding="rope", **RUN)
    with pytest.raises(liere.UsageError) as caught:
        liere.evaluate(run, device="cpu", **changes)
    assert words in str(caught.value)


def test_arguments_are_taken_in_every_usual_form(here: Path) -> None:
    specs: list[Any] = ["none", {"name": "rope", "theta": 500}]
    settings = COMPARISON | {"encodings": specs, "baseline": "none", "seeds": np.int64(1)}
    (table,) = liere.compare(**settings).table.datasets
    assert [row.encoding for row in table.rows] == ["none", "rope:theta=500.0"]
    again = liere.compare(**settings | {"seeds": range(2), "encodings": iter(specs)})
    assert [len(row.values) for row in again.table.datasets[0].rows] == [2, 2]
    run = liere.train(encoding={"name": "rope"}, seed=np.int64(1), **RUN)
    (first,) = liere.evaluate(run, grids="16", device="cpu")
    (second,) = liere.evaluate(run.folder, grids=16, extend="none", device="cpu")
    assert first == second


def test_workers_do_not_run_the_script_again(here: Path) -> None:
    """Also without ``if __name__ == "__main__"``, and from standard input."""
    script = (
        "print('once')\nimport liere_cli as liere\n"
        f"table = liere.compare(jobs=2, **{COMPARISON!r})\nprint(table.failed, len(table.rows))\n"
    )
    (here / "script.py").write_text(script)
    for command, given in ([sys.executable, "script.py"], None), ([sys.executable, "-"], script):
        done = subprocess.run(command, input=given, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["once", "0", "2"]
