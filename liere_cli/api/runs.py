"""Runs on disk as tidy rows."""

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from liere_cli.api.arguments import Folder, Source, SourceTexts
from liere_cli.api.comparison import data_frame
from liere_cli.config.section import Section
from liere_cli.errors import LiereError
from liere_cli.planning.from_runs import runs_of
from liere_cli.planning.run_record import signature_of
from liere_cli.runs.folder import Run
from liere_cli.utils.paths import PathLike

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunRow:
    """One run.

    Args:
        experiment: the folder that holds the run's.
        status: ``finished``, ``diverged``, ``partial`` or ``damaged``.
        score: on the test split after the last step, in the metric's unit; ``top1`` is a share of
            1. None where there is none.
        val: the same on the validation split.
        seconds: of training.
        throughput: examples or tokens (``throughput_unit``) a second.
        error: why it diverged, or what is wrong with its files.
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
    folder: str = ""


class Runs(tuple[RunRow, ...]):
    """What :func:`load_runs` returns: rows in the order of their folders."""

    def __repr__(self) -> str:
        return f"Runs({len(self)} runs)"

    def to_pandas(self) -> "pd.DataFrame":
        """One row a run; raises LiereError where pandas is not installed."""
        return data_frame(self)


def load_runs(*sources: Source, out: PathLike = "outputs") -> Runs:
    """The runs in folders of experiments, at folders of their own, or of names under ``out``.

    Runs that are not over, diverged or have damaged files are rows too.
    Raises UsageError if there is no run at one of the places.
    """
    where = _Arguments.validated({"sources": sources, "out": out}, "load_runs()")
    return Runs(_row(run) for run in runs_of(where.sources, where.out))


class _Arguments(Section):
    sources: SourceTexts
    out: Folder


def _row(run: Run) -> RunRow:
    row = RunRow(run.run_id, run.folder.parent.name, status="damaged", folder=str(run.folder))
    try:
        summary = run.summary()
        if summary is None:
            recipe, labels = run.recipe(), signature_of(run) or {}
            return replace(
                row,
                encoding=labels.get("encoding"),
                data=labels.get("data") or None,
                seed=recipe.seed,
                status="partial",
                budget=str(recipe.training.budget),
            )
    except LiereError as error:
        return replace(row, error=str(error))
    names = {field.name: field.name for field in fields(RunRow)} | {"score": "test"}
    del names["experiment"], names["folder"]
    return replace(row, **{name: getattr(summary, own) for name, own in names.items()})
