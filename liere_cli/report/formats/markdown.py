"""The tables in Markdown, in the order of a terminal's, with all notes."""

from collections.abc import Iterable

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.report import escape
from liere_cli.report.content import text_tables
from liere_cli.report.sections.answer import count_line, runs_line
from liere_cli.report.sections.method import method_notes
from liere_cli.report.table import TextTable


def markdown(comparison: ComparisonTable) -> str:
    """Tables with their remarks, the verdict count, then notes on the method, and the signature."""
    tables = text_tables(comparison)
    parts = [
        f"## {escape.markdown(comparison.experiment or 'Comparison')}",
        escape.markdown(runs_line(comparison)),
        *map(_table, tables),
        f"**{escape.markdown(count_line(comparison))}**",
        _details(comparison, tables),
    ]
    # a code span has no escapes
    signature = " ".join(escape.plain(comparison.signature).replace("`", "'").split())
    return "\n\n".join(part.strip() for part in parts if part) + f"\n\n`{signature}`\n"


def _table(table: TextTable) -> str:
    header = _line(column.header for column in table.columns)
    rule = "|" + "|".join(" ---: " if column.number else " :--- " for column in table.columns) + "|"
    rows = [_line(column.cells[index] for column in table.columns) for index in range(table.rows)]
    parts = [f"### {escape.markdown(table.name)}", ""]
    if table.score:
        parts += [escape.markdown(table.score), ""]
    return "\n".join([*parts, header, rule, *rows, "", _bullets(table.remarks)])


def _details(comparison: ComparisonTable, tables: list[TextTable]) -> str:
    details = [f"{table.name}: {note}" for table in tables for note in table.details]
    return f"### Notes\n\n{_bullets([*details, *method_notes(comparison)])}"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(escape.markdown(cell) for cell in cells) + " |"


def _bullets(notes: Iterable[str]) -> str:
    return "\n".join(f"- {escape.markdown(note)}" for note in notes)
