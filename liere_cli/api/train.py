"""Trains one model."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from liere_cli.api.arguments import (
    DataText,
    Folder,
    LoggerNames,
    SeedsText,
    SpecsText,
    Texts,
    checked_listener,
)
from liere_cli.config.files import load_recipe, refuse_foreign_code
from liere_cli.config.recipe import Recipe
from liere_cli.config.section import Section
from liere_cli.launchers.events import Listener, Notice, ignore
from liere_cli.launchers.worker import observed
from liere_cli.planning.overrides import single_run_recipe
from liere_cli.planning.plan import PlannedRun
from liere_cli.runs.build import assemble, choose_device
from liere_cli.runs.find import open_run
from liere_cli.runs.folder import Run, data_root_of
from liere_cli.runs.parent import check_parent, parent_settings
from liere_cli.training.loggers.observer import log_finished
from liere_cli.training.run import tidy, train_run
from liere_cli.utils.distributed import joined, own_device
from liere_cli.utils.paths import PathLike


def train(
    recipe: PathLike | None = None,
    *,
    parent: PathLike | None = None,
    encoding: str | Mapping[str, object] | None = None,
    data: str | Mapping[str, object] | None = None,
    model: str | None = None,
    seed: int | None = None,
    budget: str | None = None,
    assignments: Iterable[str] = (),
    device: str = "auto",
    out: PathLike = "outputs",
    data_root: PathLike | None = None,
    fresh: bool = False,
    log: str | Iterable[str] = (),
    on_progress: Listener = ignore,
) -> Run:
    """Trains one model with one encoding; continues where an earlier run stopped.

    Defaults, identities and files are those of ``liere train``, which calls this: without
    arguments, ``liere`` on ``stdlib``.

    Args:
        recipe: a path, or the name of a built-in recipe.
        parent: a finished run whose weights are the initial ones; without ``recipe``, its settings
            are those of the new run, too. The budget counts anew.
        encoding, data: such as ``"liere:block=8"`` and ``"cifar100"``.
        model: ``FILE.py:Class`` (runs that file) or an installed model, instead of liere's.
        seed: of every random stream.
        budget: as ``"2000steps"`` or ``"10m"``.
        assignments, device, out, data_root: as for :func:`liere_cli.compare`.
        fresh: discard earlier results of this run.
        log: trackers that record the run: ``tensorboard``, ``wandb`` or ``mlflow``.
        on_progress: likewise; a run that was finished before reports no event.

    Returns:
        The run's folder; ``run.summary()`` has its results. ``status`` is ``finished`` or
        ``diverged``.

    Raises:
        UsageError: a value that the caller can correct.
        LiereError: data or files that can't be used, or another process trains this run.
        KeyboardInterrupt: a checkpoint has been written; the same call continues.
    """
    arguments = {name: value for name, value in locals().items() if name != "on_progress"}
    given, listener = _Arguments.validated(arguments, "train()"), checked_listener(on_progress)
    with joined() as ranks:
        chosen = own_device(choose_device(given.device))
        settings, root = _recipe(given, encoding, data)
        run_spec = assemble(settings, root=root, device=chosen)
        if settings.parent is not None:
            check_parent(settings.parent, run_spec.recipe, given.out)
        for note in run_spec.dataset.notes if ranks.is_main else ():
            listener(Notice(f"{run_spec.data}: {note}"))
        run = run_spec.run(given.out)
        known = ranks.broadcast(lambda: None if fresh else run.summary())
        if known is not None:
            if ranks.is_main:
                tidy(run)
                warn = partial(_warn, listener)
                log_finished(run, run_spec.encoding, run_spec.data, given.log, warn)
            return run
        labels = (run_spec.data, run_spec.encoding, settings.seed)
        planned = PlannedRun(*labels, run, run_spec.run_id, settings)
        callbacks = observed(planned, given.log, listener)
        train_run(
            run_spec,
            outputs=given.out,
            device=chosen,
            fresh=fresh,
            callbacks=callbacks,
            ranks=ranks,
        )
        return run_spec.run(given.out)


def _recipe(
    given: "_Arguments",
    encoding: str | Mapping[str, object] | None,
    data: str | Mapping[str, object] | None,
) -> tuple[Recipe, Path | None]:
    """The recipe with every flag laid over it and its parent found, and the folder of its data."""
    flags = {"encoding": encoding, "data": data, **given.flags()}
    flags = {key: value for key, value in flags.items() if value is not None}
    source = None if given.recipe is None else str(given.recipe)
    root = given.data_root
    if given.parent is not None:
        parent = open_run(str(given.parent), given.out)
        flags["parent"] = parent_settings(parent, f"--from {given.parent}").model_dump()
        if source is None:
            source = str(parent.path("recipe.yaml"))
            root = root or data_root_of(parent)
    settings = load_recipe(source, flags=flags, assignments=given.assignments)
    code = (given.encoding, given.data, given.model, *given.assignments)
    refuse_foreign_code(settings, source or "flags", code)
    if settings.compare is not None:
        budget = [] if given.budget is None else [f"training.budget={given.budget}"]
        named = [] if given.model is None else [f"model.name={given.model}"]
        assignments = (*given.assignments, *budget, *named)
        settings = single_run_recipe(settings, source or "flags", assignments)
    if settings.parent is not None and not settings.parent.id:
        parent = open_run(settings.parent.run, given.out)
        found = parent_settings(parent, f"{source}, parent")
        settings = settings.model_copy(update={"parent": found})
    return settings, root


def _warn(listener: Listener, text: str) -> None:
    listener(Notice(text, warning=True))


class _Arguments(Section):
    recipe: Folder | None
    parent: Folder | None
    encoding: SpecsText
    data: DataText
    model: str | None
    seed: SeedsText
    budget: str | None
    assignments: Texts
    device: str
    out: Folder
    data_root: Folder | None
    fresh: bool
    log: LoggerNames

    def flags(self) -> dict[str, Any]:
        """The recipe's settings that arguments of other names stand for, None where not given."""
        return {
            "seed": self.seed,
            "training": None if self.budget is None else {"budget": self.budget},
            "model": None if self.model is None else {"name": self.model},
        }
