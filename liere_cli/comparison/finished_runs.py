"""Judges runs that are finished, without their recipe and without torch."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from liere_cli.comparison.looks import Record
from liere_cli.comparison.tables.build import ComparisonResult, make_table
from liere_cli.comparison.tables.cache import RunIndex
from liere_cli.config.files import read_settings
from liere_cli.config.recipe import Recipe
from liere_cli.errors import LiereError
from liere_cli.launchers.events import Listener, Notice, ignore
from liere_cli.planning.from_runs import runs_as_plan
from liere_cli.planning.run_paths import runs_of
from liere_cli.planning.run_record import RunRecord
from liere_cli.planning.selection import labels_named
from liere_cli.runs.folder import Run
from liere_cli.utils.malloc import without_collector


def compare_runs(
    sources: Sequence[str],
    outputs: Path,
    baseline: str | None,
    listener: Listener = ignore,
    *,
    encodings: str | None = None,
    data: str | None = None,
) -> ComparisonResult:
    """Judges the runs at folders, of names, or in the folders of experiments.

    ``encodings`` and ``data`` choose among them, as ``"liere,rope"``.
    Raises UsageError for runs that can't be compared, LiereError for unreadable files.
    """
    runs = runs_of(sources, outputs)
    for folder in sorted({run.folder.parent for run in runs}):
        for warning in _recipe_warnings(folder / "comparison.yaml"):
            listener(Notice(warning, warning=True))
    with without_collector():
        index = RunIndex(runs)
        for warning in index.warnings:
            listener(Notice(warning, warning=True))
        chosen = _chosen(runs, index.record, encodings, data)
        plan, outcomes = runs_as_plan(chosen, baseline, index.record)
    record = Record.of(plan)
    table = make_table(plan, outcomes, index, looks=record.looks(plan, outcomes))
    index.save()
    try:
        record.add(plan, outcomes)
    except LiereError as error:
        listener(Notice(f"later tables can't be corrected for this one: {error}", warning=True))
    return ComparisonResult(plan, outcomes, table)


def _chosen(
    runs: Sequence[Run],
    read: Callable[[Run], RunRecord],
    encodings: str | None,
    data: str | None,
) -> Sequence[Run]:
    """The runs of those encodings and data sets."""
    if encodings is None and data is None:
        return runs
    records = [(run, read(run)) for run in runs]
    if encodings is not None:
        labels = labels_named("encoding", encodings, (record.encoding for _, record in records))
        records = [(run, record) for run, record in records if record.encoding in labels]
    if data is not None:
        labels = labels_named("data set", data, (record.data for _, record in records))
        records = [(run, record) for run, record in records if record.data in labels]
    return [run for run, _ in records]


def _recipe_warnings(path: Path) -> Iterator[str]:
    """Why runs should be judged by the recipe at ``path``, which chose them by their results."""
    if not path.is_file():
        return
    try:
        settings = Recipe.validated(read_settings(path), str(path)).compare
    except LiereError:
        return
    if settings is not None and settings.tuning is not None:
        yield (
            "encodings were tuned here, each to values of its own; only 'liere compare "
            f"{path}' puts them into one table"
        )
    if settings is not None and settings.until_settled is not None:
        yield (
            "seeds were added here until verdicts were settled, which the p-values below don't "
            f"account for; 'liere compare {path}' does"
        )
