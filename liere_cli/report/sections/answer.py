"""The lines around the tables: what was run, how many verdicts of each kind, the signature."""

from collections import Counter

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.comparison.tables.table import Row
from liere_cli.errors import counted
from liere_cli.report.numbers import duration

_LABELS = ("better", "worse", "equivalent", "undecided")


def runs_line(comparison: ComparisonTable) -> str:
    """``55/55 runs · 5 seeds · 2m 03s of training``"""
    rows = _rows(comparison)
    finished = sum(row.finished for row in rows)
    parts = [f"{finished}/{counted(sum(row.planned for row in rows), 'run')}", seeds_text(rows)]
    times = [row.seconds * row.finished for row in rows if row.seconds is not None]
    if times:
        parts.append(f"{duration(sum(times))} of training")
    return " · ".join(part for part in parts if part)


def seeds_text(rows: list[Row]) -> str:
    """``5 seeds``, or ``3 to 5 seeds`` where rows have different numbers."""
    numbers = [row.planned for row in rows if row.planned]
    if not numbers:
        return ""
    fewest, most = min(numbers), max(numbers)
    return counted(most, "seed") if fewest == most else f"{fewest} to {most} seeds"


def count_line(comparison: ComparisonTable) -> str:
    """``1 better · 3 worse · 4 undecided (Holm over 8 comparisons, 5%)``"""
    counts = verdict_counts(comparison)
    if not counts:
        return "no comparisons, so no verdicts"
    text = " · ".join(f"{number} {label}" for label, number in counts.items())
    if not comparison.comparisons:
        return text
    over = counted(comparison.comparisons, "comparison")
    if comparison.looks.tables:
        over += f" and {counted(comparison.looks.tables, 'earlier table')}"
    return f"{text} ({comparison.correction} over {over}, {comparison.alpha:.0%})"


def verdict_counts(comparison: ComparisonTable) -> dict[str, int]:
    """How many comparisons of the main tables have each verdict, in a fixed order."""
    counts: Counter[str] = Counter(
        (row.verdict.label if row.verdict else None) or "without verdict"
        for dataset in comparison.datasets
        for row in dataset.rows
        if dataset.compares(row)
    )
    order = [*_LABELS, *(label for label in counts if label not in _LABELS)]
    return {label: counts[label] for label in order if counts[label]}


def short_signature(comparison: ComparisonTable) -> str:
    """What identifies the runs, how many seeds, test and version: ``quick@7d23|seeds:5|...``."""
    parts = [part.partition(":") for part in comparison.signature.split("|")]
    values = {key: value for key, _, value in parts}
    names = [values[key] for key in ("recipe", "runs", "scores") if key in values]
    if "seeds" in values:
        names.append(f"seeds:{len(values['seeds'].split(','))}")
    names += [f"{key}:{values[key]}" for key in ("p", "liere") if key in values]
    return "|".join(names)


def _rows(comparison: ComparisonTable) -> list[Row]:
    return [row for dataset in comparison.datasets for row in dataset.rows]
