"""From paths and names, as commands and recipes have them, to runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from liere_cli.config.compare import ParentsSettings
from liere_cli.config.recipe import ParentSettings, Recipe
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


@dataclass(frozen=True)
class Parents:
    """The runs of ``compare.from``, as (run, recipe, fingerprint of its data)."""

    settings: ParentsSettings
    runs: Sequence[tuple[Run, Recipe, str]]

    @classmethod
    def find(cls, settings: ParentsSettings, outputs: Path) -> "Parents":
        """The finished runs in a folder; UsageError if there is none."""
        runs = [(run, run.summary()) for run in runs_at(settings.runs, outputs)]
        finished = [
            (run, run.recipe(), summary.fingerprint)
            for run, summary in runs
            if summary is not None and summary.status == "finished"
        ]
        if not finished:
            raise UsageError(f"compare.from: {settings.runs} has no finished run")
        return cls(settings, finished)

    def of(self, recipe: Recipe, fingerprint: str, seed: int) -> ParentSettings:
        """The parent of a run of that resolved recipe, but at a seed.

        Raises UsageError if there is none, or several, or it has another model.
        """
        from liere_cli.encodings.registry import identifying_spec, label
        from liere_cli.runs.parent import check_same_model, parent_settings

        where = f"compare.from, {self.settings.runs}"
        candidates = [entry for entry in self.runs if entry[1].seed == seed]
        if not candidates:
            seeds = ", ".join(map(str, sorted({entry[1].seed for entry in self.runs})))
            raise UsageError(f"{where}: has no finished run at seed {seed} (its seeds: {seeds})")
        encoding = identifying_spec(self.settings.encoding or recipe.encoding)
        own = [entry for entry in candidates if identifying_spec(entry[1].encoding) == encoding]
        labels = sorted({label(entry[1].encoding) for entry in candidates})
        if not own and (self.settings.encoding or len(labels) > 1):
            wanted = label(self.settings.encoding or recipe.encoding)
            raise UsageError(
                f"{where}: has no finished run of {wanted} at seed {seed} (its encodings: "
                f"{', '.join(labels)}); compare.from.encoding chooses one of them for all"
            )
        candidates = own or candidates
        on_same_data = [entry for entry in candidates if entry[2] == fingerprint]
        candidates = on_same_data or candidates
        if len(candidates) > 1:
            names = " and ".join(entry[0].name for entry in candidates[:2])
            raise UsageError(f"{where}: {names} are both of seed {seed}; give a folder of one")
        check_same_model(candidates[0][1], recipe, where)
        return parent_settings(candidates[0][0], where)
