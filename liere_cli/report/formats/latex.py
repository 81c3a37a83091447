"""The tables in LaTeX with booktabs, one ``table`` environment per table."""

from collections.abc import Iterable

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.report import escape
from liere_cli.report.content import text_tables
from liere_cli.report.sections.method import method_notes
from liere_cli.report.table import TextTable

#: columns that are too wide for a page; CSV and JSON have them
_OMITTED = ("each seed",)


def latex(comparison: ComparisonTable) -> str:
    r"""Needs ``\usepackage{booktabs}``; captions hold the notes, those on the method too."""
    head = "% \\usepackage{booktabs}\n% " + " ".join(escape.plain(comparison.signature).split())
    method = method_notes(comparison)
    tables = [_table(table, method) for table in text_tables(comparison)]
    return "\n\n".join([head, *tables]) + "\n"


def _table(table: TextTable, method: list[str]) -> str:
    shown = [column for column in table.columns if column.header not in _OMITTED]
    layout = "".join("r" if column.number else "l" for column in shown)
    rows = [_line(column.cells[index] for column in shown) for index in range(table.rows)]
    title = f"{table.title} ({table.kind})" if table.kind else table.title
    notes = [title, *table.notes, *method]
    caption = " ".join(note if note.endswith(".") else f"{note}." for note in notes)
    begin = [r"\begin{table}", r"\centering", r"\small", rf"\caption{{{escape.latex(caption)}}}"]
    header = _line(column.header for column in shown)
    head = [rf"\begin{{tabular}}{{{layout}}}", r"\toprule", header, r"\midrule"]
    end = [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join([*begin, *head, *rows, *end])


def _line(cells: Iterable[str]) -> str:
    # braces: a cell that begins with '[' would be taken for an option of the line break before it
    return " & ".join(f"{{{escape.latex(cell)}}}" for cell in cells) + r" \\"
