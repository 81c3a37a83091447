"""The launcher on a Slurm cluster: an array job, which any terminal can wait for.

submitit submits. The outcome of a job is read from the folder of its run alone: no pickle that a
job leaves behind is opened.
"""

import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liere_cli.config.compare import SlurmSettings
from liere_cli.errors import LiereError, UsageError, counted, unwritable
from liere_cli.launchers.events import Listener, Notice, RunEnded, RunLockedElsewhere
from liere_cli.launchers.local import Launcher, terminated_as_interrupt
from liere_cli.launchers.slurm_jobs import (
    PATIENCE_SECONDS,
    JobBook,
    JobState,
    Submitted,
    job_states,
)
from liere_cli.launchers.slurm_task import Job
from liere_cli.launchers.worker import progress_of
from liere_cli.planning.plan import PlannedRun
from liere_cli.planning.progress import Outcome
from liere_cli.runs.context import Context
from liere_cli.runs.folder import FOLDER

if TYPE_CHECKING:
    from submitit import SlurmExecutor

#: between two polls of the jobs: at first, and once nothing has happened for a while
FIRST_POLL_SECONDS, POLL_SECONDS = 2.0, 20.0
#: for which Slurm may not answer
SILENCE_SECONDS = 600.0
#: tasks of one array; Slurm's default limit is 1001
MAX_ARRAY = 1000
#: jobs at a time, for estimates, where Slurm decides
WIDTH = 100
#: restarts of a job that reaches its time limit
MAX_RESTARTS = 1000


def slurm(settings: SlurmSettings, at_once: int | None = None) -> Launcher:
    """The launcher on a Slurm cluster.

    Jobs outlive this process: interrupted, it leaves them alone, and launched again it waits for
    those that it finds in ``EXPERIMENT/slurm/jobs.json``. A job that dies without saying why is
    submitted again, a bounded number of times. At most ``at_once`` jobs run at a time. Raises
    UsageError where there is no submitit or no Slurm.
    """
    try:
        import submitit  # noqa: F401
    except ModuleNotFoundError:
        raise UsageError(
            "--launcher slurm: needs submitit; install it with pip install 'liere[slurm]'"
        ) from None
    if missing := [tool for tool in ("sbatch", "squeue", "srun") if shutil.which(tool) is None]:
        raise UsageError(
            f"--launcher slurm: there is no '{missing[0]}' here; run it where you run sbatch"
        )

    def launcher(
        runs: Sequence[PlannedRun], context: Context, listener: Listener
    ) -> dict[str, Outcome]:
        with terminated_as_interrupt():
            return _Launch(runs, context, settings, at_once, listener).run()

    return launcher


def refuse_idle_gpus(partition: str | None) -> None:
    """Raises UsageError where a partition has GPUs, and nothing says whether jobs shall use them.

    Does nothing where Slurm does not say.
    """
    command = ["sinfo", "--noheader", "--format=%P|%G"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    for line in answer.stdout.splitlines():
        name, _, resources = line.strip().partition("|")
        used = name.endswith("*") if partition is None else name.rstrip("*") == partition
        if used and re.search(r"(^|,)gpu\b", resources):
            raise UsageError(
                f"--launcher slurm: partition '{name.rstrip('*')}' has GPUs, and the jobs request "
                "none: add --slurm gpus=1, or --device cpu to train on CPUs"
            )


class _Launch:
    def __init__(
        self,
        runs: Sequence[PlannedRun],
        context: Context,
        settings: SlurmSettings,
        at_once: int | None,
        listener: Listener,
    ) -> None:
        self.left = {run.run_id: run for run in runs}
        self.context, self.settings, self.at_once = context, settings, at_once
        self.listener = listener
        self.book = JobBook(context.outputs.resolve() / context.experiment / FOLDER)
        self.jobs: dict[str, Submitted] = {}
        #: runs whose job was gone at the last poll; the next decides, as files may lag behind
        self.gone: set[str] = set()
        self.results: dict[str, Outcome] = {}
        self.answered_at = time.monotonic()

    def run(self) -> dict[str, Outcome]:
        """Submits what no job has, and waits for all."""
        self._begin()
        pause = FIRST_POLL_SECONDS
        try:
            while self.left:
                time.sleep(pause)
                happened = self._poll()
                pause = FIRST_POLL_SECONDS if happened else min(pause * 1.3, POLL_SECONDS)
        except KeyboardInterrupt:
            self._take_leave()
            raise
        return self.results

    def _begin(self) -> None:
        with self.book.open() as jobs:
            known = {run_id: jobs[run_id] for run_id in self.left if run_id in jobs}
            if known:
                self.listener(Notice(f"waiting for {counted(len(known), 'job')} submitted earlier"))
            self.jobs = dict(known)
            new = [run for run_id, run in self.left.items() if run_id not in known]
            self._submit(new, jobs)

    def _submit(self, runs: Sequence[PlannedRun], jobs: dict[str, Submitted]) -> None:
        """Submits jobs for runs, and enters them in the open book."""
        for start in range(0, len(runs), MAX_ARRAY):
            part = runs[start : start + MAX_ARRAY]
            for run in part:
                self.book.note_path(run.run_id).unlink(missing_ok=True)
            names = self._sbatch(part)
            for run, name in zip(part, names, strict=True):
                before = self.jobs.get(run.run_id)
                entry = Submitted(name, before.submissions + 1 if before else 1)
                jobs[run.run_id] = self.jobs[run.run_id] = entry
            array = names[0].partition("_")[0]
            count, folder = counted(len(part), "job"), self.book.folder
            self.listener(Notice(f"submitted {count} to Slurm as {array}; logs: {folder}"))

    def _sbatch(self, runs: Sequence[PlannedRun]) -> list[str]:
        """Names of the jobs, in the order of the runs."""
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        outputs, root = self.context.outputs.resolve(), self.context.data_root
        context = replace(self.context, outputs=outputs, data_root=root and root.resolve())
        tasks = [Job(run, context, self.book.folder, self.settings.cpus) for run in runs]
        try:
            executor = _executor(self.book.folder, self.settings, self.at_once, context.experiment)
            with executor.batch():
                submitted = [executor.submit(task) for task in tasks]
            return [job.job_id for job in submitted]
        except (FailedJobError, FailedSubmissionError) as error:
            reason = " ".join(str(error).split())[:500] or "no reason given"
            raise LiereError(f"sbatch did not take the jobs: {reason}") from None
        except OSError as error:
            raise unwritable(self.book.folder, error) from None

    def _poll(self) -> bool:
        """Polls every run once; whether any ended or was submitted again."""
        try:
            states = job_states()
            self.answered_at = time.monotonic()
        except LiereError as error:
            if time.monotonic() - self.answered_at > SILENCE_SECONDS:
                raise LiereError(
                    f"{error}; its jobs go on, and the same command waits for them again"
                ) from None
            return False
        lost: list[PlannedRun] = []
        before = len(self.left)
        for run in list(self.left.values()):
            state = states.get(self.jobs[run.run_id].job)
            alive = state is not None and state.alive
            outcome = progress_of(run, anywhere=not alive)
            if outcome.over:
                self._end(run, outcome)
            elif state is not None and alive:
                self.gone.discard(run.run_id)
                self.listener(self._elsewhere(run, state, outcome))
            elif run.run_id not in self.gone:
                self.gone.add(run.run_id)
            elif not self._gave_up(run, state):
                lost.append(run)
        if lost:
            self._submit_again(lost, states)
        if before > len(self.left):
            self._forget()
        return bool(self.gone or lost or before > len(self.left))

    def _elsewhere(self, run: PlannedRun, state: JobState, outcome: Outcome) -> RunLockedElsewhere:
        job = f"job {self.jobs[run.run_id].job}"
        if state.at_work:
            return RunLockedElsewhere(run, f"{job} on {state.node}", outcome)
        return RunLockedElsewhere(run, job, outcome, state.reason or state.state.lower())

    def _gave_up(self, run: PlannedRun, state: JobState | None) -> bool:
        """Ends a run as failed whose job said why, or that was submitted too often."""
        entry = self.jobs[run.run_id]
        error = self.book.noted(run.run_id, entry.job)
        if error is None:
            if entry.submissions <= self.settings.resubmissions:
                return False
            words = self.book.last_words(entry.job)
            error = f"{_death(entry.job, state)}, after {entry.submissions} submissions"
            error += f": {words}" if words else ""
        self._end(run, Outcome("failed", error=f"{error} (log: {self.book.log(entry.job)})"))
        return True

    def _submit_again(self, lost: Sequence[PlannedRun], states: dict[str, JobState]) -> None:
        with self.book.open() as jobs:
            mine = []
            for run in lost:
                entry = jobs.get(run.run_id)
                if entry is not None and entry != self.jobs[run.run_id]:
                    self.jobs[run.run_id] = entry  # another liere submitted it meanwhile
                    continue
                job = self.jobs[run.run_id].job
                death = _death(job, states.get(job))
                self.listener(Notice(f"{run.label}: {death}; submitted again"))
                mine.append(run)
            self._submit(mine, jobs)
        self.gone -= {run.run_id for run in lost}

    def _end(self, run: PlannedRun, outcome: Outcome) -> None:
        del self.left[run.run_id]
        self.gone.discard(run.run_id)
        self.results[run.run_id] = outcome
        self.listener(RunEnded(run, outcome))

    def _forget(self) -> None:
        """Takes runs that ended out of the book: a failed one is tried anew next time."""
        with self.book.open() as jobs:
            for run_id in self.results:
                if jobs.get(run_id) == self.jobs[run_id]:
                    del jobs[run_id]

    def _take_leave(self) -> None:
        names = sorted({self.jobs[run_id].job.partition("_")[0] for run_id in self.left})
        text = (
            f"{counted(len(self.left), 'job')} went on in Slurm when this was stopped; the same "
            f"command waits for them again, and 'scancel {' '.join(names)}' ends them"
        )
        self.listener(Notice(text))


def _executor(
    folder: Path, settings: SlurmSettings, at_once: int | None, experiment: str
) -> "SlurmExecutor":
    import submitit

    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=MAX_RESTARTS)
    others = {"requeue": True, "mem": settings.memory, "reservation": settings.reservation}
    same = {"partition", "account", "qos", "gres", "constraint", "exclude"}
    parameters: dict[str, Any] = {
        "job_name": f"liere-{experiment}",
        "time": settings.minutes,
        "gpus_per_node": settings.gpus or None,
        "setup": settings.setup or None,
        "srun_args": settings.srun or None,
        "cpus_per_task": settings.cpus,
        "array_parallelism": at_once or MAX_ARRAY,
        "stderr_to_stdout": True,
        "additional_parameters": {
            **{key: value for key, value in others.items() if value is not None},
            **settings.parameters,
        },
        **settings.model_dump(include=same),
    }
    given = {key: value for key, value in parameters.items() if value is not None}
    executor.update_parameters(**given)
    return executor


def _death(job: str, state: JobState | None) -> str:
    how = "" if state is None else f" ({state.state})"
    return f"job {job} ended without a result{how}"
