"""The scripts that kill runs, damage files, fill disks, invent recipes and files, in short."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.stress

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
#: the script's own exit code where it can't do its work on this machine
NOT_HERE = 3


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("kill-runs --kills=4 --only=video", "4 of 4 kills"),
        ("many-processes --processes=3 --runs=6 --kills=2", "6 of 6 runs finished"),
        ("damage-files --files=17 --small", "17 damaged files"),
        ("fuzz-recipes --cases=150", "0 faults"),
        ("fuzz-files --cases=200", "0 faults"),
        ("full-disk --sizes=2 --only=text", "0 faults"),
    ],
)
def test_a_script_finds_no_fault(command: str, words: str) -> None:
    script, *flags = command.split()
    done = subprocess.run(
        [sys.executable, SCRIPTS / script, *flags], capture_output=True, text=True
    )
    if done.returncode == NOT_HERE:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    assert words in done.stdout.splitlines()[-1]
