"""A run on disk as one flat row, and its validations as rows of their own."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from liere_cli.errors import LiereError
from liere_cli.planning.progress import outcome_of
from liere_cli.planning.run_record import signature_of
from liere_cli.runs.folder import Run
from liere_cli.runs.lock import seems_held
from liere_cli.runs.remove import WEIGHTS
from liere_cli.runs.summary import RunSummary

#: what a run can be; ``partial`` runs are resumed by the command that made them
STATUSES = ("finished", "diverged", "failed", "running", "partial", "damaged")


@dataclass(frozen=True)
class RunRow:
    """One run.

    Args:
        experiment: the folder that holds the run's.
        status: ``finished``; ``diverged``; ``failed``, without a score; ``running``, in training
            now; ``partial``, interrupted; or ``damaged``.
        score: on the test split after the last step, in the metric's unit; ``top1`` is a share of
            1. None where there is none.
        val: the same on the validation split.
        seconds: of training.
        throughput: examples or tokens (``throughput_unit``) a second.
        error: why it diverged, or what is wrong with its files.
        modified: last change of a file, in seconds since the epoch.
        bytes: size of its folder.
    """

    id: str
    experiment: str
    status: str
    encoding: str | None = None
    data: str | None = None
    seed: int | None = None
    metric: str | None = None
    score: float | None = None
    val: float | None = None
    budget: str | None = None
    steps: int | None = None
    seconds: float | None = None
    parameters: int | None = None
    encoding_parameters: int | None = None
    throughput: float | None = None
    throughput_unit: str | None = None
    error: str | None = None
    modified: float | None = None
    bytes: int = 0
    folder: str = ""

    @property
    def path(self) -> Path:
        return Path(self.folder)

    @property
    def weights(self) -> bool:
        """Whether it is over and still has weights that could be removed."""
        names = WEIGHTS if self.status not in ("running", "partial") else ()
        return any((self.path / name).is_file() for name in names)


@dataclass(frozen=True)
class ValidationRow:
    """One validation of a run.

    Args:
        val, val_loss: the metric, and cross-entropy in nats.
        seconds: of training so far.
    """

    id: str
    encoding: str | None
    data: str | None
    seed: int | None
    metric: str | None
    step: int
    examples: int
    seconds: float
    val: float
    val_loss: float


_FROM_SUMMARY = {field.name for field in fields(RunRow)} & {
    field.name for field in fields(RunSummary)
} - {"status", "id", "error"}


def row_of(run: Run) -> RunRow:
    """The run's row; a run that can't be read is a row with its error."""
    modified, size = _time_and_size(run.folder)
    values: dict[str, Any] = {"modified": modified, "bytes": size, "folder": str(run.folder)}
    try:
        summary = run.summary()
        values |= _unfinished(run) if summary is None else _finished(summary)
    except LiereError as error:
        values |= {"status": "damaged", "error": str(error)}
    return RunRow(run.run_id, run.folder.parent.name, **values)


def _finished(summary: RunSummary) -> dict[str, Any]:
    outcome = outcome_of(summary)
    values = {name: getattr(summary, name) for name in _FROM_SUMMARY}
    return values | {"status": outcome.state, "score": summary.test, "error": outcome.error}


def _unfinished(run: Run) -> dict[str, Any]:
    """Values of a run without a summary, from the line that it wrote before its first step."""
    labels = signature_of(run)
    status = "running" if seems_held(run) else "partial"
    if labels is None or not re.fullmatch("[0-9]{1,10}", labels.get("seed", "")):
        recipe = run.recipe()  # raises if that is damaged too
        return {"status": status, "seed": recipe.seed, "budget": str(recipe.training.budget)}
    values = {name: labels.get(name) or None for name in ("encoding", "data", "budget")}
    return {"status": status, "seed": int(labels["seed"]), **values}


def validations_of(row: RunRow) -> Iterator[ValidationRow]:
    """The validations in metrics.jsonl of the row's run; none if that file is damaged."""
    try:
        lines = list(Run(row.path).metrics())
    except LiereError:
        return
    for line in lines:
        if line.get("val") is not None:
            yield ValidationRow(
                row.id, row.encoding, row.data, row.seed, row.metric, line["step"],
                line.get("examples", 0), line.get("seconds", 0.0), line["val"],
                line.get("val_loss", float("nan")),
            )  # fmt: skip


def _time_and_size(folder: str | Path) -> tuple[float | None, int]:
    """The latest change of a file in a folder, and the bytes of all; subfolders included."""
    latest, size, subfolders = 0.0, 0, []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    subfolders.append(entry.path)
                    continue
                status = entry.stat(follow_symlinks=False)
                size += status.st_size
                if status.st_mtime > latest:
                    latest = status.st_mtime
    except OSError:
        return latest or None, size
    for subfolder in subfolders:
        changed, below = _time_and_size(subfolder)
        latest, size = max(latest, changed or 0.0), size + below
    return latest or None, size
