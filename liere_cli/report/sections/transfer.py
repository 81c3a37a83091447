"""Scores at other lengths and resolutions as cells of text: scores, then differences."""

from collections.abc import Callable, Iterator
from typing import Any

from liere_cli.comparison.tables.transfer import TransferCell, TransferRow, TransferTable
from liere_cli.evaluation.conditions import grid_text
from liere_cli.report.numbers import NONE, Unit
from liere_cli.report.sections.verdict import verdict_numbers
from liere_cli.report.table import Column, Sheet


def transfer_sheets(table: TransferTable) -> list[Sheet]:
    """The scores, and the differences to the baseline where there is one."""
    whole = table.whole
    what = "lengths" if len(table.grids.trained) == 1 else "resolutions"
    title = f"{whole.title}: at other {what}"
    scores = Sheet(title, whole.modality, _scores(table), _score_notes(table))
    if whole.baseline is None:
        return [scores]
    against = f"{title}, minus {whole.baseline}"
    return [scores, Sheet(against, whole.modality, _differences(table), _verdict_notes(table))]


def _shown(table: TransferTable) -> list[TransferRow]:
    """Rows but those of extensions that an encoding does not have, which a note names."""
    return [row for row in table.rows if row.undefined is None or row.extend == "none"]


def _names(table: TransferTable) -> list[Column]:
    rows = _shown(table)
    names = [Column("encoding", tuple(row.encoding for row in rows), number=False)]
    if len(table.grids.methods) > 1:
        names.append(Column("extension", tuple(row.extend for row in rows), number=False))
    return names


def _columns(
    table: TransferTable, cell: Callable[[TransferRow, TransferCell], str]
) -> list[Column]:
    """One column a grid."""
    rows, grids = _shown(table), table.grids
    columns = []
    for place, grid in enumerate(grids.grids):
        mark = " (trained)" if grid == grids.trained else ""
        cells = [cell(row, row.cells[place]) if row.cells else "not defined" for row in rows]
        columns.append(Column(f"{grid_text(grid)}{mark}", tuple(cells)))
    return columns


def _scores(table: TransferTable) -> list[Column]:
    unit = Unit.of(table.whole)
    columns = _names(table) + _columns(table, lambda row, cell: score_text(cell, unit))
    if table.grids.shuffle:
        shuffled = [
            NONE if row.shuffled is None else score_text(row.shuffled, unit)
            for row in _shown(table)
        ]
        columns.append(Column("patches shuffled", tuple(shuffled)))
    return columns


def _differences(table: TransferTable) -> list[Column]:
    unit = Unit.of(table.whole)

    def cell(row: TransferRow, one: TransferCell) -> str:
        return "baseline" if row.is_baseline else difference_text(one, unit)

    return _names(table) + _columns(table, cell)


def score_text(cell: TransferCell, unit: Unit) -> str:
    """``31.2 [30.4, 32.0]``; with the number of seeds at which a loss was not finite."""
    count = len(cell.not_finite)
    lost = f"not finite at {count} seed{'' if count == 1 else 's'}" if count else ""
    if cell.mean is None:
        return lost or "no result"
    ends = ""
    if cell.low is not None and cell.high is not None:
        ends = f" [{unit.value(cell.low)}, {unit.value(cell.high)}]"
    return f"{unit.value(cell.mean)}{ends}" + (f", {lost}" if lost else "")


def difference_text(cell: TransferCell, unit: Unit) -> str:
    """``+1.2 [+0.4, +2.0] better``"""
    verdict = cell.verdict
    if verdict is None or verdict.estimate is None:
        return NONE
    estimate = verdict.estimate
    ends = "" if estimate.low is None else f" {unit.interval(estimate.low, estimate.high)}"
    return f"{unit.signed(estimate.difference)}{ends} {verdict.label or 'needs 2 seeds'}"


def _score_notes(table: TransferTable) -> list[str]:
    """What is scored, and how encodings serve other grids."""
    grids, unit = table.grids, Unit.of(table.whole)
    notes = [
        f"{unit.header} on the test split, trained at {grid_text(grids.trained)}, nothing trained "
        "again; mean over seeds with a 95% Student-t interval"
    ]
    if grids.block is not None:
        notes.append(
            f"every length predicts the same {table.count or 0:,} bytes: blocks of {grids.block}, "
            "each from the window of that length that ends with it, so that lengths differ by "
            "context alone" + _limited(table, "blocks")
        )
    else:
        notes.append(
            f"the same {table.count or 0:,} test items at every resolution, resized or drawn anew"
            + _limited(table, "items")
        )
    if len(grids.methods) > 1:
        # finished runs are compared without torch, and have no such table
        from liere_cli.encodings.extension import MEANINGS

        words = "; ".join(f"{method}: {MEANINGS[method]}" for method in grids.methods)
        notes.append(f"{words}. Where nothing grows, all are the same")
    notes += [
        f"{method} is not defined for {', '.join(names)}"
        for method in grids.methods
        if (names := [row.encoding for row in table.rows if _lacks(row, method)])
    ]
    if grids.shuffle:
        notes.append(
            "patches shuffled: the training grid with the patches of every item in a random order "
            "of its own, the same for all encodings: what needs no position is left"
        )
    return notes + _troubles(table)


def _lacks(row: TransferRow, method: str) -> bool:
    return row.extend == method != "none" and row.undefined is not None


def _limited(table: TransferTable, what: str) -> str:
    limit = table.grids.limit
    return "" if limit is None else f"; at most {limit:,} {what}, evenly spaced"


def _troubles(table: TransferTable) -> list[str]:
    """Encodings whose cells rest on fewer seeds than planned, and why."""
    notes = []
    for row in table.whole.rows:
        if row.planned and row.finished < row.planned:
            notes.append(f"{row.encoding}: {row.finished} of {row.planned} runs finished")
    notes += [f"{label} could not be measured: {why}" for label, why in table.errors.items()]
    return notes


def _verdict_notes(table: TransferTable) -> list[str]:
    baseline, count = table.whole.baseline, table.comparisons
    return [
        f"paired difference to {baseline} without extension on the same grid, with its 95% "
        f"interval; p, in JSON and CSV, is Holm-corrected over the {count} "
        f"comparison{'' if count == 1 else 's'} of all tables of this kind"
    ]


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
        "errors": dict(table.errors),
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
        "verdict": verdict.label if verdict else None,
    }
