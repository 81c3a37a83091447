"""All pairs of encodings, and the set that may hold the best, where they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

from liere_cli.comparison.tables.table import DatasetTable
from liere_cli.statistics.ranking import Ranking, rank
from liere_cli.statistics.scores import Scores


@dataclass(frozen=True)
class RankingTable:
    """The ranking of one data set's encodings.

    Args:
        ranking: its rows are those of ``whole``.
        all_pairs: whether pairs were asked for, and not the set of the best alone.
    """

    whole: DatasetTable
    ranking: Ranking
    all_pairs: bool = True


def rankings(
    tables: Sequence[DatasetTable], scores: Sequence[Scores], all_pairs: bool = True
) -> tuple[RankingTable, ...]:
    """A ranking of every data set; all pairs of all data sets are corrected together.

    A baseline that is compared with itself has no rank.
    """
    rows = [
        [index for index, row in enumerate(table.rows) if row.values and not row.own_seeds]
        for table in tables
    ]
    ranked = rank(scores, rows)
    return tuple(
        RankingTable(table, ranking, all_pairs)
        for table, ranking in zip(tables, ranked, strict=True)
    )
