"""What launchers tell of the runs they train, as typed events."""

from collections.abc import Callable
from dataclasses import dataclass

from liere_cli.planning.plan import PlannedRun
from liere_cli.planning.progress import Outcome
from liere_cli.training.callbacks import Report


@dataclass(frozen=True)
class RunStarted:
    """A cell begins, or goes on from ``step``."""

    run: PlannedRun
    step: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunReported:
    """News of a cell in training."""

    run: PlannedRun
    report: Report


@dataclass(frozen=True)
class RunEvaluating:
    """A cell is being evaluated on a split."""

    run: PlannedRun
    split: str


@dataclass(frozen=True)
class RunEnded:
    """A cell is over, or failed."""

    run: PlannedRun
    outcome: Outcome


@dataclass(frozen=True)
class RunLockedElsewhere:
    """A cell is in the hands of another process, or of a job.

    Args:
        who: has it, as ``process 12 on node1, since 2026-01-31 12:00:00`` or ``job 17_3``.
        outcome: how far it has come.
        queued: why nobody works on it yet; None: it is being trained.
    """

    run: PlannedRun
    who: str
    outcome: Outcome
    queued: str | None = None


@dataclass(frozen=True)
class Notice:
    """Something about the launch as a whole that a person should know."""

    text: str


Event = RunStarted | RunReported | RunEvaluating | RunEnded | RunLockedElsewhere | Notice


Listener = Callable[[Event], None]
