"""Items of the test set on which an encoding does better or worse than its baseline."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from liere_cli.comparison.tables.results import Results
from liere_cli.comparison.tables.table import DatasetTable
from liere_cli.planning.plan import DatasetPlan
from liere_cli.statistics.item_errors import ItemDifferences


@dataclass(frozen=True)
class ItemWins:
    """Counts of items, or of groups of items where a data set has groups.

    Args:
        seeds: shared ones, over which differences are averaged.
        lost, equal, won: by the mean difference.
        always_lost, always_won: at every single seed.
    """

    encoding: str
    seeds: int
    lost: int
    equal: int
    won: int
    always_lost: int
    always_won: int

    @property
    def count(self) -> int:
        return self.lost + self.equal + self.won


def item_wins(results: Results, dataset: DatasetPlan, table: DatasetTable) -> Iterator[ItemWins]:
    """For every encoding with a baseline and readable results per item at two seeds or more."""
    rows = {row.label: row for row in dataset.encodings}
    for row in table.rows:
        if not table.compares(row) or table.baseline is None:
            continue
        pair = (rows[row.encoding], rows[table.baseline])
        seeds = results.shared_seeds(pair)
        differences = results.items_between(*pair, seeds, table.metric)
        if isinstance(differences, ItemDifferences):
            sums = differences.sums if table.higher_is_better else -differences.sums
            yield _wins(row.encoding, sums)


def _wins(encoding: str, sums: np.ndarray) -> ItemWins:
    """Of gains [seeds, items]."""
    mean = sums.mean(axis=0)
    signs = np.sign(np.where(np.abs(mean) > 1e-12, mean, 0.0))
    lost, equal, won = (int((signs == sign).sum()) for sign in (-1, 0, 1))
    always_lost, always_won = int((sums < 0).all(axis=0).sum()), int((sums > 0).all(axis=0).sum())
    return ItemWins(encoding, len(sums), lost, equal, won, always_lost, always_won)
