"""Trains planned runs one by one, and reports what happens as typed events."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from liere_cli.errors import LiereError
from liere_cli.launchers import events
from liere_cli.launchers.events import Notice
from liere_cli.planning.plan import PlannedRun
from liere_cli.planning.progress import Outcome, outcome_of
from liere_cli.planning.progress import outcome as outcome_so_far
from liere_cli.runs.build import RunSpec, assemble
from liere_cli.runs.context import Context
from liere_cli.runs.find import find_run
from liere_cli.runs.folder import Run
from liere_cli.runs.lock import Owner, RunLocked, owner_of, seems_held
from liere_cli.runs.summary import RunSummary
from liere_cli.training.callbacks import Callbacks, Report
from liere_cli.training.loggers.observer import LoggingCallbacks
from liere_cli.utils.devices import has_bfloat16

#: with the parameters of :func:`liere_cli.training.run.train_run`
TrainFunction = Callable[..., RunSummary]


class ForwardEvents(Callbacks):
    """Training callbacks that pass everything on as events of one run."""

    def __init__(self, planned: PlannedRun, listener: events.Listener) -> None:
        self.planned, self.listener = planned, listener

    def on_start(self, run_spec: RunSpec, run: Run, step: int, warnings: list[str]) -> None:
        dataset = run_spec.dataset
        unit = "tokens/s" if dataset.task == "language-model" else "examples/s"
        self.listener(events.RunStarted(self.planned, step, dataset.metric, unit, tuple(warnings)))

    def on_report(self, report: Report) -> None:
        self.listener(events.RunReported(self.planned, report))

    def on_evaluate(self, split: str) -> None:
        self.listener(events.RunEvaluating(self.planned, split))


def observed(planned: PlannedRun, loggers: Sequence[str], listener: events.Listener) -> Callbacks:
    """Training callbacks that report events, and record the run with loggers of those names."""
    forward = ForwardEvents(planned, listener)
    if not loggers:
        return forward
    return LoggingCallbacks(forward, loggers, lambda text: listener(Notice(text, warning=True)))


def train_planned_run(
    planned: PlannedRun, context: Context, trainer: TrainFunction, listener: events.Listener
) -> Outcome | None:
    """Trains a planned run; an error becomes its outcome, but for KeyboardInterrupt.

    Returns None where another process trains it, after a :class:`RunLockedElsewhere` event.
    """
    try:
        if seems_held(planned.run):
            raise RunLocked(planned.run, owner_of(planned.run))
        outcome = _outcome(planned, context, trainer, listener)
    except RunLocked as error:
        listener(elsewhere(planned, error.owner))
        return None
    listener(events.RunEnded(planned, outcome))
    return outcome


def elsewhere(planned: PlannedRun, owner: Owner | None) -> events.RunLockedElsewhere:
    """The event of a run that another process trains."""
    return events.RunLockedElsewhere(planned, str(owner or "another process"), progress_of(planned))


def progress_of(planned: PlannedRun, anywhere: bool = False) -> Outcome:
    """How far a run has come, from its folder; ``anywhere``: or that in another experiment."""
    if anywhere:
        outputs = planned.run.folder.parent.parent
        planned = replace(planned, run=find_run(outputs, planned.run_id) or planned.run)
    return outcome_so_far(planned, planned.request.training.budget)


def _outcome(
    planned: PlannedRun, context: Context, trainer: TrainFunction, listener: events.Listener
) -> Outcome:
    device = torch.device(context.device)
    try:
        run_spec = assemble(planned.request, root=context.data_root, device=device)
        if run_spec.run_id != planned.run_id:
            half = device.type == "cpu" or has_bfloat16(device)
            if planned.request.training.precision == "auto" and not half:
                raise LiereError(
                    f"training.precision auto was planned for a GPU with bfloat16, which {device} "
                    "of this machine does not have; set training.precision"
                )
            raise LiereError("its data or code changed while the comparison ran; start it again")
        before = planned.run.summary()
        summary = trainer(
            replace(run_spec, encoding=planned.encoding),
            outputs=context.outputs,
            device=device,
            fresh=before is not None and outcome_of(before).state == "failed",
            callbacks=observed(planned, context.log, listener),
        )
        return outcome_of(summary)
    except RunLocked:
        raise
    except LiereError as error:
        return Outcome("failed", error=str(error))
    except Exception as error:
        # one broken run must not stop the others, whatever it raises
        return Outcome("failed", error=f"{type(error).__name__}: {error}")


#: between two polls of them
POLL_SECONDS = 2.0


class Waiting:
    """Runs that other processes train, by identity: polled until over, or free to be taken."""

    def __init__(self, listener: events.Listener) -> None:
        self.runs: dict[str, PlannedRun] = {}
        self.listener = listener

    def add(self, planned: PlannedRun) -> None:
        self.runs[planned.run_id] = planned

    def __bool__(self) -> bool:
        return bool(self.runs)

    def poll(self) -> tuple[dict[str, Outcome], list[PlannedRun]]:
        """Outcomes of the runs that are over, and the runs that nobody trains any more."""
        over: dict[str, Outcome] = {}
        free = []
        for planned in list(self.runs.values()):
            outcome = progress_of(planned)
            if outcome.over:
                over[planned.run_id] = outcome
                self.listener(events.RunEnded(planned, outcome))
            elif not seems_held(planned.run):
                free.append(planned)
            else:
                self.listener(elsewhere(planned, owner_of(planned.run)))
                continue
            del self.runs[planned.run_id]
        return over, free
