"""Runs that several processes train together, inside a comparison."""

from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from liere_cli.cli.app import app
from liere_cli.config.recipe import Recipe
from liere_cli.errors import UsageError
from liere_cli.launchers.local import launch
from liere_cli.launchers.select import select_launcher
from liere_cli.planning.from_recipe import plan_comparison
from liere_cli.planning.plan import Plan, PlannedRun
from liere_cli.runs.context import Context


def plan(context: Context, **training: Any) -> Plan[PlannedRun]:
    settings = {
        "model": {"layers": 1, "dim": 16, "heads": 2},
        "training": {"budget": "4steps", "batch": 4, "accumulate": 2, "log_every": 1, **training},
        "compare": {
            "encodings": ["axial"],
            "data": ["pointing:train=40,val=20,test=20"],
            "seeds": 2,
            "baseline": "axial",
        },
    }
    return plan_comparison(Recipe.validated(settings, "test"), context)


def test_each_run_has_the_bits_of_one_process(tmp_path: Path) -> None:
    """Processes of their own for every run, on the CPU in place of GPUs."""
    weights = []
    for each in (1, 2):
        context = Context(tmp_path / str(each), gpus_per_run=each)
        made = plan(context)
        outcomes = launch(made.runs, context)
        assert [outcomes[run.run_id].state for run in made.runs] == ["finished"] * 2
        weights.append([run.run.path("last.safetensors").read_bytes() for run in made.runs])
        written = made.runs[1].run.path("environment.json").read_text()
        assert f'"processes": {each}' in written
    assert weights[0] == weights[1]


def test_work_that_can_t_be_shared_is_a_failed_run(tmp_path: Path) -> None:
    context = Context(tmp_path, gpus_per_run=2)
    made = plan(context, batch=5, accumulate=1)
    outcomes = launch(made.runs, context)
    for run in made.runs:
        assert "training.batch 5 can't be split over 2" in str(outcomes[run.run_id].error)


@pytest.mark.parametrize(
    ("device", "gpus", "sentence"),
    [
        ("cpu", 4, "needs --device cuda, not cpu"),
        ("cuda", 2, "this machine has 2 GPUs"),
        ("cuda:1", 4, "needs --device cuda, not cuda:1"),
    ],
)
def test_a_run_spans_gpus_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, gpus: int, sentence: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    context = Context(tmp_path, device=device, gpus_per_run=3)
    recipe = Recipe.validated({"compare": {}}, "test")
    assert recipe.compare is not None
    with pytest.raises(UsageError, match=f"--gpus-per-run 3: {sentence}"):
        select_launcher("local", context, recipe.compare.slurm)


def test_a_comparison_is_no_training_of_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "RANK": "0",
        "WORLD_SIZE": "8",
        "MASTER_ADDR": "a",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(app, ["compare", "quick", f"--out={tmp_path}"])
    assert result.exit_code == 2
    assert "several processes of one training" in result.stderr
