"""How many runs are trained at a time, and with how many threads each."""

import os
from pathlib import Path

import pytest
import torch

from liere_cli.config.recipe import Recipe
from liere_cli.launchers import resources
from liere_cli.launchers.resources import automatic_jobs, available_cores
from liere_cli.planning.from_recipe import plan_comparison
from liere_cli.planning.plan import PlannedRun
from liere_cli.runs.context import Context


def sized(outputs: Path, **model: int) -> tuple[PlannedRun, ...]:
    """12 runs of a model."""
    compare = {"encodings": ["axial", "none"], "data": ["pointing"], "seeds": 6}
    settings = {"model": model, "compare": compare}
    return plan_comparison(Recipe.validated(settings, "test"), Context(outputs)).runs


NANO = {"layers": 2, "dim": 64, "heads": 4}
BASE = {"layers": 12, "dim": 768, "heads": 12}


@pytest.mark.parametrize(
    ("model", "cores", "gigabytes", "gpus", "jobs"),
    [
        (NANO, 1, 64, 0, 1),
        (NANO, 2, 64, 0, 2),
        (NANO, 16, 64, 0, 12),
        (NANO, 16, 4, 0, 4),
        (NANO, 16, 0, 0, 1),
        (BASE, 16, 64, 0, 1),
        (BASE, 64, 640, 0, 4),
        (NANO, 16, 64, 4, 4),
        (BASE, 16, 64, 1, 1),
    ],
)
def test_runs_at_a_time_follow_from_cores_gpus_memory_and_model(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: dict[str, int],
    cores: int,
    gigabytes: int,
    gpus: int,
    jobs: int,
) -> None:
    monkeypatch.setattr(resources, "available_cores", lambda: cores)
    monkeypatch.setattr(resources, "available_memory", lambda: gigabytes << 30)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    device = "cuda" if gpus else "cpu"
    assert automatic_jobs(sized(tmp_path, **model), Context(tmp_path, None, device)) == jobs


def test_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(resources, "_CGROUP", Path("/nosuch"))
    assert available_cores() == 16
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert available_cores() == 4


def test_a_quota_of_the_container_limits_cores_and_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(resources, "_CGROUP", tmp_path)
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert available_cores() == 2
    assert resources.available_memory() == 2000
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert available_cores() == 16
    assert (resources.available_memory() or 0) > 1 << 20
