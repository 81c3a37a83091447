"""Evaluates a trained run, also at other lengths and resolutions."""

import os
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from liere_cli.api.arguments import Folder, GridLike, GridTexts, Texts
from liere_cli.config.section import Section
from liere_cli.data import Split
from liere_cli.data.options import parse_grid
from liere_cli.errors import UsageError
from liere_cli.evaluation.conditions import Condition, block_of
from liere_cli.evaluation.trained_run import EvaluationRow, TrainedRun
from liere_cli.evaluation.transfer import cannot_shuffle
from liere_cli.runs.build import choose_device
from liere_cli.runs.folder import Run
from liere_cli.utils.paths import PathLike


def open_trained(
    run: Run | PathLike,
    *,
    weights: Literal["last", "best"] = "last",
    encoding: str | None = None,
    data: PathLike | None = None,
    device: str = "auto",
    out: PathLike = "outputs",
    data_root: PathLike | None = None,
) -> TrainedRun:
    """A run's model with its trained weights.

    Args:
        run: as :func:`liere_cli.train` returns it; or its folder, name or identity.
        weights: after training, or of the best validation.
        encoding: ``FILE.py:Class`` of a run whose encoding or model is not one of liere's: runs
            that file.
        data: path where the run's data lies now, if it was moved.

    Raises:
        UsageError: no such run.
        LiereError: no weights yet, damaged files, or data that is not the run's.
    """
    given = _TrainedArguments.validated(locals(), "open_trained()")
    return TrainedRun.open(
        str(given.run),
        outputs=given.out,
        root=given.data_root,
        device=choose_device(given.device),
        weights=given.weights,
        code=given.encoding,
        data=given.data,
    )


class _TrainedArguments(Section):
    run: Folder
    weights: Literal["last", "best"]
    encoding: str | None
    data: Annotated[str, BeforeValidator(os.fspath)] | None
    device: str
    out: Folder
    data_root: Folder | None


def evaluate(
    run: Run | PathLike | TrainedRun,
    *,
    grids: GridLike | Iterable[GridLike] = (),
    split: Split = "test",
    extend: str | Iterable[str] = ("none",),
    shuffle: bool = False,
    limit: int | None = None,
    weights: Literal["last", "best"] = "last",
    encoding: str | None = None,
    data: PathLike | None = None,
    device: str = "auto",
    out: PathLike = "outputs",
    data_root: PathLike | None = None,
) -> list[EvaluationRow]:
    """Evaluates a run on a split: one row for each grid, extension method and order of patches.

    Text of several lengths: the same bytes are predicted at each, the last ones of every window, as
    many as the shortest length (or the trained one) has.

    Args:
        run: as :func:`liere_cli.train` returns it; its folder, name or identity; or what
            :func:`open_trained` returned, for which the last six arguments say nothing.
        grids: lengths or resolutions, as ``512`` or ``"48x48"``; none: that of training.
        extend: how the encoding serves a larger grid: ``none``, ``pi``, ``refit``, ``edges``,
            ``ntk``, ``yarn``, ``yarn-paper``.
        shuffle: also with the patches in random order, positions kept.
        limit: at most so many items or blocks, evenly spaced.

    Raises:
        UsageError: a grid or method that the run can't be evaluated at, or no such run.
        LiereError: no weights yet, damaged files, or data that is not the run's.
    """
    trained = run
    if not isinstance(trained, TrainedRun):
        trained = open_trained(
            trained, weights=weights, encoding=encoding, data=data, device=device, out=out,
            data_root=data_root,
        )  # fmt: skip
    asked = {"grids": grids, "split": split, "extend": extend, "shuffle": shuffle, "limit": limit}
    given = _Arguments.validated(asked, "evaluate()")
    dataset = trained.run_spec.dataset
    for text in given.grids:
        # first, since the grids that the model suggests know of patches alone
        dataset.check_grid(parse_grid(text, len(dataset.grid)), trained.model.shape.patch)
    parsed = [trained.parse_grid(text) for text in given.grids] or [dataset.grid]
    methods = list(dict.fromkeys(given.extend or ["none"]))
    for method in methods:
        trained.check_extension(method)
    if all(grid == dataset.grid for grid in parsed) and methods != ["none"]:
        raise UsageError(
            f"--extend {methods[0]}: changes nothing on the grid of training; give another one "
            "with --grid"
        )
    if given.shuffle and dataset.task == "language-model":
        raise UsageError(f"--shuffle: {cannot_shuffle(trained.run_spec.data)}")
    orders = (False, True) if given.shuffle else (False,)
    block = block_of(parsed, dataset.grid)
    return [
        trained.measure(given.split, Condition(grid, method, order), limit=given.limit, block=block)
        for grid in parsed
        for method in methods
        for order in orders
    ]


class _Arguments(Section):
    grids: GridTexts
    split: Split
    extend: Texts
    shuffle: bool
    limit: int | None = Field(ge=1)
