"""The interface of loggers.

A logger receives every line of metrics.jsonl in order, from the first one: a run that resumes from
a checkpoint begins with the lines before it, and replaces what was logged of its earlier attempt.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from liere_cli.config.recipe import Recipe
from liere_cli.runs.folder import Run
from liere_cli.runs.summary import RunSummary
from liere_cli.utils.nested import flattened

#: keys of metrics.jsonl
GRADIENT_NORMS = ("gradient_norm_model", "gradient_norm_encoding")


@dataclass(frozen=True)
class LoggedRun:
    """A run as trackers show it.

    Args:
        encoding, data: short labels.
        metric: ``bits_per_byte``, ``bits_per_token`` or ``top1``.
    """

    run: Run
    recipe: Recipe
    encoding: str
    data: str
    metric: str

    @property
    def experiment(self) -> str:
        return self.run.folder.parent.name

    @property
    def outputs(self) -> Path:
        return self.run.folder.parent.parent

    @property
    def config(self) -> dict[str, Any]:
        """Every setting, as ``{"training.batch": 32}``."""
        return flattened(self.recipe.model_dump(mode="json", exclude={"compare", "experiment"}))

    def scalars(self, line: Mapping[str, Any]) -> dict[str, float]:
        """The numbers in a line of metrics.jsonl, by the names that trackers show."""
        if "val" in line:
            names = {"val": f"val/{self.metric}", "val_loss": "val/loss"}
        else:
            keys = ("loss", "learning_rate", "seconds", *GRADIENT_NORMS)
            names = {key: f"train/{key}" for key in keys}
        return {
            name: line[key] for key, name in names.items() if isinstance(line.get(key), int | float)
        }

    def results(self, summary: RunSummary) -> dict[str, float]:
        """The closing numbers of a run, by the names that trackers show."""
        values = {
            f"final/val_{self.metric}": summary.val,
            f"final/test_{self.metric}": summary.test,
            "final/val_loss": summary.val_loss,
            "final/test_loss": summary.test_loss,
            "final/seconds": summary.seconds,
        }
        return {name: value for name, value in values.items() if value is not None}


class Logger(Protocol):
    """Records one run; constructed when it begins or resumes."""

    #: on the flag ``--log``
    name: ClassVar[str]
    #: that must be importable
    package: ClassVar[str]

    def __init__(self, logged: LoggedRun) -> None: ...

    @staticmethod
    def has(logged: LoggedRun) -> bool:
        """Whether the run was logged before."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Records the numbers of one line of metrics.jsonl."""

    def close(self, results: Mapping[str, float], status: str) -> None:
        """Ends the record; ``status`` is ``finished``, ``diverged`` or ``interrupted``."""
