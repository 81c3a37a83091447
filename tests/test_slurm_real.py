"""A comparison through a real Slurm on this machine, where it is installed."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"
#: the script's exit code where Slurm can't be run
CANNOT = 77


def test_a_job_cancelled_and_a_node_lost_change_nothing_in_the_table() -> None:
    pytest.importorskip("submitit", reason="the extra 'slurm' is not installed")
    command = [
        sys.executable, SCRIPTS / "slurm-on-one-machine", "--nodes", "3",
        sys.executable, SCRIPTS / "compare-through-slurm", "--steps", "100",
    ]  # fmt: skip
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, timeout=900
    )
    if done.returncode == CANNOT:
        pytest.skip(done.stderr.strip().splitlines()[0])
    assert done.returncode == 0, done.stderr
    assert "12 runs here, 12 in Slurm, 0 of them different" in done.stderr
