"""The tables in Markdown, each with its notes."""

from collections.abc import Iterable

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.report import escape
from liere_cli.report.content import summary_lines, text_tables
from liere_cli.report.sections.method import method_notes
from liere_cli.report.table import TextTable


def markdown(comparison: ComparisonTable) -> str:
    """The summary, every table with its notes, the notes on the method, and the signature."""
    title = f"## {escape.markdown(comparison.experiment or 'Comparison')}"
    tables = map(_table, text_tables(comparison))
    parts = [
        title, _bullets(summary_lines(comparison)), *tables, _bullets(method_notes(comparison)),
    ]  # fmt: skip
    # a code span has no escapes
    signature = " ".join(escape.plain(comparison.signature).replace("`", "'").split())
    return "\n\n".join(part.strip() for part in parts) + f"\n\n`{signature}`\n"


def _table(table: TextTable) -> str:
    header = _line(column.header for column in table.columns)
    rule = "|" + "|".join(" ---: " if column.number else " :--- " for column in table.columns) + "|"
    rows = [_line(column.cells[index] for column in table.columns) for index in range(table.rows)]
    kind = f" ({escape.markdown(table.kind)})" if table.kind else ""
    heading = f"### {escape.markdown(table.title)}{kind}"
    return "\n".join([heading, "", header, rule, *rows, "", _bullets(table.notes)])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(escape.markdown(cell) for cell in cells) + " |"


def _bullets(notes: Iterable[str]) -> str:
    return "\n".join(f"- {escape.markdown(note)}" for note in notes)
