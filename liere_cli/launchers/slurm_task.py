"""One Slurm job: trains one run, and stops it resumably when Slurm reclaims the node."""

import os
import signal
import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from liere_cli.errors import LiereError, UsageError
from liere_cli.launchers import events
from liere_cli.launchers.local import launch
from liere_cli.launchers.slurm_jobs import JobBook
from liere_cli.planning.plan import PlannedRun
from liere_cli.runs.build import choose_device
from liere_cli.runs.context import Context
from liere_cli.utils.signals import handled

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

#: between lines of progress in the log
LOG_SECONDS = 15.0


@dataclass(frozen=True)
class Job:
    """One run as submitit has it: called in the job, and asked before the job is put back.

    It returns nothing. The run's own folder is the result; where there is none, a note in the job
    book (in ``folder``) says why.
    """

    planned: PlannedRun
    context: Context
    folder: Path
    threads: int

    def __call__(self) -> None:
        put_back = signal.getsignal(signal.SIGUSR2)  # submitit's way: asks Slurm for a new turn
        torch.set_num_threads(self.threads)
        run_id = self.planned.run_id
        try:
            context = replace(self.context, device=str(_device(self.context.device)))
            log = _Log()
            if context.device == "cpu" and torch.cuda.is_available():
                log.logger.warning("this job has a GPU, but its run trains on the CPU")
            with handled(("SIGUSR1", "SIGUSR2"), _interrupt):  # in training they are deferred
                outcome = launch([self.planned], context, listener=log)[run_id]
            error = None if outcome.over else outcome.error or "it gave no reason"
        except LiereError as failure:
            error = str(failure)
        except KeyboardInterrupt as asked:
            # the run has its checkpoint; where this can't requeue, the waiting process submits it
            if asked.args == (signal.SIGUSR2,) and callable(put_back):
                put_back(signal.SIGUSR2, None)
            raise
        if error is not None:
            JobBook(self.folder).note(run_id, job_name(), error)

    def checkpoint(self) -> "DelayedSubmission":
        """The same again: the run's own checkpoints say where it goes on."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _device(name: str) -> torch.device:
    """As ``choose_device``; a job without the GPU that its run needs names the node."""
    try:
        return choose_device(name)
    except UsageError as error:
        if torch.cuda.device_count():
            raise
        raise UsageError(
            f"{error} (the job got no GPU on {socket.gethostname()}: request one with --slurm "
            "gpus=1 or gres, on a partition that has them)"
        ) from None


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt(number)


def job_name() -> str:
    """The name of the job that this process is, as squeue has it."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array:
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ["SLURM_JOB_ID"]


class _Log:
    """Writes events to the job's log."""

    def __init__(self) -> None:
        from submitit.core.logger import get_logger

        self.logger = get_logger()
        self.written_at = float("-inf")

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.RunStarted):
            self.logger.info("%s: from step %d", event.run.label, event.step)
            for warning in event.warnings:
                self.logger.warning("%s", warning)
        elif isinstance(event, events.RunReported):
            if time.monotonic() - self.written_at > LOG_SECONDS:
                self.written_at = time.monotonic()
                report = event.report
                self.logger.info(
                    "%.0f%%, step %d, loss %.4f", 100 * report.share, report.step, report.loss
                )
        elif isinstance(event, events.Notice):
            self.logger.warning("%s", event.text)
        elif isinstance(event, events.RunEvaluating):
            self.logger.info("evaluating on %s", event.split)
        elif isinstance(event, events.RunLockedElsewhere):
            self.logger.info("%s trains it; waiting", event.who)
        elif isinstance(event, events.RunEnded):
            self.logger.info("%s: %s", event.outcome.state, event.outcome.error or "done")
