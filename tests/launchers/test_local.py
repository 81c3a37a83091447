"""Launching: in order, in parallel, through failures and interruptions."""

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from liere_cli.config.recipe import Recipe
from liere_cli.launchers.events import Event, RunEnded, RunStarted
from liere_cli.launchers.local import launch
from liere_cli.launchers.pool import gpus_of
from liere_cli.planning.from_recipe import plan_comparison
from liere_cli.planning.plan import Plan
from liere_cli.planning.progress import outcomes_of
from liere_cli.runs.build import assemble
from liere_cli.runs.context import Context
from support.synthetic_runs import (
    TINY,
    begin_run,
    summary_of,
    train,
    train_and_break,
    train_and_show_environment,
    train_until_killed,
    train_until_stopped,
)

CPU = torch.device("cpu")


def plan(outputs: Path, *encodings: str, seeds: int = 2) -> Plan:
    compare = {"encodings": list(encodings), "data": ["pointing"], "seeds": seeds}
    compare["baseline"] = encodings[0]
    settings = {"model": TINY, "training": {"budget": "10steps"}, "compare": compare}
    recipe = Recipe.validated(settings, "test")
    return plan_comparison(recipe, Context(outputs))


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(tmp_path, None, "cpu")


def test_cells_run_seed_by_seed_and_tell_of_it(context: Context) -> None:
    made = plan(context.outputs, "axial", "none")
    events: list[Event] = []
    launch(made.runs, context, listener=events.append, trainer=train)
    started = [(one.run.seed, one.run.encoding) for one in events if isinstance(one, RunStarted)]
    assert started == [(0, "axial"), (0, "none"), (1, "axial"), (1, "none")]
    assert [one.run for one in events if isinstance(one, RunEnded)] == list(made.runs)


def test_workers_and_one_process_find_the_same(tmp_path: Path) -> None:
    alone, together = (
        Context(tmp_path / "a", None, "cpu"),
        Context(tmp_path / "b", None, "cpu"),
    )
    first = launch(plan(alone.outputs, "axial", "none").runs, alone, trainer=train)
    made = plan(together.outputs, "axial", "none")
    second = launch(made.runs, together, jobs=2, trainer=train)
    assert {key: one.summary and one.summary.test for key, one in first.items()} == {
        key: one.summary and one.summary.test for key, one in second.items()
    }
    assert all(one.over for one in outcomes_of(made).values())
    threads = {one.summary.threads for one in second.values() if one.summary}
    assert threads == {torch.get_num_threads()}
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("trainer", [train_and_break, train])
def test_a_failing_cell_does_not_stop_the_others(context: Context, trainer: object) -> None:
    made = plan(context.outputs, "axial", "none", "sinusoidal", "absolute", seeds=1)
    found = launch(made.runs, context, trainer=trainer)  # type: ignore[arg-type]
    states = {run.encoding: found[run.run_id].state for run in made.runs}
    broken = "failed" if trainer is train_and_break else "finished"
    assert states == {
        "axial": "finished",
        "none": broken,
        "sinusoidal": "failed",
        "absolute": "diverged",
    }
    errors = [found[run.run_id].error for run in made.runs]
    assert errors[2] == "the disk is full"


def test_a_worker_that_dies_costs_its_own_cell_only(context: Context) -> None:
    made = plan(context.outputs, "axial", "none", seeds=2)
    found = launch(made.runs, context, jobs=2, trainer=train_until_killed)
    for run in made.runs:
        outcome = found[run.run_id]
        if run.encoding == "none":
            assert outcome.state == "failed"
            assert "signal 9" in str(outcome.error)
        else:
            assert outcome.state == "finished"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_stops_every_worker_and_leaves_resumable_runs(
    context: Context, number: signal.Signals
) -> None:
    made = plan(context.outputs, "axial", "none", seeds=2)
    begun: list[Event] = []

    def listen(event: Event) -> None:
        begun.append(event)
        if sum(isinstance(one, RunStarted) for one in begun) == 2:
            os.kill(os.getpid(), number)

    # a shell starts what it puts into the background deaf to Ctrl-C
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            launch(made.runs, context, jobs=2, listener=listen, trainer=train_until_stopped)
    finally:
        signal.signal(signal.SIGINT, before)
    states = [outcome.state for outcome in outcomes_of(made).values()]
    assert sorted(states) == ["missing", "missing", "partial", "partial"]


def test_data_that_changed_since_the_plan_is_not_trained(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan(context.outputs, "axial", seeds=1).runs[0]
    monkeypatch.setattr("liere_cli.runs.build.identity", lambda *arguments: "f" * 12)
    outcome = launch([run], context, trainer=train)[run.run_id]
    assert outcome.state == "failed"
    assert "changed" in str(outcome.error)


def test_a_failed_run_is_tried_again_and_a_begun_one_goes_on(context: Context) -> None:
    made = plan(context.outputs, "axial", seeds=1)
    request = made.runs[0].request
    assert request is not None
    run_spec = assemble(request, device=CPU)
    run = begin_run(run_spec, context.outputs)
    run.write_summary(summary_of(run_spec, status="failed", error="the disk was full"))
    assert outcomes_of(made)[made.runs[0].run_id].state == "failed"
    assert launch(made.runs, context, trainer=train)[made.runs[0].run_id].state == "finished"


def test_workers_share_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [gpus_of(slot, "cuda") for slot in range(3)] == ["0", "1", "0"]
    assert [gpus_of(slot, "cuda", 2) for slot in range(2)] == ["0,1", "0,1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7")
    assert [gpus_of(slot, "cuda") for slot in range(3)] == ["5", "GPU-7", "5"]
    assert gpus_of(1, "cuda:0") is None
    assert gpus_of(1, "cpu") is None


def test_a_worker_sees_its_gpu_and_its_threads_only(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    named = "liere_cli.launchers.pool.gpus_of"
    monkeypatch.setattr(named, lambda slot, device, each: f"GPU-{slot}")
    made = plan(context.outputs, "axial", "none", seeds=1)
    found = launch(made.runs, context, jobs=2, trainer=train_and_show_environment)
    seen = {run.encoding: str(found[run.run_id].error).split() for run in made.runs}
    threads = str(torch.get_num_threads())
    assert seen == {"axial": ["GPU-0", threads], "none": ["GPU-1", threads]}
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == before


@pytest.fixture
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_two_threads")
def test_a_run_has_the_same_bits_however_many_run_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "verse.txt").write_text("The quick brown fox jumps over the lazy dog. " * 200)
    settings = {
        "model": {"layers": 1, "dim": 256, "heads": 2},
        "training": {"budget": "2steps", "batch": 64, "validations": 1, "test_limit": 1},
        "compare": {
            "encodings": ["none", "rope"],
            "data": [f"text:{tmp_path / 'verse.txt'},grid=128"],
            "seeds": 1,
            "baseline": "none",
        },
    }
    weights = []
    for jobs in (1, 2):
        context = Context(tmp_path / str(jobs))
        made = plan_comparison(Recipe.validated(settings, "test"), context)
        outcomes = launch(made.runs, context, jobs=jobs)
        assert {one.summary and one.summary.threads for one in outcomes.values()} == {2}
        weights.append([run.run.path("last.safetensors").read_bytes() for run in made.runs])
        environment = json.loads(made.runs[0].run.path("environment.json").read_text())
        assert (environment["threads"], environment["runs_at_a_time"]) == (2, jobs)
    assert weights[0] == weights[1]
    assert torch.get_num_threads() == 2
