"""Which Slurm job trains which run: a small file beside the runs, and the jobs' states.

Another ``liere compare`` reads the file once the terminal of the first is gone.
"""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from liere_cli.errors import LiereError, unwritable
from liere_cli.runs.folder import JOBS_FILE, MAX_SUMMARY_BYTES
from liere_cli.utils.files import locked, make_folder, read_json, to_json, write_atomically

FORMAT = 1
#: for another process to submit its jobs, and for Slurm to answer
PATIENCE_SECONDS = 120.0
#: states of a job that will run, runs, or is about to run again
_ALIVE = {
    "PENDING", "RUNNING", "SUSPENDED", "CONFIGURING", "COMPLETING", "REQUEUED", "REQUEUE_HOLD",
    "REQUEUE_FED", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SPECIAL_EXIT",
}  # fmt: skip
_AT_WORK = {"RUNNING", "SUSPENDED", "COMPLETING", "SIGNALING", "STOPPED", "STAGE_OUT", "RESIZING"}


@dataclass(frozen=True)
class Submitted:
    """The job that a run was given to, as ``17_3``, and how many it was given to in all."""

    job: str
    submissions: int = 1


@dataclass(frozen=True)
class JobState:
    """What Slurm says of a job: a state such as ``PENDING``, its node, the reason of its state."""

    state: str
    node: str = ""
    reason: str = ""

    @property
    def alive(self) -> bool:
        return self.state in _ALIVE

    @property
    def at_work(self) -> bool:
        return self.state in _AT_WORK


class JobBook:
    """``EXPERIMENT/slurm/``: jobs.json, notes of failures, and the logs of the jobs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def open(self) -> Iterator[dict[str, Submitted]]:
        """The jobs by identity of their runs, for this process alone; written at the end."""
        make_folder(self.folder)
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.folder / "jobs.lock", PATIENCE_SECONDS))
            except TimeoutError:
                raise LiereError(f"{self.folder}: another process is submitting its jobs") from None
            except OSError as error:
                raise unwritable(self.folder, error) from None
            jobs = self.read()
            before = dict(jobs)
            try:
                yield jobs
            finally:  # what is submitted is known, whatever happens
                if jobs != before:
                    entries = {run_id: asdict(entry) for run_id, entry in sorted(jobs.items())}
                    content = to_json({"format": FORMAT, "jobs": entries})
                    write_atomically(self.folder / JOBS_FILE, content)

    def read(self) -> dict[str, Submitted]:
        path = self.folder / JOBS_FILE
        try:
            content = read_json(path, 10 * MAX_SUMMARY_BYTES)
            if content["format"] != FORMAT:
                raise LiereError(f"{path}: was written by another version of liere; use that one")
            return {
                str(run_id): Submitted(str(entry["job"]), int(entry["submissions"]))
                for run_id, entry in content["jobs"].items()
            }
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise LiereError(
                f"{path}: can't be read; delete it once 'squeue --me' shows no job of this "
                "comparison any more"
            ) from None

    def log(self, job: str) -> Path:
        return self.folder / f"{job}_0_log.out"

    def last_words(self, job: str) -> str:
        """The last line that a job or Slurm wrote to its log."""
        try:
            with self.log(job).open("rb") as file:
                file.seek(max(0, self.log(job).stat().st_size - 4096))
                lines = file.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")

    def note_path(self, run_id: str) -> Path:
        return self.folder / f"{run_id}.failed.json"

    def note(self, run_id: str, job: str, error: str) -> None:
        """Records why a job could not train its run, for the process that waits for it."""
        write_atomically(self.note_path(run_id), to_json({"job": job, "error": error}))

    def noted(self, run_id: str, job: str) -> str | None:
        """Why that job could not train the run; None where it did not say."""
        try:
            note: Any = read_json(self.note_path(run_id), MAX_SUMMARY_BYTES)
            return str(note["error"]) if note["job"] == job else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def job_states() -> dict[str, JobState]:
    """What Slurm says of this user's jobs, those that just ended included; LiereError if silent."""
    command = ["squeue", "--me", "--array", "--states=all", "--noheader", "--format=%i|%T|%N|%r"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LiereError(f"Slurm does not answer: {error}") from None
    if answer.returncode:
        raise LiereError(f"Slurm does not answer: {answer.stderr.strip() or 'squeue failed'}")
    states = {}
    for line in answer.stdout.splitlines():
        job, *fields = line.strip().split("|")
        if len(fields) == 3:
            state, node, reason = fields
            states[job] = JobState(state, node, "" if reason == "None" else reason)
    return states
