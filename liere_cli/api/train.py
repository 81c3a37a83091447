"""Trains one model."""

from collections.abc import Sequence
from typing import Any

from liere_cli.config.files import load_recipe, refuse_foreign_code
from liere_cli.errors import UsageError
from liere_cli.launchers.events import Listener, ignore
from liere_cli.launchers.worker import ForwardEvents
from liere_cli.planning.plan import PlannedRun
from liere_cli.runs.build import assemble, choose_device
from liere_cli.runs.folder import Run
from liere_cli.training.run import tidy, train_run
from liere_cli.utils.distributed import joined, own_device
from liere_cli.utils.paths import PathLike, expand


def train(
    recipe: PathLike | None = None,
    *,
    encoding: str | None = None,
    data: str | None = None,
    seed: int | None = None,
    budget: str | None = None,
    assignments: Sequence[str] = (),
    device: str = "auto",
    out: PathLike = "outputs",
    data_root: PathLike | None = None,
    fresh: bool = False,
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
        assignments: further keys of the recipe, as ``["training.batch=64"]``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        out: folder that runs land in.
        data_root: folder of local copies of the data sets.
        fresh: discard earlier results of this run.
        on_progress: called with every event of :mod:`liere_cli.launchers.events`; a run that was
            finished before reports none.

    Returns:
        The run's folder; ``run.summary()`` has its results. ``status`` is ``finished`` or
        ``diverged``.

    Raises:
        UsageError: a value that the caller can correct.
        LiereError: data or files that can't be used, or another process trains this run.
        KeyboardInterrupt: a checkpoint has been written; the same call continues.
    """
    flags: dict[str, Any] = {"encoding": encoding, "data": data, "seed": seed}
    flags = {key: value for key, value in flags.items() if value is not None}
    if budget is not None:
        flags["training"] = {"budget": budget}
    source = None if recipe is None else str(expand(recipe))
    with joined() as ranks:
        chosen = own_device(choose_device(device))
        settings = load_recipe(source, flags=flags, assignments=assignments)
        refuse_foreign_code(settings, source or "flags", [encoding, *assignments])
        if settings.compare is not None and "data" not in settings.model_fields_set:
            raise UsageError(
                f"recipe '{source}' compares {len(settings.compare.data)} data sets; choose one "
                f"with --data, or run liere compare {source}"
            )
        root = None if data_root is None else expand(data_root)
        run_spec = assemble(settings, root=root, device=chosen)
        outputs = expand(out)
        run = run_spec.run(outputs)
        known = ranks.broadcast(lambda: None if fresh else run.summary())
        if known is not None:
            if ranks.is_main:
                tidy(run)
            return run
        planned = PlannedRun(
            run_spec.data, run_spec.encoding, settings.seed, run, run_spec.run_id, settings
        )
        train_run(
            run_spec,
            outputs=outputs,
            device=chosen,
            fresh=fresh,
            callbacks=ForwardEvents(planned, on_progress),
            ranks=ranks,
        )
        return run_spec.run(outputs)
