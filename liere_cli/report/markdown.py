"""The tables in Markdown, each with its footer, to be pasted as they are."""

from collections.abc import Iterable

from liere_cli.comparison.table import ArmTable, ComparisonTable
from liere_cli.report import words
from liere_cli.report.escape import markdown as escape
from liere_cli.report.sheet import columns


def markdown(table: ComparisonTable) -> str:
    """The summary, then every table with what is compared and how it was judged."""
    title = f"## {escape(table.experiment)}\n" if table.experiment else "## Comparison\n"
    summary = "\n".join(f"- {escape(line)}" for line in words.summary_lines(table))
    notes = [*words.method_notes(table)]
    parts = [title, summary, *(_arm(arm) for arm in table.arms), _bullets(notes)]
    return "\n\n".join(part.strip() for part in parts) + f"\n\n`{_code(table.signature)}`\n"


def _arm(arm: ArmTable) -> str:
    shown = columns(arm)
    header = _line(column.header for column in shown)
    rule = "|" + "|".join(" ---: " if column.number else " :--- " for column in shown) + "|"
    rows = [_line(column.cells[index] for column in shown) for index in range(len(arm.rows))]
    heading = f"### {escape(arm.title)} ({escape(arm.modality)})"
    return "\n".join([heading, "", header, rule, *rows, "", _bullets(words.arm_notes(arm))])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(escape(cell) for cell in cells) + " |"


def _bullets(notes: Iterable[str]) -> str:
    return "\n".join(f"- {escape(note)}" for note in notes)


def _code(text: str) -> str:
    """For a code span, which knows no escapes."""
    return " ".join(text.replace("`", "'").split())
