"""Scores by fraction of the training data as cells of text."""

from collections.abc import Callable
from typing import Any

from liere_cli.comparison.tables.fractions import FractionRow, FractionTable
from liere_cli.report import numbers
from liere_cli.report.numbers import NONE, Unit
from liere_cli.report.sections.efficiency import ratio_text
from liere_cli.report.table import Column
from liere_cli.statistics.ratios import Ratio


def fraction_columns(table: FractionTable) -> list[Column]:
    """All columns, in reading order."""
    unit = Unit.of(table.whole)

    def column(header: str, cell: Callable[[FractionRow], str], number: bool = True) -> Column:
        return Column(header, tuple(map(cell, table.rows)), number=number)

    def score(place: int) -> Callable[[FractionRow], str]:
        return lambda row: unit.spread(*row.scores[place][:2])

    return [
        column("encoding", lambda row: row.encoding, number=False),
        *(
            column(f"{100 * fraction:g}%", score(place))
            for place, fraction in enumerate(table.fractions)
        ),
        column("less data", lambda row: ratio_text(row.ratio) if row.ratio else NONE),
        column("p", lambda row: numbers.probability(row.ratio.p_holm if row.ratio else None)),
    ]


def fraction_notes(table: FractionTable) -> list[str]:
    """What the numbers are, and what they can't say."""
    baseline = table.whole.baseline
    notes = [
        f"{Unit.of(table.whole).header} on the test split after {table.whole.budget} on each "
        "fraction of the training split: the budget stays the same, smaller fractions lie inside "
        "larger ones, and a seed's fractions are the same for all encodings",
        f"less data: the data behind the largest fraction over what takes an encoding to "
        f"{baseline}'s score there, on lines between fractions (logarithmic); geometric mean over "
        "seeds, interval by Student's t on logarithms, null hypothesis: 1. p is Holm-corrected "
        "over these ratios in all tables",
    ]
    notes += [
        f"{row.encoding}: the smallest fraction was enough at {row.at_smallest} seeds, so that the "
        "ratio may be larger"
        for row in table.rows
        if row.at_smallest
    ]
    return notes


def _fractions(table: FractionTable) -> dict[str, Any]:
    return {
        "data": table.whole.data,
        "baseline": table.whole.baseline,
        "fractions": list(table.fractions),
        "rows": [_fraction(table, row) for row in table.rows],
    }


def _fraction(table: FractionTable, row: FractionRow) -> dict[str, Any]:
    ratio = row.ratio or Ratio(0)
    shown: dict[str, Any] = {"encoding": row.encoding}
    for fraction, (mean, std, finished) in zip(table.fractions, row.scores, strict=True):
        shown |= {
            f"mean_{fraction:g}": mean,
            f"std_{fraction:g}": std,
            f"finished_{fraction:g}": finished,
        }
    return shown | {
        "shared_seeds": ratio.n,
        "missed": ratio.missed,
        "at_smallest": row.at_smallest,
        "data_ratio": ratio.value,
        "data_ratio_low": ratio.low,
        "data_ratio_high": ratio.high,
        "data_ratio_p": ratio.p,
        "data_ratio_p_holm": ratio.p_holm,
    }
