"""From the name of a launcher to what trains and evaluates the runs of a comparison."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Self

from liere_cli.config.compare import SlurmSettings
from liere_cli.launchers.local import Launcher, launch
from liere_cli.launchers.resources import automatic_jobs
from liere_cli.planning.plan import PlannedRun
from liere_cli.runs.build import choose_device
from liere_cli.runs.context import Context

LauncherName = Literal["local", "slurm"]


@dataclass(frozen=True)
class Execution:
    """How the runs of a comparison are trained, and where finished ones are evaluated.

    Args:
        jobs: runs trained at a time, for estimates; None until :meth:`sized_for` chooses.
        training: its device may be another machine's.
        evaluation: on this machine, which evaluates finished runs at other grids.
        probed: whether runs are as fast here, so that a few steps tell how long they take.
    """

    launcher: Launcher
    jobs: int | None
    training: Context
    evaluation: Context
    evaluation_jobs: int
    probed: bool = False

    def sized_for(self, runs: Sequence[PlannedRun]) -> Self:
        """With as many runs at a time as suit this machine, where no number was requested."""
        if self.jobs is not None:
            return self
        jobs = automatic_jobs(runs, self.training)
        return replace(self, launcher=partial(launch, jobs=jobs), jobs=jobs, evaluation_jobs=jobs)


def select_launcher(
    name: LauncherName, context: Context, slurm_settings: SlurmSettings, jobs: int | None = None
) -> Execution:
    """The launcher of that name.

    Args:
        context: with the device as requested, which may be ``auto``.
        jobs: runs at a time; None: chosen by cores, GPUs, memory and models on this machine, as
            many as Slurm grants on a cluster.

    Raises UsageError without such a device or launcher here.
    """
    if name == "local":
        here = replace(context, device=str(choose_device(context.device)))
        return Execution(partial(launch, jobs=jobs or 1), jobs, here, here, jobs or 1, True)
    from liere_cli.launchers.slurm import WIDTH, slurm

    device = slurm_settings.device
    if context.device != "auto":
        # this machine need not have the device that the jobs get
        device = choose_device(context.device, here=False).type
    launcher, training = slurm(slurm_settings, jobs), replace(context, device=device)
    evaluation = replace(context, device=str(choose_device("auto")))
    return Execution(launcher, jobs or WIDTH, training, evaluation, jobs or 1)
