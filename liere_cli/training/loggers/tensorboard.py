"""TensorBoard: event files in the run's folder, for ``tensorboard --logdir outputs``."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from liere_cli.config.files import dump_yaml
from liere_cli.training.loggers.base import LoggedRun

FOLDER = "tensorboard"


class TensorBoard:
    """Writes ``RUN/tensorboard/events.out.tfevents.*``."""

    name: ClassVar[str] = "tensorboard"
    package: ClassVar[str] = "tensorboard"

    def __init__(self, logged: LoggedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = self._folder(logged)
        shutil.rmtree(folder, ignore_errors=True)
        self.writer = SummaryWriter(str(folder))
        recipe = dump_yaml(logged.recipe.model_dump(mode="json", exclude={"compare"}))
        # Markdown shows indented lines as they are
        self.writer.add_text("recipe", "".join(f"    {line}\n" for line in recipe.splitlines()))
        self.step = 0

    @staticmethod
    def _folder(logged: LoggedRun) -> Path:
        return logged.run.path(FOLDER)

    @classmethod
    def has(cls, logged: LoggedRun) -> bool:
        return cls._folder(logged).is_dir()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.step = step
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self, results: Mapping[str, float], status: str) -> None:
        for name, value in results.items():
            self.writer.add_scalar(name, value, self.step)
        self.writer.close()
