"""A page that lists several comparisons with their answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from liere_cli import __version__
from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.errors import counted
from liere_cli.report.escape import plain
from liere_cli.report.html.answer import Answer, Count, answers, correction, verdict_counts
from liere_cli.report.html.render import render
from liere_cli.report.html.view import Names, Plot, plot_of
from liere_cli.report.plots.colours import styles
from liere_cli.report.plots.comparison import differences


@dataclass(frozen=True)
class Entry:
    """A comparison, its name, and the path of its report relative to the index."""

    table: ComparisonTable
    name: str
    path: str


@dataclass(frozen=True)
class _Card:
    """What the index shows of one comparison."""

    name: str
    address: str
    line: str
    counts: list[Count]
    correction: str
    answers: list[Answer]
    plots: list[Plot]


def index_page(entries: Sequence[Entry]) -> str:
    """One HTML file with links to the reports; an encoding has one colour in all plots."""
    names = Names()
    by_name = styles(
        row.encoding
        for entry in entries
        for dataset in entry.table.datasets
        for row in dataset.rows
    )
    cards = []
    for entry in entries:
        table = entry.table
        figures = [(dataset.title, differences(dataset, by_name)) for dataset in table.datasets]
        runs = [row for dataset in table.datasets for row in dataset.rows]
        finished, planned = sum(row.finished for row in runs), sum(row.planned for row in runs)
        cards.append(
            _Card(
                name=plain(table.experiment or entry.name),
                address=quote(entry.path),
                line=f"{finished}/{counted(planned, 'run')} finished, "
                f"{counted(len(table.datasets), 'data set')}",
                counts=verdict_counts(table),
                correction=correction(table),
                answers=answers(table),
                plots=[plot_of(figure, names, title=title) for title, figure in figures if figure],
            )
        )
    return render("index.html.j2", title="Comparisons", cards=cards, version=__version__)
