"""Evaluates a trained run, also at other lengths and resolutions."""

from collections.abc import Sequence
from typing import Literal

from liere_cli.data import Split
from liere_cli.data.options import parse_grid
from liere_cli.errors import UsageError
from liere_cli.evaluation.conditions import Condition, block_of, grid_text
from liere_cli.evaluation.trained_run import EvaluationRow, TrainedRun
from liere_cli.evaluation.transfer import cannot_shuffle
from liere_cli.runs.build import choose_device
from liere_cli.runs.folder import Run
from liere_cli.utils.paths import PathLike, expand

#: 512, "48x48" or (48, 48)
GridLike = int | str | Sequence[int]


def open_trained(
    run: Run | PathLike,
    *,
    weights: Literal["last", "best"] = "last",
    encoding: str | None = None,
    device: str = "auto",
    out: PathLike = "outputs",
    data_root: PathLike | None = None,
) -> TrainedRun:
    """A run's model with its trained weights.

    Args:
        run: as :func:`liere_cli.train` returns it; or its folder, name or identity.
        weights: after training, or of the best validation.
        encoding: ``FILE.py:Class`` of a run whose encoding is not one of liere's: runs that file.

    Raises:
        UsageError: no such run.
        LiereError: no weights yet, damaged files, or data that is not the run's.
    """
    return TrainedRun.open(
        str(run.folder if isinstance(run, Run) else expand(run)),
        outputs=expand(out),
        root=None if data_root is None else expand(data_root),
        device=choose_device(device),
        weights=weights,
        code=encoding,
    )


def evaluate(
    run: Run | PathLike | TrainedRun,
    *,
    grids: Sequence[GridLike] = (),
    split: Split = "test",
    extend: Sequence[str] = ("none",),
    shuffle: bool = False,
    limit: int | None = None,
    weights: Literal["last", "best"] = "last",
    encoding: str | None = None,
    device: str = "auto",
    out: PathLike = "outputs",
    data_root: PathLike | None = None,
) -> list[EvaluationRow]:
    """Evaluates a run on a split: one row for each grid, extension method and order of patches.

    Text of several lengths: the same bytes are predicted at each, the last ones of every window, as
    many as the shortest length (or the trained one) has.

    Args:
        run: as :func:`liere_cli.train` returns it; its folder, name or identity; or what
            :func:`open_trained` returned, for which the last five arguments say nothing.
        grids: lengths or resolutions, as ``512`` or ``"48x48"``; none: that of training.
        extend: how the encoding serves a larger grid: ``none``, ``pi``, ``refit``, ``ntk``,
            ``yarn``.
        shuffle: also with the patches in random order, positions kept.
        limit: at most so many items or blocks, evenly spaced.

    Raises:
        UsageError: a grid or method that the run can't be evaluated at, or no such run.
        LiereError: no weights yet, damaged files, or data that is not the run's.
    """
    trained = run
    if not isinstance(trained, TrainedRun):
        trained = open_trained(
            trained, weights=weights, encoding=encoding, device=device, out=out,
            data_root=data_root,
        )  # fmt: skip
    dataset = trained.run_spec.dataset
    texts = [str(grid) if isinstance(grid, str | int) else grid_text(grid) for grid in grids]
    for text in texts:
        # first, since the grids that the model suggests know of patches alone
        dataset.check_grid(parse_grid(text, len(dataset.grid)), trained.model.shape.patch)
    parsed = [trained.parse_grid(text) for text in texts] or [dataset.grid]
    methods = list(dict.fromkeys(extend or ["none"]))
    for method in methods:
        trained.check_extension(method)
    if all(grid == dataset.grid for grid in parsed) and methods != ["none"]:
        raise UsageError(
            f"--extend {methods[0]}: changes nothing on the grid of training; give another one "
            "with --grid"
        )
    if shuffle and dataset.task == "language-model":
        raise UsageError(f"--shuffle: {cannot_shuffle(trained.run_spec.data)}")
    orders = (False, True) if shuffle else (False,)
    block = block_of(parsed, dataset.grid)
    return [
        trained.measure(split, Condition(grid, method, order), limit=limit, block=block)
        for grid in parsed
        for method in methods
        for order in orders
    ]
