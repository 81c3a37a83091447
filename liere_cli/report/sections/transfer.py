"""Scores at other lengths and resolutions, and their differences to the baseline."""

from collections.abc import Callable

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.comparison.tables.transfer import TransferCell, TransferRow, TransferTable
from liere_cli.errors import counted
from liere_cli.evaluation.conditions import grid_text
from liere_cli.report.numbers import NONE, Unit
from liere_cli.report.sections.base import Section, fields_of
from liere_cli.report.sections.verdict import verdict_data
from liere_cli.report.table import Column, Columns, TextTable
from liere_cli.statistics.verdicts import MIN_SEEDS


def _tables(comparison: ComparisonTable) -> list[TextTable]:
    """For each data set its scores, and the differences to the baseline where there is one."""
    tables = []
    for table in comparison.transfers:
        whole = table.whole
        axis = "lengths" if len(table.grids.trained) == 1 else "resolutions"
        title = f"{whole.title}: at other {axis}"
        notes, remarks = _score_notes(table), _remarks(table)
        tables.append(TextTable(title, whole.modality, _scores(table), notes, remarks))
        if whole.baseline is not None:
            title += f", minus {whole.baseline}"
            note = (
                f"Paired difference to {whole.baseline} without extension on the same grid, with "
                "an interval of the same correction as the verdict: over the "
                f"{counted(table.comparisons, 'comparison')} of all tables of this kind, 5% of the "
                "differences found are wrong at most on average (Benjamini-Hochberg)."
            )
            tables.append(TextTable(title, whole.modality, _differences(table), [note]))
    return tables


def _shown(table: TransferTable) -> list[TransferRow]:
    """All rows but those of extensions that an encoding does not have, which a note names."""
    return [row for row in table.rows if row.undefined is None or row.extend == "none"]


def _columns(
    table: TransferTable, cell_text: Callable[[TransferRow, TransferCell], str]
) -> list[Column]:
    """The names of the rows, and one column per grid."""
    column, grids = Columns(_shown(table)), table.grids
    columns = [column.text("encoding", lambda row: row.encoding)]
    if len(grids.methods) > 1:
        columns.append(column.text("extension", lambda row: row.extend))

    def cell(index: int) -> Callable[[TransferRow], str]:
        return lambda row: cell_text(row, row.cells[index]) if row.cells else "not defined"

    for index, grid in enumerate(grids.grids):
        mark = " (trained)" if grid == grids.trained else ""
        columns.append(column.number(f"{grid_text(grid)}{mark}", cell(index)))
    return columns


def _scores(table: TransferTable) -> list[Column]:
    unit = Unit.of(table.whole)
    columns = _columns(table, lambda row, cell: _score_text(cell, unit))
    if table.grids.shuffle:
        columns.append(
            Columns(_shown(table)).number(
                "patches shuffled",
                lambda row: _score_text(row.shuffled, unit) if row.shuffled else NONE,
            )
        )
    return columns


def _differences(table: TransferTable) -> list[Column]:
    unit = Unit.of(table.whole)
    return _columns(
        table, lambda row, cell: "baseline" if row.is_baseline else _difference_text(cell, unit)
    )


def _score_text(cell: TransferCell, unit: Unit) -> str:
    """``31.2 [30.4, 32.0]``; with the number of seeds at which a loss was not finite."""
    lost = f"not finite at {counted(len(cell.not_finite), 'seed')}" if cell.not_finite else ""
    if cell.mean is None:
        return lost or "no result"
    ends = ""
    if cell.low is not None and cell.high is not None:
        ends = f" [{unit.value(cell.low)}, {unit.value(cell.high)}]"
    return f"{unit.value(cell.mean)}{ends}" + (f", {lost}" if lost else "")


def _difference_text(cell: TransferCell, unit: Unit) -> str:
    """``+1.2 [+0.4, +2.0] better``"""
    verdict = cell.verdict
    if verdict is None or verdict.estimate is None:
        return NONE
    estimate = verdict.estimate
    ends = "" if verdict.low is None else f" {unit.interval(verdict.low, verdict.high)}"
    label = verdict.label or f"needs {MIN_SEEDS} seeds"
    return f"{unit.signed(estimate.difference)}{ends} {label}"


def _score_notes(table: TransferTable) -> list[str]:
    """What is scored, and how encodings are extended to other grids."""
    grids, unit = table.grids, Unit.of(table.whole)
    items = "items" if grids.block is None else "blocks"
    limit = "" if grids.limit is None else f"; at most {grids.limit:,} {items}, evenly spaced"
    if grids.block is not None:
        same = (
            f"All lengths predict the same {table.count or 0:,} bytes: blocks of {grids.block}, "
            "each at the end of a window of that length, so lengths differ in context only"
        )
    else:
        same = (
            f"All resolutions score the same {table.count or 0:,} test items, resized or rendered "
            "again"
        )
    notes = [
        f"{unit.header} on the test split of models trained at {grid_text(grids.trained)}, without "
        "further training; mean over seeds with a 95% Student-t interval.",
        same + limit,
    ]
    if len(grids.methods) > 1:
        # loads torch, which a comparison without extensions does not need
        from liere_cli.encodings.extension import MEANINGS

        meanings = "; ".join(f"{method}: {MEANINGS[method]}" for method in grids.methods)
        notes.append(f"{meanings}. On grids that are not larger, all extensions are the same.")
    notes += [
        f"{method} is not defined for {', '.join(names)}"
        for method in grids.methods
        if (names := [row.encoding for row in table.rows if row.undefined and row.extend == method])
        and method != "none"
    ]
    if grids.shuffle:
        notes.append(
            "patches shuffled: the training grid with the patches of each item in random order, "
            "the same order for all encodings: the score that does not depend on position."
        )
    return notes


def _remarks(table: TransferTable) -> list[str]:
    """Runs without a score, and those that could not be evaluated."""
    unfinished = [
        f"{row.encoding}: {row.finished} of {row.planned} runs finished"
        for row in table.whole.rows
        if row.finished < row.planned
    ]
    return unfinished + [
        f"{label} could not be measured: {error}" for label, error in table.errors.items()
    ]


def _table_data(table: TransferTable) -> dict[str, object]:
    grids = table.grids
    return {
        "data": table.whole.title,
        "metric": table.whole.metric,
        "baseline": table.whole.baseline,
        "trained": grid_text(grids.trained),
        "grids": [grid_text(grid) for grid in grids.grids],
        "extensions": grids.methods,
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
                "cells": [_cell_data(cell) for cell in row.cells],
                "shuffled": _cell_data(row.shuffled) if row.shuffled else None,
            }
            for row in table.rows
        ],
    }


def _cell_data(cell: TransferCell) -> dict[str, object]:
    return {
        "grid": grid_text(cell.condition.grid),
        "shuffled": cell.condition.shuffle,
        **fields_of(cell, omit=("condition", "low", "high", "verdict")),
        "mean_low": cell.low,
        "mean_high": cell.high,
        **verdict_data(cell.verdict),
    }


TRANSFERS = Section(
    "transfers", _tables, lambda comparison: [*map(_table_data, comparison.transfers)]
)
