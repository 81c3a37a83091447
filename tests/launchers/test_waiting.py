"""Cells that another process trains: left for the end, waited for, taken over when it dies."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from liere_cli.cli.app import app
from liere_cli.config.files import load_recipe
from liere_cli.launchers.events import Event, RunEnded, RunLockedElsewhere
from liere_cli.launchers.local import launch
from liere_cli.planning.from_recipe import plan_comparison
from liere_cli.planning.plan import PlannedRun
from liere_cli.runs.build import assemble
from liere_cli.runs.context import Context
from liere_cli.runs.lock import seems_held
from support.locks import locked_elsewhere
from support.synthetic_runs import TINY, train, write_run

FLAGS = ["--data=pointing", "--encodings=axial,none,liere", "--seeds=1"]
TINY_FLAGS = [f"--set=model.{key}={value}" for key, value in TINY.items()]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("local", "pool"):
        monkeypatch.setattr(f"liere_cli.launchers.{module}.POLL_SECONDS", 0.05)


def run_specs(outputs: Path) -> tuple[PlannedRun, ...]:
    """As the command makes them from the flags."""
    compare = {"encodings": ["axial", "none", "liere"], "data": ["pointing"], "seeds": 1}
    recipe = load_recipe(flags={"model": TINY, "compare": compare})
    return plan_comparison(recipe, Context(outputs)).runs


def trained_elsewhere(
    planned: PlannedRun, outputs: Path, ready: Callable[[], bool]
) -> AbstractContextManager[int]:
    """Another process has locked the run, and ends it once it is ``ready``."""

    def work() -> None:
        while not ready():
            time.sleep(0.02)
        assert planned.request is not None
        write_run(assemble(planned.request, device=torch.device("cpu")), outputs)

    return locked_elsewhere(planned.run, work)


def finished(outputs: Path, count: int) -> Callable[[], bool]:
    return lambda: len(list(outputs.glob("*/*/summary.json"))) >= count


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_cell_of_another_process_comes_last_and_is_not_trained_again(
    tmp_path: Path, jobs: int
) -> None:
    made = run_specs(tmp_path)
    events: list[Event] = []
    others_are_over, noticed = finished(tmp_path, 2), tmp_path / "noticed"

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, RunLockedElsewhere):
            noticed.touch()

    # of two workers the one that finds the cell taken may be the last to start
    with trained_elsewhere(made[0], tmp_path, lambda: others_are_over() and noticed.exists()):
        found = launch(
            made, Context(tmp_path, None, "cpu"), jobs=jobs, listener=listen, trainer=train
        )
    assert [found[run.run_id].state for run in made] == ["finished"] * 3
    elsewhere = [event for event in events if isinstance(event, RunLockedElsewhere)]
    assert {event.run.run_id for event in elsewhere} == {made[0].run_id}
    ended = [event.run for event in events if isinstance(event, RunEnded)]
    assert len(ended) == 3
    assert ended[-1] == made[0]


def test_a_cell_whose_owner_dies_is_taken_over(tmp_path: Path) -> None:
    made = run_specs(tmp_path)
    events: list[Event] = []
    with trained_elsewhere(made[0], tmp_path, lambda: False) as owner:

        def listen(event: Event) -> None:
            events.append(event)
            if sum(isinstance(one, RunEnded) for one in events) == 2:
                os.kill(owner, signal.SIGKILL)
                os.waitid(os.P_PID, owner, os.WEXITED | os.WNOWAIT)

        # a zombie is still a process: its lease tells in the end, its parent's wait at once
        assert seems_held(made[0].run)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("liere_cli.runs.lock.is_running", lambda pid: alive(pid))
            found = launch(made, Context(tmp_path, None, "cpu"), listener=listen, trainer=train)
    assert [found[run.run_id].state for run in made] == ["finished"] * 3
    assert [event.run for event in events if isinstance(event, RunEnded)][-1] == made[0]


def alive(pid: int) -> bool:
    return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()


def test_the_command_says_who_trains_a_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liere_cli.launchers.local.train_run", train)
    monkeypatch.chdir(tmp_path)
    outputs = Path("outputs")
    with trained_elsewhere(run_specs(outputs)[0], outputs, finished(outputs, 2)) as owner:
        result = CliRunner().invoke(app, ["compare", *FLAGS, *TINY_FLAGS])
    assert result.exit_code == 0, result.output
    assert f"pointing · axial · seed 0: process {owner} on " in result.stderr
    assert "trains it" in result.stderr
    assert "3/3 pointing · axial · seed 0: " in result.stderr
