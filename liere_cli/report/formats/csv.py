"""The main tables as one CSV table: a line per encoding and data set, a column per number."""

import csv
import io
from collections.abc import Sequence

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.report.escape import csv_cell
from liere_cli.report.sections.scores import SCORES

#: values of several numbers, which JSON holds, as it holds the other analyses
_OMITTED = ("values", "interim_p", "interim_p_corrected", "pairing")


def as_csv(tables: Sequence[ComparisonTable]) -> str:
    """Scores of each seed are in columns ``seed_0``, ``seed_1``, ...; empty where missing.

    Several tables are told apart by a column of their names.
    """
    datasets = [(table, dataset) for table in tables for dataset in table.datasets]
    rows = [row for _, dataset in datasets for row in dataset.rows]
    seeds = sorted({seed for row in rows for seed in row.values})
    lines = [
        ({"table": table.experiment} if len(tables) > 1 else {})
        | {
            "data": dataset.title,
            "modality": dataset.modality,
            "metric": dataset.metric,
            "budget": dataset.budget,
            **{key: value for key, value in data.items() if key not in _OMITTED},
            **{f"seed_{seed}": row.values.get(seed) for seed in seeds},
        }
        for table, dataset in datasets
        for row, data in zip(dataset.rows, SCORES.data(dataset), strict=True)
    ]
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(lines[0])
    writer.writerows([_cell(value) for value in line.values()] for line in lines)
    return target.getvalue()


def _cell(value: object) -> object:
    """Numbers as they are, None as an empty cell, and text that no spreadsheet runs."""
    if isinstance(value, tuple):
        value = "; ".join(map(str, value))
    return csv_cell(value) if isinstance(value, str) else value
