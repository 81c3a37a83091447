"""Weights & Biases: offline by default, so that nothing leaves this machine.

``wandb sync outputs/*/*/wandb/offline-run-*`` uploads runs later; WANDB_MODE=online sends them as
they are trained.
"""

import os
import shutil
from collections.abc import Mapping
from typing import ClassVar

from liere_cli.runs.folder import Run
from liere_cli.training.loggers.base import LoggedRun

FOLDER = "wandb"


class WeightsAndBiases:
    """Writes ``RUN/wandb/offline-run-*``."""

    name: ClassVar[str] = "wandb"
    package: ClassVar[str] = "wandb"

    def __init__(self, logged: LoggedRun) -> None:
        import wandb

        mode = os.environ.get("WANDB_MODE", "offline")
        if mode == "offline":
            _discard(logged.run)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "liere"),
            id=logged.run.run_id,
            name=logged.run.name,
            group=logged.experiment,
            job_type=logged.encoding[:64],
            dir=str(logged.run.folder),
            config=logged.config,
            mode=mode,
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                save_code=False,
                disable_git=True,
                x_disable_stats=True,
            ),
        )

    @staticmethod
    def has(logged: LoggedRun) -> bool:
        return any(logged.run.folder.glob(f"{FOLDER}/*run-*"))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def close(self, results: Mapping[str, float], status: str) -> None:
        self.run.summary.update({**results, "status": status})
        self.run.finish(exit_code=int(status == "diverged"))


def _discard(run: Run) -> None:
    """Removes an earlier attempt's record, whose steps this one repeats."""
    shutil.rmtree(run.path(FOLDER), ignore_errors=True)
