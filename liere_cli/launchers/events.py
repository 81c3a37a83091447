"""What happens while a comparison runs, as typed events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from liere_cli.planning.plan import Plan, PlannedRun
from liere_cli.planning.progress import Outcome
from liere_cli.utils.progress import Progress

if TYPE_CHECKING:
    from liere_cli.training.callbacks import Report  # imports torch


@dataclass(frozen=True)
class PlanReady:
    """The runs are known, with their outcomes by identity; nothing is trained yet."""

    plan: Plan[PlannedRun]
    outcomes: Mapping[str, Outcome]
    jobs: int


@dataclass(frozen=True)
class TrainingStarted:
    """Runs of a plan are about to be trained, ``jobs`` at a time."""

    plan: Plan[PlannedRun]
    outcomes: Mapping[str, Outcome]
    jobs: int


@dataclass(frozen=True)
class TransferStarted:
    """Finished runs are about to be evaluated at other grids, in so many passes over test items."""

    runs: int
    passes: int


@dataclass(frozen=True)
class PhaseEnded:
    """What :class:`TrainingStarted` or :class:`TransferStarted` began is over, or interrupted."""


@dataclass(frozen=True)
class RunStarted:
    """A run begins, or continues from ``step``; ``unit`` is that of its throughput."""

    run: PlannedRun
    step: int
    metric: str
    unit: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunReported:
    """Progress of a run in training."""

    run: PlannedRun
    report: Report


@dataclass(frozen=True)
class RunEvaluating:
    """A run is being evaluated, on a split or at another grid."""

    run: PlannedRun
    split: str


@dataclass(frozen=True)
class RunEnded:
    """A run is over, or failed."""

    run: PlannedRun
    outcome: Outcome


@dataclass(frozen=True)
class RunLockedElsewhere:
    """Another process or a Slurm job holds the run.

    Args:
        who: the holder, as ``process 12 on node1, since 2026-01-31 12:00:00`` or ``job 17_3``.
        outcome: how far the run has come.
        queued: why it is not in training yet; None: it is being trained.
    """

    run: PlannedRun
    who: str
    outcome: Outcome
    queued: str | None = None


@dataclass(frozen=True)
class ReadingData:
    """A worker process reads or decodes a data set for the first time."""

    progress: Progress


@dataclass(frozen=True)
class Notice:
    """A sentence about the comparison as a whole."""

    text: str
    warning: bool = False


_PhaseEvent = PlanReady | TrainingStarted | TransferStarted | PhaseEnded
_RunEvent = RunStarted | RunReported | RunEvaluating | RunEnded | RunLockedElsewhere
Event = _PhaseEvent | _RunEvent | ReadingData | Notice
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A listener that does nothing."""
