"""Compares encodings, or judges finished runs."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from liere_cli.api.comparison import Comparison
from liere_cli.config.compare import CompareSettings
from liere_cli.config.files import builtin_recipes
from liere_cli.config.recipe import Recipe
from liere_cli.errors import LiereError, UsageError
from liere_cli.launchers.events import Listener, PlanReady, ignore
from liere_cli.planning.overrides import comparison_recipe
from liere_cli.runs.context import Context
from liere_cli.runs.find import open_run
from liere_cli.runs.folder import Run
from liere_cli.utils.paths import PathLike, expand

if TYPE_CHECKING:
    from liere_cli.launchers.select import Execution  # imports torch

DEFAULT_RECIPE = "quick"
#: a recipe's path or name; or finished runs: a folder, a name, the folder of an experiment
Source = PathLike | Run
Names = str | Sequence[str]


def compare(
    source: Source | Sequence[Source] | None = None,
    *,
    encodings: Names | None = None,
    data: Names | None = None,
    seeds: int | str | Sequence[int] | None = None,
    baseline: Names | None = None,
    assignments: Sequence[str] = (),
    budget: str | None = None,
    until_settled: bool = False,
    max_seeds: int | None = None,
    time: str | None = None,
    against_itself: bool = False,
    jobs: int | None = None,
    launcher: Literal["local", "slurm"] = "local",
    slurm: Sequence[str] = (),
    device: str = "auto",
    out: PathLike = "outputs",
    data_root: PathLike | None = None,
    on_progress: Listener = ignore,
) -> Comparison:
    """Compares encodings over data sets and seeds, and says which differences are real.

    Finished runs are reused and interrupted ones continue. Defaults, identities and files are those
    of ``liere compare``, which calls this.

    Args:
        source: a recipe's path or built-in name; or finished runs, by folder, name or the folder of
            an experiment, which are judged as they are. None: only what ``encodings`` and ``data``
            name, or the recipe ``quick`` where they are None too.
        encodings, data: such as ``["rope", "liere:block=8"]`` or ``"rope,liere:block=8"``.
        seeds: how many, or which.
        baseline: the encoding that the others are compared with; of several, the first that takes
            part and is defined on the data.
        assignments: further keys of the recipe, as ``["training.batch=64"]``.
        budget: of every run, as ``"2000steps"`` or ``"10m"``.
        until_settled: add seeds until each verdict is settled, at most ``max_seeds``, within the
            training ``time`` of all runs together.
        against_itself: also compare the baseline with itself, at other seeds.
        jobs: runs at a time.
        launcher: ``local`` or ``slurm``; ``slurm`` is what each job asks for, as ``["gpus=1"]``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        out: folder that runs land in.
        data_root: folder of local copies of the data sets.
        on_progress: called with every event of :mod:`liere_cli.launchers.events`; see
            :class:`liere_cli.ProgressBar`.

    Raises:
        UsageError: a value that the caller can correct.
        LiereError: data or files that can't be used. A failed run raises nothing: the table counts
            it.
        KeyboardInterrupt: the same call continues.
    """
    arguments = {name: value for name, value in locals().items() if name != "on_progress"}
    return ComparisonRequest(**arguments).run(on_progress)


@dataclass(frozen=True)
class ComparisonRequest:
    """The arguments of :func:`compare`."""

    source: Source | Sequence[Source] | None = None
    encodings: Names | None = None
    data: Names | None = None
    seeds: int | str | Sequence[int] | None = None
    baseline: Names | None = None
    assignments: Sequence[str] | None = None
    budget: str | None = None
    until_settled: bool = False
    max_seeds: int | None = None
    time: str | None = None
    against_itself: bool = False
    jobs: int | None = None
    launcher: Literal["local", "slurm"] = "local"
    slurm: Sequence[str] | None = None
    device: str = "auto"
    out: PathLike = "outputs"
    data_root: PathLike | None = None

    def run(self, listener: Listener = ignore) -> Comparison:
        """Trains what is missing and judges it; or judges finished runs as they are."""
        if self.of_finished_runs:
            from liere_cli.comparison.finished_runs import compare_runs

            self._refuse_settings()
            baseline = _joined(self.baseline)
            return Comparison(compare_runs(self._sources, self._outputs, baseline, listener))
        from liere_cli.comparison.run import compare

        recipe = self._recipe()
        result = compare(recipe, self._execution(recipe), listener)
        comparison = Comparison(result, self._outputs / result.plan.experiment)
        comparison.write()
        return comparison

    def preview(self) -> list[PlanReady]:
        """As :func:`liere_cli.comparison.run.preview`; finished runs have no plans."""
        from liere_cli.comparison.run import preview

        recipe = self._recipe()
        return preview(recipe, self._execution(recipe))

    @cached_property
    def _outputs(self) -> Path:
        return expand(self.out)

    @cached_property
    def _sources(self) -> list[str]:
        if self.source is None:
            return []
        sources = [self.source] if isinstance(self.source, str | os.PathLike | Run) else self.source
        paths = [str(source.folder if isinstance(source, Run) else source) for source in sources]
        return [str(expand(path)) if path.startswith("~") else path for path in paths]

    @cached_property
    def of_finished_runs(self) -> bool:
        """Whether runs are judged as they are, so that nothing is trained."""
        return len(self._sources) > 1 or any(map(self._names_runs, self._sources))

    def _names_runs(self, source: str) -> bool:
        """Whether a source is a folder, or the name of a run where no recipe is called so."""
        path = expand(source)
        if path.exists() or source in builtin_recipes():
            return path.is_dir()
        try:
            open_run(source, self._outputs)
        except LiereError:
            return False
        return True

    def _refuse_settings(self) -> None:
        settings: Mapping[str, object] = {
            "--encodings": self.encodings, "--data": self.data, "--seeds": self.seeds,
            "--set": self.assignments, "--budget": self.budget,
            "--until-settled": self.until_settled, "--max-seeds": self.max_seeds,
            "--time": self.time, "--aa": self.against_itself,
            "--launcher": self.launcher != "local", "--slurm": self.slurm,
        }  # fmt: skip
        given = [flag for flag, value in settings.items() if value not in (None, False, (), [])]
        if given:
            raise UsageError(f"{', '.join(given)}: finished runs are judged as they are")

    def _recipe(self) -> Recipe:
        source = self._sources[0] if self._sources else None
        if source is None and self.encodings is None and self.data is None:
            source = DEFAULT_RECIPE
        return comparison_recipe(
            source,
            encodings=_joined(self.encodings),
            data=_joined(self.data),
            seeds=_seeds(self.seeds),
            baseline=_joined(self.baseline),
            budget=self.budget,
            until_settled=self.until_settled,
            max_seeds=self.max_seeds,
            time=self.time,
            against_itself=self.against_itself,
            assignments=[*(self.assignments or ()), *self._slurm_assignments()],
        )

    def _slurm_assignments(self) -> list[str]:
        if self.slurm and self.launcher != "slurm":
            raise UsageError(f"--slurm {self.slurm[0]}: is for jobs; add --launcher slurm")
        for assignment in self.slurm or ():
            if "=" not in assignment:
                raise UsageError(f"--slurm {assignment}: expected KEY=VALUE, as partition=gpu")
        return [f"compare.slurm.{assignment}" for assignment in self.slurm or ()]

    def _execution(self, recipe: Recipe) -> "Execution":
        from liere_cli.launchers.select import select_launcher

        root = None if self.data_root is None else expand(self.data_root)
        context = Context(self._outputs, root, self.device)
        settings = (recipe.compare or CompareSettings()).slurm
        return select_launcher(self.launcher, context, settings, self.jobs)


def _joined(names: Names | None) -> str | None:
    return names if names is None or isinstance(names, str) else ",".join(names)


def _seeds(seeds: int | str | Sequence[int] | None) -> str | None:
    """As on the command line: ``3`` is how many; ``4,`` and ``4,7`` are which."""
    if seeds is None or isinstance(seeds, str | int):
        return None if seeds is None else str(seeds)
    return "".join(f"{seed}," for seed in seeds)
