"""Results per test item, read from run folders."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from liere_cli.errors import LiereError
from liere_cli.runs.folder import ITEMS_FILE, MAX_ITEMS_BYTES, Run
from liere_cli.statistics import item_errors
from liere_cli.statistics.item_errors import ItemDifferences, ItemResults, StoredItemError

FILE = ITEMS_FILE
#: runs whose results a reader keeps
RUNS_IN_MEMORY = 128


class ItemReader:
    """Reads results per item of many runs, those of a baseline once for all comparisons with it."""

    def __init__(self) -> None:
        self._results = lru_cache(maxsize=RUNS_IN_MEMORY)(item_results)

    def fault(self, run: Run, metric: str) -> Literal["missing", "damaged"] | None:
        """Why the run's results per item can't be used; None where they can."""
        if item_results(run, metric) is not None:
            return None
        return "damaged" if run.path(FILE).exists() else "missing"

    def between(
        self, ours: Sequence[Run], theirs: Sequence[Run], metric: str
    ) -> ItemDifferences | StoredItemError | None:
        """Differences between two encodings' runs at equal seeds; None where the items differ."""
        values, baseline = ([self._results(run, metric) for run in runs] for runs in (ours, theirs))
        return item_errors.item_differences(values, baseline)


def item_results(run: Run, metric: str) -> ItemResults | None:
    """Results per item of the test split; None where the run has no usable ones."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        items = load(run.checked(FILE, MAX_ITEMS_BYTES))
    except (
        OSError, SafetensorError, ValueError, KeyError, TypeError, OverflowError, LiereError
    ):  # fmt: skip
        return None
    return results_of(items, metric)


def results_of(items: Mapping[str, NDArray[Any]], metric: str) -> ItemResults | None:
    """Results per item in the metric's unit, from tensors [items]; None where they are invalid.

    Windows of text that no group joins are grouped in blocks of adjacent ones.
    """
    text = metric.startswith("bits_per_")
    key = "loss" if text else "correct"
    if not {key, "weight", "group"} <= items.keys():
        return None
    kinds = {key: "biuf", "weight": "iuf", "group": "iu"}
    if any(items[name].ndim != 1 or items[name].dtype.kind not in kinds[name] for name in kinds):
        return None
    scores = items[key].astype(np.float64)
    if text:
        scores /= math.log(2)
    if not scores.size == items["weight"].size == items["group"].size:
        return None
    weights = items["weight"].astype(np.float64)
    if not (np.isfinite(scores) & np.isfinite(weights) & (weights > 0)).all():
        return None
    groups = items["group"]
    if text and np.unique(groups).size == groups.size:
        groups = item_errors.adjacent_blocks(groups.size)
    return ItemResults(scores, weights, groups)
