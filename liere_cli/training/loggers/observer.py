"""Training callbacks that pass every logged number on to loggers, and never stop training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from liere_cli.errors import UsageError, shortened, unknown
from liere_cli.training.callbacks import Callbacks, Report
from liere_cli.training.loggers.base import LoggedRun, Logger
from liere_cli.training.loggers.mlflow import Mlflow
from liere_cli.training.loggers.tensorboard import TensorBoard
from liere_cli.training.loggers.wandb import WeightsAndBiases

if TYPE_CHECKING:
    from liere_cli.runs.build import RunSpec
    from liere_cli.runs.folder import Run
    from liere_cli.runs.summary import RunSummary

LOGGERS: dict[str, type[Logger]] = {
    logger.name: logger for logger in (TensorBoard, WeightsAndBiases, Mlflow)
}
#: takes a sentence about a logger that fails
Warn = Callable[[str], None]


def logger_names(text: str) -> tuple[str, ...]:
    """The loggers on a flag, as ``tensorboard,wandb``, each once.

    Raises UsageError for an unknown one, or one whose package is not installed.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in names:
        if name not in LOGGERS:
            raise unknown("logger", name, LOGGERS)
        package = LOGGERS[name].package
        if find_spec(package) is None:
            raise UsageError(
                f"--log {name}: needs {package}, which is not installed; install it with "
                f"pip install 'liere[{name}]'"
            )
    return names


class LoggingCallbacks(Callbacks):
    """Calls others, and records the run with loggers; one that fails is dropped with a warning."""

    def __init__(self, inner: Callbacks, names: Sequence[str], warn: Warn) -> None:
        self.inner, self.names, self.warn = inner, names, warn
        self.logged: LoggedRun | None = None
        self.loggers: list[Logger] = []

    def on_start(self, run_spec: RunSpec, run: Run, step: int, warnings: list[str]) -> None:
        self.inner.on_start(run_spec, run, step, warnings)
        self.begin(
            LoggedRun(
                run, run_spec.recipe, run_spec.encoding, run_spec.data, run_spec.dataset.metric
            )
        )

    def begin(self, logged: LoggedRun) -> None:
        """Opens the loggers."""
        self.logged = logged
        for name in self.names:
            try:
                self.loggers.append(LOGGERS[name](logged))
            except Exception as error:
                self._drop(name, error)

    def on_report(self, report: Report) -> None:
        self.inner.on_report(report)

    def on_evaluate(self, split: str) -> None:
        self.inner.on_evaluate(split)

    def on_log(self, line: Mapping[str, Any]) -> None:
        self.inner.on_log(line)
        if self.logged is not None:
            values = self.logged.scalars(line)
            self._each(lambda logger: logger.log(int(line["step"]), values))

    def on_end(self, summary: RunSummary | None) -> None:
        self.inner.on_end(summary)
        if self.logged is not None:
            results = self.logged.results(summary) if summary else {}
            status = summary.status if summary else "interrupted"
            self._each(lambda logger: logger.close(results, status))
        self.loggers = []

    def _each(self, act: Callable[[Logger], None]) -> None:
        for logger in list(self.loggers):
            try:
                act(logger)
            except Exception as error:
                self.loggers.remove(logger)
                self._drop(logger.name, error)

    def _drop(self, name: str, error: Exception) -> None:
        reason = f"{type(error).__name__}: {shortened(str(error))}"
        self.warn(f"--log {name}: this run is no longer logged ({reason})")


def log_finished(run: Run, encoding: str, data: str, names: Sequence[str], warn: Warn) -> None:
    """Logs a run that is over, from its files, where it was not logged before."""
    summary = run.summary()
    if summary is None:
        return
    logged = LoggedRun(run, run.recipe(), encoding, data, summary.metric)
    missing = [name for name in names if not LOGGERS[name].has(logged)]
    callbacks = LoggingCallbacks(Callbacks(), missing, warn)
    callbacks.begin(logged)
    for line in run.metrics():
        callbacks.on_log(line)
    callbacks.on_end(summary)
