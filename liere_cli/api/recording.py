"""What a comparison leaves for others while it runs: its plan on disk, and records of its runs."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from liere_cli.errors import LiereError
from liere_cli.launchers.events import Event, Listener, Notice, PlanReady, TrainingStarted
from liere_cli.planning.plan import Plan
from liere_cli.planning.plan_file import write_plan
from liere_cli.training.loggers.observer import log_finished


class Recorder:
    """A listener that writes every plan and logs finished runs, then passes the event on."""

    def __init__(self, listener: Listener, outputs: Path, loggers: Sequence[str]) -> None:
        self.listener, self.outputs, self.loggers = listener, outputs, loggers
        #: the latest plan of each experiment, and its jobs
        self.plans: dict[str, tuple[Plan[Any], int]] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, PlanReady | TrainingStarted):
            self.plans[event.plan.experiment] = event.plan, event.jobs
            write_plan(event.plan, self.outputs, event.jobs)
        self.listener(event)
        if isinstance(event, PlanReady) and self.loggers:
            for run in event.plan.runs:
                if event.outcomes[run.run_id].over:
                    log_finished(run.run, run.encoding, run.data, self.loggers, self._warn)

    def close(self) -> None:
        """Marks the plans as no longer carried out."""
        for plan, jobs in self.plans.values():
            with suppress(LiereError):  # the error that ended the comparison matters more
                write_plan(plan, self.outputs, jobs, ended=True)

    def _warn(self, text: str) -> None:
        self.listener(Notice(text, warning=True))
