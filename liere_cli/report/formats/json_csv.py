"""The tables as data: every number at full precision, in the metric's own unit."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.comparison.tables.table import DatasetTable, Row
from liere_cli.report.escape import csv_cell
from liere_cli.report.sections import scores as words
from liere_cli.report.sections.efficiency import _efficiency
from liere_cli.report.sections.fractions import _fraction, _fractions
from liere_cli.report.sections.interaction import _interaction
from liere_cli.report.sections.transfer import transfer, transfer_lines
from liere_cli.report.sections.tuning import _tuned, _tuned_lines
from liere_cli.report.sections.verdict import verdict_numbers
from liere_cli.utils.files import to_json


def as_json(table: ComparisonTable) -> str:
    """Everything that the tables show, the per-seed values, and what was left out of them."""
    content = {
        "experiment": table.experiment,
        "signature": table.signature,
        "alpha": table.alpha,
        "correction": table.correction,
        "comparisons": table.comparisons,
        "looks": list(table.interim.sizes) if table.interim else None,
        "summary": words.summary_lines(table),
        "tables": [_dataset(dataset) for dataset in table.datasets],
        "fractions": [_fractions(one) for one in table.fractions],
        "transfers": [transfer(one) for one in table.transfers],
        "interactions": [_interaction(one) for one in table.interactions],
    }
    return to_json(content)


def as_csv(table: ComparisonTable) -> str:
    """One line an encoding and data set; per-seed values as ``seed=value`` in one column.

    What else a recipe asks follows after an empty line, with headers of their own.
    """
    lines = [
        {
            "data": dataset.title,
            "modality": dataset.modality,
            "metric": dataset.metric,
            "budget": dataset.budget,
        }
        | _row(dataset, row)
        for dataset in table.datasets
        for row in dataset.rows
    ]
    interactions = [_interaction(one) for one in table.interactions]
    curves = [
        {"data": dataset.title} | _efficiency(row)
        for dataset in table.datasets
        for row in dataset.efficiency
    ]
    tuned = [line for dataset in table.datasets for line in _tuned_lines(dataset)]
    fractions = [
        [{"data": one.whole.data} | _fraction(one, row) for row in one.rows]
        for one in table.fractions
    ]
    transfers = [line for one in table.transfers for line in transfer_lines(one)]
    parts = (lines, tuned, curves, *fractions, transfers, interactions)
    return "\n".join(_csv(part) for part in parts if part)


def _csv(lines: Sequence[Mapping[str, Any]]) -> str:
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(lines[0])
    for line in lines:
        writer.writerow([_cell(value) for value in line.values()])
    return target.getvalue()


def _dataset(dataset: DatasetTable) -> dict[str, Any]:
    return {
        "title": dataset.title,
        "modality": dataset.modality,
        "data": dataset.data,
        "fingerprint": dataset.fingerprint,
        "metric": dataset.metric,
        "higher_is_better": dataset.higher_is_better,
        "baseline": dataset.baseline,
        "margin": dataset.margin,
        "budget": dataset.budget,
        "test_limit": dataset.test_limit,
        "warnings": list(dataset.warnings),
        "rows": [_row(dataset, row) for row in dataset.rows],
        "tuning": [_tuned(row.encoding, row.tuned) for row in dataset.rows if row.tuned],
        "efficiency": [_efficiency(row) for row in dataset.efficiency],
    }


def _row(dataset: DatasetTable, row: Row) -> dict[str, Any]:
    return {
        "encoding": row.encoding,
        "baseline": row.is_baseline,
        "planned": row.planned,
        "finished": row.finished,
        "diverged": row.diverged,
        "failed": row.failed,
        "unfinished": row.unfinished,
        "undefined": row.undefined,
        "errors": list(row.errors),
        "own_seeds": list(row.own_seeds) or None,
        "values": {str(seed): value for seed, value in row.values.items()},
        "mean": row.mean,
        "std": row.std,
        **verdict_numbers(row.verdict),
        "pairing": asdict(pairing) if (pairing := row.verdict and row.verdict.pairing) else None,
        "verdict": row.verdict.label if row.verdict else None,
        "shown": words.verdict_label(dataset, row),
        "parameters": row.parameters,
        "encoding_parameters": row.encoding_parameters,
        "throughput": row.throughput,
        "throughput_unit": row.throughput_unit,
        "seconds": row.seconds,
    }


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return csv_cell(" ".join(f"{key}={number!r}" for key, number in value.items()))
    if isinstance(value, list):
        return csv_cell("; ".join(map(str, value)))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return csv_cell(value) if isinstance(value, str) else repr(value)
