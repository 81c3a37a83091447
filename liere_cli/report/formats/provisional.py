"""Scores and differences of a comparison that is still running; it has no verdicts."""

from dataclasses import replace

from rich.console import Group
from rich.text import Text

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.comparison.tables.table import DatasetTable, Row
from liere_cli.report.formats.glyphs import glyphs_for
from liere_cli.report.formats.terminal_scores import score_lines
from liere_cli.report.sections.scores import SCORES

#: shared seeds from which on a difference has an interval
FEWEST_SEEDS = 2


def provisional(comparison: ComparisonTable, width: int, encoding: str = "utf-8") -> Group | None:
    """Data sets on which some encoding shares two seeds with the baseline; None without any.

    Intervals are those of single differences at 95%, which no correction widens.
    """
    glyphs = glyphs_for(encoding)
    rows = [row for dataset in comparison.datasets for row in dataset.rows]
    over, planned = sum(row.over for row in rows), sum(row.planned for row in rows)
    title = f"provisional, after {over} of {planned} runs: no verdicts yet, intervals uncorrected"
    lines = [Text(title, "bold", overflow="fold")]
    for dataset in comparison.datasets:
        if any(row.estimate and row.estimate.n >= FEWEST_SEEDS for row in dataset.rows):
            [table] = SCORES.tables(dataset)
            uncorrected = replace(dataset, rows=tuple(map(_uncorrected, dataset.rows)))
            labels = [_seeds(dataset, row) for row in dataset.rows]
            lines += score_lines(table, uncorrected, width, glyphs, labels).lines
    return Group(*lines) if len(lines) > 1 else None


def _uncorrected(row: Row) -> Row:
    """The row with the interval of its difference alone, and without a verdict."""
    if row.verdict is None or row.estimate is None:
        return row
    low, high = row.estimate.low, row.estimate.high
    return replace(row, verdict=replace(row.verdict, low=low, high=high, label=None))


def _seeds(dataset: DatasetTable, row: Row) -> str:
    """``2 of 5 seeds``"""
    if row.undefined is not None:
        return "not defined"
    seeds = f"{row.finished} of {row.planned} seeds"
    return f"baseline, {seeds}" if row.is_baseline and dataset.baseline else seeds
