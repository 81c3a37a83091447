"""The tables in Markdown, each with its footer, to be pasted as they are."""

from collections.abc import Iterable

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.report.content import sheets
from liere_cli.report.escape import markdown as escape
from liere_cli.report.escape import plain
from liere_cli.report.sections import scores as words
from liere_cli.report.table import Sheet


def markdown(table: ComparisonTable) -> str:
    """The summary, then every table with what is compared and how it was judged."""
    title = f"## {escape(table.experiment)}\n" if table.experiment else "## Comparison\n"
    summary = "\n".join(f"- {escape(line)}" for line in words.summary_lines(table))
    notes = [*words.method_notes(table)]
    parts = [title, summary, *map(_sheet, sheets(table)), _bullets(notes)]
    return "\n\n".join(part.strip() for part in parts) + f"\n\n`{_code(table.signature)}`\n"


def _sheet(sheet: Sheet) -> str:
    header = _line(column.header for column in sheet.columns)
    rule = "|" + "|".join(" ---: " if column.number else " :--- " for column in sheet.columns) + "|"
    rows = [_line(column.cells[index] for column in sheet.columns) for index in range(sheet.rows)]
    heading = f"### {escape(sheet.title)} ({escape(sheet.kind)})"
    return "\n".join([heading, "", header, rule, *rows, "", _bullets(sheet.notes)])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(escape(cell) for cell in cells) + " |"


def _bullets(notes: Iterable[str]) -> str:
    return "\n".join(f"- {escape(note)}" for note in notes)


def _code(text: str) -> str:
    """For a code span, which knows no escapes."""
    return " ".join(plain(text).replace("`", "'").split())
