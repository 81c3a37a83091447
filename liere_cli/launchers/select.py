"""From the name of a launcher to what trains and evaluates the runs of a comparison."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from liere_cli.config.compare import SlurmSettings
from liere_cli.launchers.local import Launcher, launch
from liere_cli.runs.build import choose_device
from liere_cli.runs.context import Context

LauncherName = Literal["local", "slurm"]


@dataclass(frozen=True)
class Execution:
    """How the runs of a comparison are trained, and where finished ones are evaluated.

    Args:
        jobs: runs trained at a time, for estimates.
        training: its device may be another machine's.
        evaluation: on this machine, which evaluates finished runs at other grids.
    """

    launcher: Launcher
    jobs: int
    training: Context
    evaluation: Context
    evaluation_jobs: int


def select_launcher(
    name: LauncherName, context: Context, slurm_settings: SlurmSettings, jobs: int | None = None
) -> Execution:
    """The launcher of that name.

    Args:
        context: with the device as requested, which may be ``auto``.
        jobs: runs at a time; None: 1 on this machine, as many as Slurm grants on a cluster.

    Raises UsageError without such a device or launcher here.
    """
    if name == "local":
        here, jobs = replace(context, device=str(choose_device(context.device))), jobs or 1
        return Execution(partial(launch, jobs=jobs), jobs, here, here, jobs)
    from liere_cli.launchers.slurm import WIDTH, slurm

    device = slurm_settings.device
    if context.device != "auto":
        # this machine need not have the device that the jobs get
        device = choose_device(context.device, here=False).type
    launcher, training = slurm(slurm_settings, jobs), replace(context, device=device)
    evaluation = replace(context, device=str(choose_device("auto")))
    return Execution(launcher, jobs or WIDTH, training, evaluation, jobs or 1)
