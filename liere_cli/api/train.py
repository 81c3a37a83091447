"""Trains one model."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from liere_cli.api.arguments import (
    Folder,
    LoggerNames,
    SeedsText,
    SpecsText,
    Texts,
    checked_listener,
)
from liere_cli.config.files import load_recipe, refuse_foreign_code
from liere_cli.config.section import Section
from liere_cli.errors import UsageError
from liere_cli.launchers.events import Listener, Notice, ignore
from liere_cli.launchers.worker import observed
from liere_cli.planning.plan import PlannedRun
from liere_cli.runs.build import assemble, choose_device
from liere_cli.runs.folder import Run
from liere_cli.training.loggers.observer import log_finished
from liere_cli.training.run import tidy, train_run
from liere_cli.utils.distributed import joined, own_device
from liere_cli.utils.paths import PathLike


def train(
    recipe: PathLike | None = None,
    *,
    encoding: str | Mapping[str, object] | None = None,
    data: str | Mapping[str, object] | None = None,
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
        encoding, data: such as ``"liere:block=8"`` and ``"cifar100"``.
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
    flags: dict[str, Any] = {"encoding": encoding, "data": data, "seed": given.seed}
    flags = {key: value for key, value in flags.items() if value is not None}
    if budget is not None:
        flags["training"] = {"budget": given.budget}
    source = None if given.recipe is None else str(given.recipe)
    with joined() as ranks:
        chosen = own_device(choose_device(given.device))
        settings = load_recipe(source, flags=flags, assignments=given.assignments)
        refuse_foreign_code(
            settings, source or "flags", [given.encoding, given.data, *given.assignments]
        )
        if settings.compare is not None and "data" not in settings.model_fields_set:
            raise UsageError(
                f"recipe '{source}' compares {len(settings.compare.data)} data sets; choose one "
                f"with --data, or run liere compare {source}"
            )
        run_spec = assemble(settings, root=given.data_root, device=chosen)
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


def _warn(listener: Listener, text: str) -> None:
    listener(Notice(text, warning=True))


class _Arguments(Section):
    recipe: Folder | None
    encoding: SpecsText
    data: SpecsText
    seed: SeedsText
    budget: str | None
    assignments: Texts
    device: str
    out: Folder
    data_root: Folder | None
    fresh: bool
    log: LoggerNames
