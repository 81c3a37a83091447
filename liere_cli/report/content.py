"""What a report of a comparison contains; every format shows these sections in this order."""

from itertools import chain

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.comparison.tables.table import DatasetTable
from liere_cli.report.sections.base import Section, fields_of
from liere_cli.report.sections.efficiency import EFFICIENCY
from liere_cli.report.sections.fractions import FRACTIONS
from liere_cli.report.sections.interaction import INTERACTIONS, interaction_sentence
from liere_cli.report.sections.ranking import RANKINGS, ranking_sentence
from liere_cli.report.sections.scores import SCORES
from liere_cli.report.sections.transfer import TRANSFERS
from liere_cli.report.sections.tuning import TUNING
from liere_cli.report.sections.verdict import verdict_sentence
from liere_cli.report.table import TextTable

#: every section: those of one data set, repeated for each, then those over several data sets
DATASET_SECTIONS: tuple[Section[DatasetTable], ...] = (SCORES, TUNING, EFFICIENCY)
COMPARISON_SECTIONS: tuple[Section[ComparisonTable], ...] = (
    RANKINGS, FRACTIONS, TRANSFERS, INTERACTIONS,
)  # fmt: skip


def text_tables(comparison: ComparisonTable) -> list[TextTable]:
    """The main table of each data set, then those of further analyses."""
    main = chain.from_iterable(map(SCORES.tables, comparison.datasets))
    return [*main, *further_tables(comparison)]


def further_tables(comparison: ComparisonTable) -> list[TextTable]:
    """Tables of the analyses that the recipe asks for, data set by data set."""
    of_datasets = [
        section.tables(dataset)
        for dataset in comparison.datasets
        for section in DATASET_SECTIONS
        if section is not SCORES
    ]
    return list(chain(*of_datasets, *(part.tables(comparison) for part in COMPARISON_SECTIONS)))


def summary_lines(comparison: ComparisonTable) -> list[str]:
    """A line per data set, as ``images · pointing: liere beats axial by ...``, and interaction."""
    return [
        *map(verdict_sentence, comparison.datasets),
        *map(ranking_sentence, comparison.rankings),
        *map(interaction_sentence, comparison.interactions),
    ]


def report_data(comparison: ComparisonTable) -> dict[str, object]:
    """The content of the JSON format: all numbers, those of each seed among them."""
    tables = [
        fields_of(dataset, omit=("rows", "efficiency"))
        | {section.key: section.data(dataset) for section in DATASET_SECTIONS}
        for dataset in comparison.datasets
    ]
    own = ("experiment", "signature", "alpha", "correction", "comparisons")
    return {
        **{name: getattr(comparison, name) for name in own},
        "earlier_tables": comparison.looks.tables,
        "interim_analyses": list(comparison.interim.sizes) if comparison.interim else None,
        "summary": summary_lines(comparison),
        "tables": tables,
    } | {section.key: section.data(comparison) for section in COMPARISON_SECTIONS}
