"""Runs on disk as tidy rows."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from liere_cli.api.arguments import Folder, Source, SourceTexts
from liere_cli.api.frames import data_frame
from liere_cli.config.files import MAX_RECIPE_BYTES
from liere_cli.config.section import Section
from liere_cli.errors import unknown
from liere_cli.planning.run_paths import runs_of
from liere_cli.planning.run_row import STATUSES, RunRow, ValidationRow, row_of, validations_of
from liere_cli.planning.selection import labels_named
from liere_cli.runs.find import all_runs, open_run
from liere_cli.runs.folder import Run
from liere_cli.utils.files import read_limited
from liere_cli.utils.malloc import without_collector
from liere_cli.utils.paths import PathLike

if TYPE_CHECKING:
    import pandas as pd


class Runs(tuple[RunRow, ...]):
    """What :func:`load_runs` returns: rows in the order of their folders."""

    def __repr__(self) -> str:
        return f"Runs({len(self)} runs)"

    def validations(self) -> tuple[ValidationRow, ...]:
        """One row a validation of every run, from metrics.jsonl; none of damaged runs."""
        return tuple(line for row in self for line in validations_of(row))

    def where(
        self, *, encoding: str | None = None, data: str | None = None, status: str | None = None
    ) -> "Runs":
        """The runs of those encodings, data sets and states, as ``"liere,rope"``.

        Raises UsageError for a name that no run has.
        """
        rows: Iterable[RunRow] = self
        if encoding is not None:
            labels = labels_named("encoding", encoding, _labels(self, "encoding"))
            rows = [row for row in rows if row.encoding in labels]
        if data is not None:
            labels = labels_named("data set", data, _labels(self, "data"))
            rows = [row for row in rows if row.data in labels]
        if status is not None:
            states = {part.strip() for part in status.split(",")}
            if wrong := sorted(states - set(STATUSES)):
                raise unknown("status", wrong[0], STATUSES)
            rows = [row for row in rows if row.status in states]
        return Runs(rows)

    def to_pandas(self, each: Literal["run", "validation"] = "run") -> "pd.DataFrame":
        """One row a run, or one a validation; raises LiereError where pandas is not installed."""
        return data_frame(self if each == "run" else self.validations())


def _labels(rows: Iterable[RunRow], name: Literal["encoding", "data"]) -> set[str]:
    return {label for row in rows if (label := getattr(row, name)) is not None}


def load_runs(*sources: Source, out: PathLike = "outputs") -> Runs:
    """The runs in folders of experiments, at folders of their own, or of names under ``out``.

    Without sources: every run under ``out``. Runs that are not over, diverged or have damaged files
    are rows too. Raises UsageError if there is no run at one of the places.
    """
    where = _Arguments.validated({"sources": sources or None, "out": out}, "load_runs()")
    runs = runs_of(where.sources, where.out) if sources else all_runs(where.out)
    with without_collector():
        return Runs(row_of(run) for run in runs)


class _Arguments(Section):
    sources: SourceTexts
    out: Folder


@dataclass(frozen=True)
class RunDescription:
    """All about one run.

    Args:
        signature: its line, empty before the first step.
        environment: versions, device and threads, as in environment.json.
        recipe: the text of recipe.yaml; empty if that can't be read.
    """

    row: RunRow
    signature: str
    environment: dict[str, object]
    recipe: str


def describe(run: Source, *, out: PathLike = "outputs") -> RunDescription:
    """One run, by folder, name or identity; raises UsageError if there is none."""
    given = _Arguments.validated({"sources": run, "out": out}, "describe()")
    opened = open_run(given.sources[0], given.out)
    return RunDescription(
        row_of(opened),
        _text(opened, "signature.txt").strip(),
        opened.environment(),
        _text(opened, "recipe.yaml"),
    )


def _text(run: Run, name: str) -> str:
    with suppress(OSError, ValueError):
        return read_limited(run.path(name), MAX_RECIPE_BYTES).decode(errors="replace")
    return ""
