"""Which launcher trains the cells of a comparison, and how its work is shown."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import torch

    from liere_cli.config.recipe import Recipe
    from liere_cli.launchers.local import Launcher
    from liere_cli.planning.plan import Plan
    from liere_cli.planning.progress import Outcome


class Launchers(StrEnum):
    """What trains the cells: processes of this machine, or jobs of a cluster."""

    LOCAL = "local"
    SLURM = "slurm"


LauncherName = Annotated[
    Launchers, typer.Option("--launcher", help="What trains the runs: this machine, or Slurm jobs.")
]
SlurmAssignments = Annotated[
    list[str] | None,
    typer.Option(
        "--slurm",
        metavar="KEY=VALUE",
        help="With --launcher slurm: what each job asks for, as partition=gpu, gpus=1, time=4h.",
    ),
]


def slurm_assignments(launcher: Launchers, given: Iterable[str] | None) -> list[str]:
    """``--slurm`` as ``--set`` has it.

    Raises:
        UsageError: it is given to another launcher, or not as KEY=VALUE.
    """
    from liere_cli.errors import UsageError

    given = list(given or [])
    if given and launcher != Launchers.SLURM:
        raise UsageError(f"--slurm {given[0]}: is for jobs; add --launcher slurm")
    for assignment in given:
        if "=" not in assignment:
            raise UsageError(f"--slurm {assignment}: expected KEY=VALUE, as partition=gpu")
    return [f"compare.slurm.{assignment}" for assignment in given]


@dataclass(frozen=True)
class Launching:
    """How the runs of a comparison are trained.

    Args:
        jobs: runs at a time, for estimates.
        device: that they are trained on, here or where the launcher takes them.
    """

    launcher: Launcher
    jobs: int
    device: torch.device
    out: Path
    root: Path | None

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        name: Launchers,
        jobs: int | None,
        device: str,
        out: Path,
        root: Path | None,
    ) -> Launching:
        """As the recipe and the flags have it.

        Raises:
            UsageError: a device or launcher that is not there.
        """
        import torch

        from liere_cli.config.compare import CompareSettings
        from liere_cli.launchers.local import local
        from liere_cli.runs.build import choose_device

        if name == Launchers.LOCAL:
            return cls(local(jobs or 1), jobs or 1, choose_device(device), out, root)
        from liere_cli.launchers.slurm import WIDTH, slurm

        settings = (recipe.compare or CompareSettings()).slurm
        # this machine need not have the device that the jobs get
        kind = settings.device if device == "auto" else choose_device(device, here=False).type
        return cls(slurm(settings, jobs), jobs or WIDTH, torch.device(kind), out, root)

    def train(
        self, plan: Plan, found: Mapping[str, Outcome], waiting: Container[str] = ()
    ) -> dict[str, Outcome]:
        """Trains what is missing, but what waits; says how far it came when it is interrupted."""
        from liere_cli.cli import console
        from liere_cli.cli.progress import LiveRuns
        from liere_cli.launchers.worker import LaunchContext
        from liere_cli.training.run import tidy

        for run in plan.runs:
            if found[run.run_id].over:
                tidy(run.run)
        left = [
            run for run in plan.runs if not found[run.run_id].over and run.run_id not in waiting
        ]
        if not left:
            return {}
        _check_writable(self.out / plan.experiment)
        context = LaunchContext(self.out, self.root, str(self.device), plan.experiment)
        with LiveRuns(plan, dict(found), min(self.jobs, len(left))) as live:
            try:
                return self.launcher(left, context, live)
            except KeyboardInterrupt:
                console.note(
                    f"{live.over} of {live.total} runs are done; the others keep their place"
                )
                raise


def _check_writable(folder: Path) -> None:
    """Once and beforehand, so that not every run has to fail at it."""
    from tempfile import TemporaryFile

    from liere_cli.errors import LiereError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise LiereError(f"{folder}: can't be written ({error.strerror})") from None
