"""What a comparison leaves for others while it runs: its plan on disk, and records of its runs."""

from collections.abc import Sequence
from pathlib import Path

from liere_cli.launchers.events import Event, Listener, Notice, PlanReady, TrainingStarted
from liere_cli.planning.plan_file import write_plan
from liere_cli.training.loggers.observer import log_finished


class Recorder:
    """A listener that writes every plan and logs finished runs, then passes the event on."""

    def __init__(self, listener: Listener, outputs: Path, loggers: Sequence[str]) -> None:
        self.listener, self.outputs, self.loggers = listener, outputs, loggers

    def __call__(self, event: Event) -> None:
        if isinstance(event, PlanReady | TrainingStarted):
            write_plan(event.plan, self.outputs, event.jobs)
        self.listener(event)
        if isinstance(event, PlanReady) and self.loggers:
            for run in event.plan.runs:
                if event.outcomes[run.run_id].over:
                    log_finished(run.run, run.encoding, run.data, self.loggers, self._warn)

    def _warn(self, text: str) -> None:
        self.listener(Notice(text, warning=True))
