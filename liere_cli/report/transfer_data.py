"""Scores at other lengths and resolutions as data, in the metric's own unit."""

from collections.abc import Iterator
from typing import Any

from liere_cli.comparison.transfer import TransferCell, TransferRow, TransferTable
from liere_cli.conditions import grid_text
from liere_cli.report.verdict_data import verdict_numbers


def transfer(table: TransferTable) -> dict[str, Any]:
    """One data set, a row an encoding and extension, a cell a grid."""
    grids = table.grids
    return {
        "data": table.whole.title,
        "metric": table.whole.metric,
        "baseline": table.whole.baseline,
        "trained": grid_text(grids.trained),
        "grids": [grid_text(grid) for grid in grids.grids],
        "extensions": list(grids.methods),
        "limit": grids.limit,
        "block": grids.block,
        "count": table.count,
        "comparisons": table.comparisons,
        "errors": dict(table.faults or {}),
        "rows": [
            {
                "encoding": row.encoding,
                "extension": row.extend,
                "baseline": row.is_baseline,
                "undefined": row.undefined,
                "cells": [_cell(cell) for cell in row.cells],
                "shuffled": None if row.shuffled is None else _cell(row.shuffled),
            }
            for row in table.rows
        ],
    }


def transfer_lines(table: TransferTable) -> Iterator[dict[str, Any]]:
    """One line a cell; an encoding that has no cells keeps one that says why."""
    for row in table.rows:
        for cell in _cells(row):
            yield {
                "data": table.whole.title,
                "encoding": row.encoding,
                "extension": row.extend,
                "baseline": row.is_baseline,
                "undefined": row.undefined,
                **_cell(cell),
            }


def _cells(row: TransferRow) -> list[TransferCell | None]:
    cells = [*row.cells, *([row.shuffled] if row.shuffled else [])]
    return list(cells) or [None]


def _cell(cell: TransferCell | None) -> dict[str, Any]:
    verdict = cell.verdict if cell else None
    return {
        "grid": grid_text(cell.condition.grid) if cell else None,
        "shuffled": cell.condition.shuffle if cell else None,
        "values": {str(seed): value for seed, value in cell.values.items()} if cell else {},
        "mean": cell.mean if cell else None,
        "std": cell.std if cell else None,
        "mean_low": cell.low if cell else None,
        "mean_high": cell.high if cell else None,
        "not_finite": list(cell.not_finite) if cell else [],
        "missing": list(cell.missing) if cell else [],
        **verdict_numbers(verdict),
        "verdict": verdict.word if verdict else None,
    }
