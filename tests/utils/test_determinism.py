"""What makes results on a GPU deterministic, as far as it can be tested without one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from liere_cli.errors import UsageError
from liere_cli.utils.determinism import VARIABLE, WORKSPACES, deterministic

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def settings() -> tuple[object, ...]:
    cuda = torch.backends.cuda
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
        cuda.cudnn_sdp_enabled(),
        cuda.flash_sdp_enabled(),
        cuda.mem_efficient_sdp_enabled(),
        cuda.math_sdp_enabled(),
    )


@pytest.mark.parametrize("compiled", [False, True])
def test_on_cuda_only_deterministic_forms_are_used_and_nothing_remains(compiled: bool) -> None:
    before = settings()
    with deterministic(CUDA, compiled):
        assert settings() == (True, False, False, False, True, True, True)
        assert os.environ[VARIABLE] in WORKSPACES
    assert settings() == before
    with pytest.raises(ZeroDivisionError), deterministic(CUDA, compiled):
        raise ZeroDivisionError
    assert settings() == before


def test_on_a_cpu_nothing_is_set() -> None:
    before = settings()
    with deterministic(CPU):
        assert settings() == before


def test_workspaces_that_are_not_deterministic_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, ":0:0")
    sentence = r"':0:0'.*unset it, or set :4096:8 or :16:8"
    with pytest.raises(UsageError, match=sentence), deterministic(CUDA):
        pass


@pytest.mark.parametrize("own", [None, ":16:8"])
def test_workspaces_are_reserved_before_cuda_starts(tmp_path: Path, own: str | None) -> None:
    """By the functions that all commands call, which keep the user's value."""
    environment = {key: value for key, value in os.environ.items() if key != VARIABLE}
    if own is not None:
        environment[VARIABLE] = own
    script = (
        "import os, torch\n"
        "from liere_cli.runs.build import choose_device\n"
        "choose_device('auto')\n"
        f"print(torch.cuda.is_initialized(), os.environ['{VARIABLE}'])\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert printed.stdout.split() == ["False", own or ":4096:8"]
