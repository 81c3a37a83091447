"""Robustness of runs: clocks that jump, files of other runs and versions, vanished folders."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from liere_cli.cli.app import app
from liere_cli.comparison.tables.learning_curves import unreadable_curves
from liere_cli.config.budget import Budget
from liere_cli.errors import LiereError
from liere_cli.planning.plan import ComparedRun, DatasetPlan, PlannedEncoding
from liere_cli.planning.progress import Outcome
from liere_cli.runs import lock as lock_module
from liere_cli.runs.folder import Run
from liere_cli.runs.lock import RunLocked, lock_run
from liere_cli.training.callbacks import Report
from liere_cli.training.run import train_run
from liere_cli.utils.files import seal
from support.small_runs import CPU, StopAt, losses, run_spec_of


@pytest.fixture
def verse(tmp_path: Path) -> Path:
    path = tmp_path / "verse.txt"
    path.write_text("The quick brown fox jumps over the lazy dog. " * 40)
    return path


class At(StopAt):
    """Calls ``action`` when a step is reported."""

    def __init__(self, step: int, action: Any) -> None:
        super().__init__(step)
        self.action = action

    def on_report(self, report: Report) -> None:
        if report.step == self.step:
            self.action()


def interrupted(text: Path, outputs: Path, step: int = 8, **settings: Any) -> Run:
    run_spec = run_spec_of(text, checkpoint_seconds=1e-9, **settings)
    with pytest.raises(KeyboardInterrupt):
        train_run(run_spec, outputs=outputs, device=CPU, callbacks=StopAt(step))
    return run_spec.run(outputs)


@pytest.mark.parametrize("days", [-400, 400])
def test_a_clock_that_jumps_changes_nothing(
    verse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    whole = train_run(run_spec_of(verse), outputs=tmp_path / "whole", device=CPU)
    clock = time.time

    def jump() -> None:
        monkeypatch.setattr(time, "time", lambda: clock() + days * 86400)

    run_spec = run_spec_of(verse)
    summary = train_run(run_spec, outputs=tmp_path / "jumped", device=CPU, callbacks=At(4, jump))
    assert summary.test == whole.test
    assert 0 < summary.seconds < 60
    spent = run_spec_of(verse, budget="0.2s", log_every=1)
    summary = train_run(spent, outputs=tmp_path / "spent", device=CPU, callbacks=At(2, jump))
    assert 0.2 <= summary.seconds < 60


@pytest.mark.parametrize("days", [-400, 400])
def test_the_age_of_a_lock_does_not_depend_on_the_calendar(tmp_path: Path, days: int) -> None:
    run = Run(tmp_path / "outputs" / "experiment" / "text-rope-s0-0123456789ab")
    lease = tmp_path / "outputs" / ".claims" / f"{run.run_id}.lease"
    moment = time.time() + days * 86400
    pid = os.fork()
    if pid == 0:
        with lock_run(run):
            os.utime(lease, (moment, moment))
            signal.pause()
    while not lease.is_file() or abs(lease.stat().st_mtime - moment) > 60:
        time.sleep(0.01)
    try:
        with pytest.raises(RunLocked), lock_run(run):
            raise AssertionError
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    with lock_run(run) as lock:
        assert lock.run == run


def test_checkpoints_of_another_run_are_skipped(verse: Path, tmp_path: Path) -> None:
    whole = train_run(run_spec_of(verse), outputs=tmp_path / "whole", device=CPU)
    run = interrupted(verse, tmp_path / "parts")
    other = interrupted(verse, tmp_path / "parts", seed=1)
    shutil.rmtree(run.path("checkpoints"))
    shutil.copytree(other.path("checkpoints"), run.path("checkpoints"))
    watcher = StopAt(-1)
    again = train_run(run_spec_of(verse), outputs=tmp_path / "parts", device=CPU, callbacks=watcher)
    assert watcher.resumed_at == 0
    assert other.run_id in watcher.warnings[0]
    assert again.test == whole.test


def test_a_summary_of_another_run_is_refused(verse: Path, tmp_path: Path) -> None:
    runs = []
    for seed in (0, 1):
        run_spec = run_spec_of(verse, seed=seed)
        train_run(run_spec, outputs=tmp_path, device=CPU)
        runs.append(run_spec.run(tmp_path))
    shutil.copy(runs[1].path("summary.json"), runs[0].path("summary.json"))
    with pytest.raises(LiereError, match=rf"summary of another run \('{runs[1].run_id}'\)"):
        train_run(run_spec_of(verse), outputs=tmp_path, device=CPU)


def test_files_of_a_later_version_are_kept(verse: Path, tmp_path: Path) -> None:
    run = interrupted(verse, tmp_path)
    newest = max(run.path("checkpoints").glob("0*.json"))
    state = json.loads(newest.read_text()) | {"format": 99}
    newest.write_text(json.dumps(state | {"check": seal(state, "check")}))
    before = {path: path.read_bytes() for path in run.path("checkpoints").iterdir()}
    with pytest.raises(LiereError, match=r"later version of liere \(format 99\).*--fresh"):
        train_run(run_spec_of(verse), outputs=tmp_path, device=CPU)
    assert {path: path.read_bytes() for path in run.path("checkpoints").iterdir()} == before
    fresh = train_run(run_spec_of(verse), outputs=tmp_path, device=CPU, fresh=True)
    summary = fresh.to_record() | {"format": 99}
    summary["sha256"] = seal(summary, "sha256")
    run.path("summary.json").write_text(json.dumps(summary))
    with pytest.raises(LiereError, match=r"later version of liere \(format 99\)"):
        train_run(run_spec_of(verse), outputs=tmp_path, device=CPU)
    assert json.loads(run.path("summary.json").read_text()) == summary


@pytest.mark.parametrize("gone", ["outputs", "run"])
def test_outputs_that_vanish_at_the_end_are_reported(
    verse: Path, tmp_path: Path, gone: str
) -> None:
    run_spec, outputs = run_spec_of(verse), tmp_path / "outputs"
    folder = outputs if gone == "outputs" else run_spec.run(outputs).folder

    class Late(StopAt):
        def on_evaluate(self, split: str) -> None:
            if split == "test":
                shutil.rmtree(folder)

    with pytest.raises(LiereError, match=r"vanished while the run was in training"):
        train_run(run_spec, outputs=outputs, device=CPU, callbacks=Late(-1))
    assert run_spec.run(outputs).summary() is None
    assert train_run(run_spec, outputs=outputs, device=CPU).status == "finished"
    assert run_spec.run(outputs).path("metrics.jsonl").stat().st_size


@pytest.mark.parametrize("gone", ["outputs", "run"])
def test_outputs_that_vanish_in_mid_run_are_reported(
    verse: Path, tmp_path: Path, gone: str
) -> None:
    run_spec, outputs = run_spec_of(verse), tmp_path / "outputs"
    folder = outputs if gone == "outputs" else run_spec.run(outputs).folder
    removal = At(4, lambda: shutil.rmtree(folder))
    with pytest.raises(LiereError, match=r"vanished while the run was in training"):
        train_run(run_spec, outputs=outputs, device=CPU, callbacks=removal)
    assert not folder.exists()
    assert train_run(run_spec, outputs=outputs, device=CPU).status == "finished"
    assert losses(run_spec.run(outputs))


def test_a_full_disk_is_reported_when_metrics_are_written(
    verse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_run(run_spec_of(verse), outputs=tmp_path / "whole", device=CPU)
    run_spec, written, told = run_spec_of(verse, checkpoint_seconds=1e-9), [], []
    sync = os.fsync

    def full(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) in (1, 4, 12, 23, 37, 60, 90, 125):
            raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    again = None
    while again is None:
        try:
            again = train_run(run_spec, outputs=tmp_path / "full", device=CPU)
        except LiereError as error:
            told.append(str(error))
    assert len(told) >= 5
    assert all("can't be written (No space left on device)" in message for message in told)
    assert again.test == whole.test
    assert losses(run_spec.run(tmp_path / "full")) == losses(
        run_spec_of(verse).run(tmp_path / "whole")
    )


def test_finished_runs_are_read_from_a_folder_that_cannot_be_written(
    verse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_spec = run_spec_of(verse)
    train_run(run_spec, outputs=tmp_path / "outputs", device=CPU)
    run = run_spec.run(tmp_path / "outputs")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    def refuse(*given: Any, **named: Any) -> Any:
        raise OSError(30, "Read-only file system", str(given[0]))

    monkeypatch.setattr(lock_module.Path, "mkdir", refuse)
    opened = Path.open

    def refuse_writing(self: Path, mode: str = "r", *given: Any, **named: Any) -> Any:
        return opened(self, mode, *given, **named) if mode in ("r", "rb") else refuse(self)

    monkeypatch.setattr(lock_module.Path, "open", refuse_writing)
    commands = [
        ["train", f"--recipe={run.path('recipe.yaml')}", f"--out={tmp_path / 'outputs'}"],
        ["eval", str(run.folder)],
        ["compare", str(run.folder)],
    ]
    for command in commands:
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_table_names_its_missing_curves(verse: Path, tmp_path: Path) -> None:
    run_spec = run_spec_of(verse)
    train_run(run_spec, outputs=tmp_path, device=CPU)
    run = run_spec.run(tmp_path)
    planned = ComparedRun("text", "liere", 0, run, run.run_id)
    row = PlannedEncoding("liere", (planned,))
    budget = Budget.parse("12steps")
    dataset = DatasetPlan("text", "text", "text", "0", "bits_per_byte", budget, (row,), None)
    found = {run.run_id: Outcome("finished")}
    path = run.path("metrics.jsonl")
    assert unreadable_curves(dataset, found) == []
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    assert "seed 0: metrics.jsonl is damaged" in unreadable_curves(dataset, found)[0]
    path.unlink()
    assert "seed 0: metrics.jsonl is missing" in unreadable_curves(dataset, found)[0]
