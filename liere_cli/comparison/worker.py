"""Runs one cell after the other, and tells what happens as typed events."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from liere_cli.assembly import Cell, assemble
from liere_cli.comparison.cells import Outcome, PlannedRun, outcome_of
from liere_cli.errors import LiereError
from liere_cli.runs import Run
from liere_cli.training import Report


@dataclass(frozen=True)
class CellStarted:
    """A cell begins, or goes on from ``step``."""

    run: PlannedRun
    step: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class CellReported:
    """News of a cell in training."""

    run: PlannedRun
    report: Report


@dataclass(frozen=True)
class CellEvaluating:
    """A cell is being evaluated on a split."""

    run: PlannedRun
    split: str


@dataclass(frozen=True)
class CellEnded:
    """A cell is over, or failed."""

    run: PlannedRun
    outcome: Outcome


Event = CellStarted | CellReported | CellEvaluating | CellEnded
Listener = Callable[[Event], None]
#: with the parameters of :func:`liere_cli.training.train_cell`
Trainer = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Site:
    """Where cells are trained.

    Args:
        outputs: folder of the runs.
        root: folder of a local mirror of the data sets.
        device: as on the flag; ``auto`` is resolved.
    """

    outputs: Path
    root: Path | None
    device: str


class _Observer:
    """Passes on what the training of one cell reports."""

    def __init__(self, planned: PlannedRun, tell: Listener) -> None:
        self.planned, self.tell = planned, tell

    def started(self, cell: Cell, run: Run, step: int, warnings: list[str]) -> None:
        self.tell(CellStarted(self.planned, step, tuple(warnings)))

    def reported(self, report: Report) -> None:
        self.tell(CellReported(self.planned, report))

    def evaluating(self, split: str) -> None:
        self.tell(CellEvaluating(self.planned, split))


def run_cell(planned: PlannedRun, site: Site, trainer: Trainer, tell: Listener) -> Outcome:
    """Trains a planned cell; whatever goes wrong becomes its outcome.

    Raises:
        KeyboardInterrupt: someone asked to stop; the run can go on later.
    """
    outcome = _outcome(planned, site, trainer, tell)
    tell(CellEnded(planned, outcome))
    return outcome


def _outcome(planned: PlannedRun, site: Site, trainer: Trainer, tell: Listener) -> Outcome:
    device = torch.device(site.device)
    try:
        if planned.request is None:
            raise LiereError(f"{planned.run.folder}: only a recipe can train it")
        cell = assemble(planned.request, root=site.root, device=device)
        if cell.run_id != planned.run_id:
            raise LiereError("its data or code changed while the comparison ran; start it again")
        before = planned.run.summary()
        summary = trainer(
            replace(cell, encoding=planned.encoding),
            outputs=site.outputs,
            device=device,
            fresh=before is not None and outcome_of(before).state == "failed",
            observer=_Observer(planned, tell),
        )
        return outcome_of(summary)
    except LiereError as error:
        return Outcome("failed", error=str(error))
    except Exception as error:
        # one broken cell must not stop the others, whatever it died of
        return Outcome("failed", error=f"{type(error).__name__}: {error}")


def work(connection: Connection, site: Site, threads: int, trainer: Trainer) -> None:
    """A worker process: trains each cell that arrives, until None arrives.

    SIGTERM stops the cell in training, which leaves a resumable run. So does the end of the
    process that reads the events.
    """
    torch.set_num_threads(threads)
    alone = False

    def tell(event: Event) -> None:
        nonlocal alone
        try:
            if not alone:
                connection.send(event)
        except OSError:
            alone = True  # a second signal would cut the checkpoint short
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        while not alone and (planned := connection.recv()) is not None:
            run_cell(planned, site, trainer, tell)
    except (EOFError, KeyboardInterrupt):
        return
