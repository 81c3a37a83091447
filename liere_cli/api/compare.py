"""Compares encodings, or judges finished runs."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from liere_cli.api import arguments as args
from liere_cli.api.comparison import Comparison
from liere_cli.api.recording import Recorder
from liere_cli.config.compare import CompareSettings
from liere_cli.config.files import builtin_recipes
from liere_cli.config.names import check_recipe, explain_source
from liere_cli.config.recipe import Recipe, check_folder_name
from liere_cli.config.section import Section
from liere_cli.errors import LiereError, UsageError
from liere_cli.launchers.events import Listener, PlanReady, ignore
from liere_cli.planning.comparison_folder import ad_hoc_name
from liere_cli.planning.overrides import comparison_recipe
from liere_cli.runs.context import Context
from liere_cli.runs.find import open_run
from liere_cli.utils.paths import PathLike, expand

if TYPE_CHECKING:
    from liere_cli.launchers.select import Execution  # imports torch

DEFAULT_RECIPE = "quick"
#: arguments that are laid over the recipe
_RECIPE_FLAGS = {
    "encodings", "data", "seeds", "baseline", "budget", "until_settled", "max_seeds", "time",
    "against_itself",
}  # fmt: skip
#: keys of a recipe that don't change what is compared
_FREE_KEYS = (
    "compare.seeds", "compare.slurm", "compare.until_settled", "training.checkpoint_seconds",
)  # fmt: skip


def compare(
    source: args.Source | Iterable[args.Source] | None = None,
    *,
    encodings: args.Names | None = None,
    data: args.Names | None = None,
    seeds: int | str | Iterable[int] | None = None,
    baseline: args.Names | None = None,
    assignments: Iterable[str] = (),
    budget: str | None = None,
    until_settled: bool = False,
    max_seeds: int | None = None,
    time: str | None = None,
    against_itself: bool = False,
    name: str | None = None,
    jobs: int | Literal["auto"] | None = "auto",
    gpus_per_run: int = 1,
    launcher: Literal["local", "slurm"] = "local",
    slurm: Iterable[str] = (),
    device: str = "auto",
    out: PathLike = "outputs",
    data_root: PathLike | None = None,
    log: str | Iterable[str] = (),
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
        name: folder of the comparison under ``out``. None: the recipe's name, and where arguments
            change what it compares, or there is none, a name made from what is compared.
        jobs: runs at a time; ``auto`` chooses by cores, GPUs, memory and models. Scores don't
            depend on it.
        gpus_per_run: GPUs of this machine that train each run together.
        launcher: ``local`` or ``slurm``; ``slurm`` is what each job asks for, as ``["gpus=1"]``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        out: folder that runs land in.
        data_root: folder of local copies of the data sets.
        log: trackers that record every run: ``tensorboard``, ``wandb`` or ``mlflow``.
        on_progress: called with every event of :mod:`liere_cli.launchers.events`; see
            :class:`liere_cli.ProgressBar`.

    Raises:
        UsageError: a value that the caller can correct.
        LiereError: data or files that can't be used. A failed run raises nothing: the table counts
            it.
        KeyboardInterrupt: the same call continues.
    """
    arguments = {name: value for name, value in locals().items() if name != "on_progress"}
    request = ComparisonRequest.validated(arguments, "compare()")
    return request.run(args.checked_listener(on_progress))


class ComparisonRequest(Section):
    """The arguments of :func:`compare`."""

    source: args.SourceTexts = []
    encodings: args.SpecsText = None
    data: args.DataText = None
    seeds: args.SeedsText = None
    baseline: args.SpecsText = None
    assignments: args.Texts = []
    budget: str | None = None
    until_settled: bool = False
    max_seeds: int | None = None
    time: str | None = None
    against_itself: bool = False
    name: str | None = None
    jobs: Annotated[int, Field(ge=1)] | Literal["auto"] | None = "auto"
    gpus_per_run: Annotated[int, Field(ge=1, le=64)] = 1
    launcher: Literal["local", "slurm"] = "local"
    slurm: args.Texts = []
    device: str = "auto"
    out: args.Folder = Path("outputs")
    data_root: args.Folder | None = None
    log: args.LoggerNames = ()

    def run(self, listener: Listener = ignore) -> Comparison:
        """Trains what is missing and judges it; or judges finished runs as they are."""
        if self.of_finished_runs:
            from liere_cli.comparison.finished_runs import compare_runs

            self._refuse_settings()
            chosen = {"encodings": self.encodings, "data": self.data}
            result = compare_runs(self.source, self.out, self.baseline, listener, **chosen)
            return Comparison([result.table], result=result)
        recipe = self._recipe()  # first, since what follows imports torch
        from liere_cli.comparison.run import compare

        recorder = Recorder(listener, self.out, self.log)
        try:
            result = compare(recipe, self._execution(recipe), recorder)
        finally:
            recorder.close()
        comparison = Comparison([result.table], self.out / result.plan.experiment, result)
        comparison.write()
        return comparison

    def preview(self, listener: Listener = ignore) -> list[PlanReady]:
        """As :func:`liere_cli.comparison.run.preview`; finished runs have no plans."""
        recipe = self._recipe()
        from liere_cli.comparison.run import preview

        return preview(recipe, self._execution(recipe), listener)

    @cached_property
    def of_finished_runs(self) -> bool:
        """Whether runs are judged as they are, so that nothing is trained."""
        return len(self.source) > 1 or any(map(self._names_runs, self.source))

    def _names_runs(self, source: str) -> bool:
        """Whether a source is a folder, or the name of a run where no recipe is called so."""
        path = expand(source)
        if path.exists() or source in builtin_recipes():
            return path.is_dir()
        try:
            open_run(source, self.out)
        except LiereError:
            return False
        return True

    def _refuse_settings(self) -> None:
        settings: Mapping[str, object] = {
            "--seeds": self.seeds, "--set": self.assignments, "--budget": self.budget,
            "--name": self.name,
            "--until-settled": self.until_settled, "--max-seeds": self.max_seeds,
            "--time": self.time, "--aa": self.against_itself,
            "--launcher": self.launcher != "local", "--slurm": self.slurm,
        }  # fmt: skip
        given = [flag for flag, value in settings.items() if value not in (None, False, (), [])]
        if given:
            raise UsageError(f"{', '.join(given)}: finished runs are judged as they are")

    def _recipe(self) -> Recipe:
        source = self.source[0] if self.source else None
        if source is None and self.encodings is None and self.data is None:
            source = DEFAULT_RECIPE
        if source is not None and source not in builtin_recipes() and not expand(source).exists():
            explain_source(source, command=1)
        assignments = [*self.assignments, *self._slurm_assignments()]
        recipe = comparison_recipe(
            source, assignments=assignments, **self.model_dump(include=_RECIPE_FLAGS)
        )
        check_recipe(recipe)
        return recipe.model_copy(update={"experiment": self._folder(recipe, source)})

    def _folder(self, recipe: Recipe, source: str | None) -> str:
        """The name of the comparison's folder."""
        if self.name is not None:
            try:
                return check_folder_name(self.name)
            except ValueError as error:
                raise UsageError(f"--name {self.name}: {error}") from None
        keys = {assignment.partition("=")[0].strip() for assignment in self.assignments}
        changes = [
            self.encodings, self.data, self.baseline, self.budget, self.against_itself,
            any(not key.startswith(_FREE_KEYS) for key in keys),
        ]  # fmt: skip
        if "experiment" in keys or (source is not None and not any(changes)):
            return recipe.experiment
        return ad_hoc_name(recipe, recipe.experiment if source is not None else None)

    def _slurm_assignments(self) -> list[str]:
        if self.slurm and self.launcher != "slurm":
            raise UsageError(f"--slurm {self.slurm[0]}: is for jobs; add --launcher slurm")
        for assignment in self.slurm:
            if "=" not in assignment:
                raise UsageError(f"--slurm {assignment}: expected KEY=VALUE, as partition=gpu")
        return [f"compare.slurm.{assignment}" for assignment in self.slurm]

    def _execution(self, recipe: Recipe) -> "Execution":
        from liere_cli.launchers.select import select_launcher
        from liere_cli.utils.distributed import launched

        if launched() > 1:
            raise UsageError(
                "compare() is called in each of several processes of one training, as torchrun "
                "starts them: call it in one, which trains a run on each GPU"
            )
        context = Context(
            self.out, self.data_root, self.device, log=self.log, gpus_per_run=self.gpus_per_run
        )
        settings = (recipe.compare or CompareSettings()).slurm
        jobs = None if self.jobs == "auto" else self.jobs
        return select_launcher(self.launcher, context, settings, jobs)
