"""Every pair of encodings, and the set that may hold the best one."""

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.comparison.tables.ranking import RankingTable
from liere_cli.report.numbers import NONE, Unit
from liere_cli.report.sections.base import Section
from liere_cli.report.table import Columns, TextTable
from liere_cli.statistics.ranking import PairDifference
from liere_cli.statistics.verdicts import MIN_SEEDS


def _tables(comparison: ComparisonTable) -> list[TextTable]:
    return [_table(table) for table in comparison.rankings]


def _table(table: RankingTable) -> TextTable:
    whole, ranking = table.whole, table.ranking
    unit = Unit.of(whole)
    column = Columns(list(zip(ranking.order, ranking.letters, strict=True)))
    columns = [
        column.text("encoding", lambda row: whole.rows[row[0]].encoding),
        column.number(
            unit.header, lambda row: unit.spread(whole.rows[row[0]].mean, whole.rows[row[0]].std)
        ),
        *([column.text("letters", lambda row: row[1])] if table.all_pairs else []),
        column.text("may be best", lambda row: "yes" if row[0] in (ranking.best or ()) else NONE),
    ]
    title = f"{whole.title}: {'all pairs' if table.all_pairs else 'the best'}"
    return TextTable(title, whole.modality, columns, _notes(table), [_sentence(table)])


def _notes(table: RankingTable) -> list[str]:
    ranking = table.ranking
    if ranking.best is None:
        return []
    found = sum(pair.verdict.label in ("better", "worse") for pair in ranking.pairs)
    best = (
        "may be best: with 95% confidence the best encoding is among these; every other one is "
        "worse than some encoding (one-sided, corrected over the others; after Gupta 1965)."
    )
    if not table.all_pairs:
        return [best]
    return [
        best,
        f"Encodings that share a letter don't differ significantly: {found} of "
        f"{len(ranking.pairs)} pairs do, Holm-corrected over all pairs of all data sets.",
    ]


def _data(comparison: ComparisonTable) -> list[dict[str, object]]:
    return [_table_data(table) for table in comparison.rankings]


def _table_data(table: RankingTable) -> dict[str, object]:
    names = [row.encoding for row in table.whole.rows]
    ranking = table.ranking
    return {
        "data": table.whole.title,
        "order": [names[row] for row in ranking.order],
        "letters": dict(zip((names[row] for row in ranking.order), ranking.letters, strict=True)),
        "best": None if ranking.best is None else [names[row] for row in ranking.best],
        "pairs": [_pair_data(pair, names) for pair in ranking.pairs if table.all_pairs],
    }


def _pair_data(pair: PairDifference, names: list[str]) -> dict[str, object]:
    verdict, estimate = pair.verdict, pair.verdict.estimate
    return {
        "encoding": names[pair.first],
        "against": names[pair.second],
        "difference": estimate.difference if estimate else None,
        "low": verdict.low,
        "high": verdict.high,
        "p": estimate.p if estimate else None,
        "p_corrected": verdict.p_corrected,
        "shared_seeds": estimate.n if estimate else 0,
        "verdict": verdict.label,
    }


def ranking_sentence(table: RankingTable) -> str:
    """``ranking · cifar100: the best encoding is among liere, axial``."""
    return f"ranking · {table.whole.title}: {_sentence(table)}"


def _sentence(table: RankingTable) -> str:
    if table.ranking.best is None:
        return f"no ranking below {MIN_SEEDS} shared seeds"
    names = [table.whole.rows[row].encoding for row in table.ranking.best]
    if len(names) == 1:
        return f"{names[0]} is the best encoding"
    return f"the best encoding is among {', '.join(names)}"


RANKINGS = Section("rankings", _tables, _data)
