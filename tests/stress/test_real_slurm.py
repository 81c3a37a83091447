"""A comparison through a real Slurm on this machine, where it is installed."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.stress

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
#: the script's exit code where Slurm can't be run
CANNOT = 77
PATIENCE_SECONDS = 900


def test_a_job_cancelled_and_a_node_lost_change_nothing_in_the_table() -> None:
    pytest.importorskip("submitit", reason="the extra 'slurm' is not installed")
    command = [
        sys.executable, SCRIPTS / "slurm-on-one-machine", "--nodes", "3",
        sys.executable, SCRIPTS / "compare-through-slurm", "--steps", "100",
    ]  # fmt: skip
    with subprocess.Popen(
        [str(part) for part in command], stderr=subprocess.PIPE, text=True
    ) as run:
        try:
            said = run.communicate(timeout=PATIENCE_SECONDS)[1]
        except subprocess.TimeoutExpired:
            run.terminate()  # it stops its daemons
            pytest.fail(f"it took over {PATIENCE_SECONDS} s: {run.communicate()[1]}")
    if run.returncode == CANNOT:
        pytest.skip(said.strip().splitlines()[0])
    assert run.returncode == 0, said
    assert "12 runs here, 12 in Slurm, 0 of them different" in said
