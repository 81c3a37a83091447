"""From paths and names, as commands take them, to runs."""

from collections.abc import Sequence
from pathlib import Path

from liere_cli.errors import UsageError
from liere_cli.planning.plan_file import EARLIER, PLAN_FILE, planned_runs
from liere_cli.runs.find import open_run
from liere_cli.runs.folder import JOBS_FILE, Run

#: what lies beside the runs of an experiment, but for its tables
_FILES = ("comparison.yaml", "comparison-fixed.yaml", "report.html", "judged.jsonl", PLAN_FILE)


def runs_of(paths: Sequence[str], outputs: Path) -> list[Run]:
    """The runs at each path; of several, those that liere wrote beside the runs are skipped.

    Raises UsageError if there is no run at one of the others, or at all.
    """
    kept = [path for path in paths if len(paths) == 1 or not _lies_beside_runs(Path(path))]
    if not kept:
        raise UsageError(f"{', '.join(paths)}: none of these files is a run")
    return [run for path in kept for run in runs_at(path, outputs)]


def _lies_beside_runs(path: Path) -> bool:
    """Whether it lies beside the runs of an experiment: the recipe, tables, plans and jobs."""
    if path.is_dir():
        return (path / JOBS_FILE).is_file() or path.name == EARLIER
    return (path.name in _FILES or path.stem == "table") and path.is_file()


def runs_at(path: str, outputs: Path) -> list[Run]:
    """The run at a folder or of a name under ``outputs``, or all runs of an experiment's folder.

    Those lie in the folder, or in others whose runs its comparison reuses.
    """
    folder = Path(path)
    if (folder / "recipe.yaml").is_file():
        return [Run(folder)]
    inside = [Run(recipe.parent) for recipe in sorted(folder.glob("*/recipe.yaml"))]
    names = {run.name for run in inside}
    reused = [run for run in planned_runs(folder) if run.name not in names]
    return [*inside, *reused] or [open_run(path, outputs)]
