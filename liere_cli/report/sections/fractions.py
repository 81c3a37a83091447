"""Scores by fraction of the training data, and ratios of the data for an equal score."""

from collections.abc import Callable
from dataclasses import asdict

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.comparison.tables.fractions import FractionRow, FractionTable
from liere_cli.report import numbers
from liere_cli.report.numbers import NONE, Unit
from liere_cli.report.sections.base import Section
from liere_cli.report.sections.efficiency import ratio_text
from liere_cli.report.table import Column, Columns, TextTable


def _tables(comparison: ComparisonTable) -> list[TextTable]:
    tables = []
    for table in comparison.fractions:
        title = f"{table.whole.data}: by fraction of the training data"
        tables.append(TextTable(title, table.whole.modality, _columns(table), _notes(table)))
    return tables


def _columns(table: FractionTable) -> list[Column]:
    unit, column = Unit.of(table.whole), Columns(table.rows)

    def score(index: int) -> Callable[[FractionRow], str]:
        return lambda row: unit.spread(*row.scores[index][:2])

    return [
        column.text("encoding", lambda row: row.encoding),
        *(
            column.number(f"{100 * fraction:g}%", score(index))
            for index, fraction in enumerate(table.fractions)
        ),
        column.number("less data", lambda row: ratio_text(row.ratio) if row.ratio else NONE),
        column.number(
            "p", lambda row: numbers.probability(row.ratio.p_holm if row.ratio else None)
        ),
    ]


def _notes(table: FractionTable) -> list[str]:
    baseline = table.whole.baseline
    notes = [
        f"{Unit.of(table.whole).header} on the test split after {table.whole.budget} on each "
        "fraction of the training split. The budget is the same for all fractions, smaller "
        "fractions are subsets of larger ones, and all encodings share the subsets of a seed.",
        f"less data: the data at which {baseline} first reaches the worse of both scores on all of "
        "it, divided by the data at which the encoding first reaches that score, interpolated "
        "linearly over the fraction's logarithm. Geometric mean over seeds; interval by Student's "
        "t on logarithms; null hypothesis: a ratio of 1. p is Holm-corrected over these ratios in "
        f"all tables. Less data than {100 * table.fractions[0]:g}% counts as "
        f"{100 * table.fractions[0]:g}% for both, so ratios are bounded.",
    ]
    return notes + [
        f"{row.encoding}: {100 * table.fractions[0]:g}% was sufficient at {row.at_smallest} of "
        f"{row.ratio.n} seeds (for {baseline} at {row.baseline_at_smallest}), so the true ratio "
        "may be further from 1"
        for row in table.rows
        if row.ratio and (row.at_smallest or row.baseline_at_smallest)
    ]


def _data(comparison: ComparisonTable) -> list[dict[str, object]]:
    return [
        {
            "data": table.whole.data,
            "baseline": table.whole.baseline,
            "fractions": table.fractions,
            "rows": [_row_data(table, row) for row in table.rows],
        }
        for table in comparison.fractions
    ]


def _row_data(table: FractionTable, row: FractionRow) -> dict[str, object]:
    scores = zip(table.fractions, row.scores, strict=True)
    return {
        "encoding": row.encoding,
        "scores": {
            f"{fraction:g}": {"mean": mean, "std": std, "finished": finished}
            for fraction, (mean, std, finished) in scores
        },
        "data_ratio": asdict(row.ratio) if row.ratio else None,
        "at_smallest": row.at_smallest,
        "baseline_at_smallest": row.baseline_at_smallest,
    }


FRACTIONS = Section("fractions", _tables, _data)
