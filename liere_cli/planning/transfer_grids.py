"""Other lengths and resolutions that a recipe asks for, made fit for one data set."""

import math
from collections.abc import Mapping
from typing import Any

from liere_cli.config.compare import TransferSettings
from liere_cli.config.recipe import merged
from liere_cli.data import Dataset
from liere_cli.data.options import parse_grid
from liere_cli.errors import UsageError
from liere_cli.evaluation.conditions import TransferProtocol, block_of
from liere_cli.evaluation.transfer import cannot_shuffle
from liere_cli.model import ModelShape


def grids_of(
    common: TransferSettings | None,
    own: Mapping[str, Any] | None,
    dataset: Dataset,
    shape: ModelShape,
    test_limit: int | None,
) -> TransferProtocol | None:
    """What ``compare.transfer``, with the data set's ``own`` laid over it, asks of it, if anything.

    Raises:
        UsageError: unknown keys, grids that don't fit the data or the patches, or text to shuffle.
    """
    if own is None or (common is None and not own):
        return None
    where = f"compare.data, '{dataset.name}', transfer" if own else "compare.transfer"
    base = common.model_dump(mode="json") if common else {}
    asked = TransferSettings.validated(merged(base, own), where)
    if not asked.grids and not asked.shuffle:
        return None
    axes = len(dataset.grid)
    try:
        grids = [parse_grid(grid, axes) for grid in asked.grids]
        for grid in grids:
            dataset.check_grid(grid, shape.patch)
            shape.tokens(grid)
        if asked.shuffle and dataset.task == "language-model":
            raise UsageError(cannot_shuffle(dataset.name))
    except UsageError as error:
        hint = "" if own else "; a data set of a comparison may have a 'transfer' of its own"
        raise UsageError(f"{where}, {dataset.name}: {error}{hint}") from None
    every = sorted({dataset.grid, *grids}, key=lambda grid: (math.prod(grid), grid))
    methods = tuple(dict.fromkeys(["none", *asked.extend]))
    limit = asked.limit or test_limit
    return TransferProtocol(
        dataset.grid, tuple(every), methods, asked.shuffle, limit, block_of(every, dataset.grid)
    )
