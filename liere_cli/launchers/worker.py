"""Trains a planned cell, and tells what happens as typed events."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from liere_cli.errors import LiereError
from liere_cli.launchers.events import (
    Listener,
    RunEnded,
    RunEvaluating,
    RunLockedElsewhere,
    RunReported,
    RunStarted,
)
from liere_cli.planning.plan import PlannedRun
from liere_cli.planning.progress import Outcome, outcome_of
from liere_cli.planning.progress import outcome as outcome_so_far
from liere_cli.runs.build import RunSpec, assemble
from liere_cli.runs.find import find_run
from liere_cli.runs.folder import Run
from liere_cli.runs.lock import Owner, RunLocked, owner_of, seems_held
from liere_cli.runs.summary import RunSummary
from liere_cli.training.callbacks import Report

#: with the parameters of :func:`liere_cli.training.run.train_run`
TrainFunction = Callable[..., RunSummary]


@dataclass(frozen=True)
class LaunchContext:
    """Where cells are trained.

    Args:
        outputs: folder of the runs.
        root: folder of a local mirror of the data sets.
        device: as on the flag; ``auto`` is resolved.
        experiment: folder of the comparison, under ``outputs``.
    """

    outputs: Path
    root: Path | None
    device: str
    experiment: str = ""


class _EventCallbacks:
    """Passes on what the training of one cell reports."""

    def __init__(self, planned: PlannedRun, tell: Listener) -> None:
        self.planned, self.tell = planned, tell

    def on_start(self, run_spec: RunSpec, run: Run, step: int, warnings: list[str]) -> None:
        self.tell(RunStarted(self.planned, step, tuple(warnings)))

    def on_report(self, report: Report) -> None:
        self.tell(RunReported(self.planned, report))

    def on_evaluate(self, split: str) -> None:
        self.tell(RunEvaluating(self.planned, split))


def train_planned_run(
    planned: PlannedRun, context: LaunchContext, trainer: TrainFunction, tell: Listener
) -> Outcome | None:
    """Trains a planned cell; whatever goes wrong becomes its outcome.

    Returns:
        None where another process trains it; :class:`RunLockedElsewhere` has told of it.

    Raises:
        KeyboardInterrupt: someone asked to stop; the run can go on later.
    """
    try:
        if seems_held(planned.run):
            raise RunLocked(planned.run, owner_of(planned.run))
        outcome = _outcome(planned, context, trainer, tell)
    except RunLocked as error:
        tell(elsewhere(planned, error.owner))
        return None
    tell(RunEnded(planned, outcome))
    return outcome


def elsewhere(planned: PlannedRun, owner: Owner | None) -> RunLockedElsewhere:
    """The event of a cell that another process trains."""
    return RunLockedElsewhere(planned, str(owner or "another process"), progress(planned))


def progress(planned: PlannedRun, anywhere: bool = False) -> Outcome:
    """How far a cell has come that someone else trains, from its folder.

    Args:
        anywhere: looks for the folder in other experiments too, which may have begun it since.
    """
    if planned.request is None:
        return Outcome("missing")
    budget = planned.request.training.budget
    if anywhere:
        outputs = planned.run.folder.parent.parent
        planned = replace(planned, run=find_run(outputs, planned.run_id) or planned.run)
    return outcome_so_far(planned, budget)


def _outcome(
    planned: PlannedRun, context: LaunchContext, trainer: TrainFunction, tell: Listener
) -> Outcome:
    device = torch.device(context.device)
    try:
        if planned.request is None:
            raise LiereError(f"{planned.run.folder}: only a recipe can train it")
        run_spec = assemble(planned.request, root=context.root, device=device)
        if run_spec.run_id != planned.run_id:
            raise LiereError("its data or code changed while the comparison ran; start it again")
        before = planned.run.summary()
        summary = trainer(
            replace(run_spec, encoding=planned.encoding),
            outputs=context.outputs,
            device=device,
            fresh=before is not None and outcome_of(before).state == "failed",
            callbacks=_EventCallbacks(planned, tell),
        )
        return outcome_of(summary)
    except RunLocked:
        raise
    except LiereError as error:
        return Outcome("failed", error=str(error))
    except Exception as error:
        # one broken cell must not stop the others, whatever it died of
        return Outcome("failed", error=f"{type(error).__name__}: {error}")


#: between two looks at them
LOOK_SECONDS = 2.0


class Waiting:
    """What others train, by identity."""

    def __init__(self, listener: Listener) -> None:
        self.runs: dict[str, PlannedRun] = {}
        self.listener = listener

    def add(self, planned: PlannedRun) -> None:
        self.runs[planned.run_id] = planned

    def __bool__(self) -> bool:
        return bool(self.runs)

    def look(self) -> tuple[dict[str, Outcome], list[PlannedRun]]:
        """What has come of them; says of the others who has them.

        Returns:
            Outcomes of those that are over, and those that nobody trains any more.
        """
        over: dict[str, Outcome] = {}
        free = []
        for planned in list(self.runs.values()):
            outcome = progress(planned)
            if outcome.over:
                over[planned.run_id] = outcome
                self.listener(RunEnded(planned, outcome))
            elif not seems_held(planned.run):
                free.append(planned)
            else:
                self.listener(elsewhere(planned, owner_of(planned.run)))
                continue
            del self.runs[planned.run_id]
        return over, free
