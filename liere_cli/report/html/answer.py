"""The answer of a comparison: its verdicts, before everything else."""

from collections import Counter
from dataclasses import dataclass

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.comparison.tables.table import DatasetTable, Row
from liere_cli.errors import counted
from liere_cli.report.escape import plain
from liere_cli.report.html.view import VERDICTS
from liere_cli.report.numbers import Unit
from liere_cli.report.sections.interaction import interaction_sentence
from liere_cli.report.sections.ranking import ranking_sentence
from liere_cli.report.sections.verdict import failures, verdict_label


@dataclass(frozen=True)
class Count:
    """How many comparisons have a verdict."""

    number: int
    label: str
    style: str
    mark: str


@dataclass(frozen=True)
class Finding:
    """One comparison in the answer: its verdict and its numbers."""

    encoding: str
    label: str
    style: str
    mark: str
    text: str


@dataclass(frozen=True)
class Answer:
    """The verdicts of one data set, or a sentence."""

    name: str
    line: str
    findings: list[Finding]


def correction(table: ComparisonTable) -> str:
    """``Holm over 8 comparisons, 5%``"""
    comparisons = counted(table.comparisons, "comparison")
    return f"{table.correction} over {comparisons}, {table.alpha:.0%}"


def answers(table: ComparisonTable) -> list[Answer]:
    """The verdicts of each data set, and a sentence for each interaction."""
    by_dataset = [
        Answer(
            plain(f"{dataset.modality} · {dataset.title}"),
            plain(f"against {dataset.baseline}" if dataset.baseline else "no baseline"),
            [_finding(dataset, row) for row in dataset.rows if not row.is_baseline],
        )
        for dataset in table.datasets
    ]
    across = [
        *map(ranking_sentence, table.rankings),
        *map(interaction_sentence, table.interactions),
    ]
    sentences = [plain(sentence).partition(": ") for sentence in across]
    return by_dataset + [Answer(name, sentence, []) for name, _, sentence in sentences]


def _finding(dataset: DatasetTable, row: Row) -> Finding:
    """``better  liere  +12.9 points [+12.4, +13.5]``"""
    unit, label = Unit.of(dataset), verdict_label(dataset, row)
    style, mark = VERDICTS.get(label, ("open", ""))
    reason = failures(row) or ""
    if row.estimate is None:
        return Finding(plain(row.encoding), plain(label), style, mark, plain(reason))
    parts = [f"{unit.signed(row.estimate.difference)} {unit.difference}"]
    if row.verdict is not None and row.verdict.low is not None:
        parts.append(unit.interval(row.verdict.low, row.verdict.high))
    text = " ".join(parts) + (f", {reason}" if reason else "")
    return Finding(plain(row.encoding), plain(label), style, mark, plain(text))


def verdict_counts(table: ComparisonTable) -> list[Count]:
    """How many comparisons of the main tables have each verdict, in a fixed order."""
    labels: Counter[str] = Counter(
        (row.verdict.label if row.verdict else None) or "no verdict"
        for dataset in table.datasets
        for row in dataset.rows
        if dataset.compares(row)
    )
    order = ["better", "worse", "equivalent", "undecided"]
    order += sorted(label for label in labels if label not in order)
    return [
        Count(labels[label], label, *VERDICTS.get(label, ("open", "–")))  # noqa: RUF001
        for label in order
        if labels[label]
    ]
