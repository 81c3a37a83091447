"""From the name of a launcher to what trains and evaluates the runs of a comparison."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Self

import torch

from liere_cli.config.compare import SlurmSettings
from liere_cli.errors import UsageError
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
        _check_gpus(here)
        return Execution(partial(launch, jobs=jobs or 1), jobs, here, here, jobs or 1, True)
    from liere_cli.launchers.slurm import WIDTH, refuse_idle_gpus, slurm

    if context.gpus_per_run > 1:
        count = context.gpus_per_run
        raise UsageError(f"--gpus-per-run {count}: in Slurm it is --slurm gpus={count}")
    requested = slurm_settings.device
    device = requested or "cpu"
    if context.device != "auto":
        # this machine need not have the device that the jobs get
        device = choose_device(context.device, here=False).type
    elif requested is None:
        refuse_idle_gpus(slurm_settings.partition)
    gpus = slurm_settings.gpus_for(device)
    settings = slurm_settings.model_copy(update={"gpus": gpus})
    each = gpus if device == "cuda" else 1
    launcher, training = (
        slurm(settings, jobs),
        replace(context, device=device, gpus_per_run=max(1, each)),
    )
    evaluation = replace(context, device=str(choose_device("auto")))
    return Execution(launcher, jobs or WIDTH, training, evaluation, jobs or 1)


def _check_gpus(context: Context) -> None:
    """Raises UsageError unless this machine has the GPUs of a run."""
    each = context.gpus_per_run
    if each == 1:
        return
    count = torch.cuda.device_count()
    if context.device != "cuda":
        raise UsageError(f"--gpus-per-run {each}: needs --device cuda, not {context.device}")
    if each > count:
        raise UsageError(f"--gpus-per-run {each}: this machine has {count} GPUs")
