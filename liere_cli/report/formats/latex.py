"""The tables in LaTeX with booktabs, one ``table`` environment per table."""

from collections.abc import Iterable

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.report import escape
from liere_cli.report.content import text_tables
from liere_cli.report.sections.answer import count_line, runs_line
from liere_cli.report.sections.method import method_notes
from liere_cli.report.table import TextTable

#: columns that are too wide for a page; CSV and JSON have them
_OMITTED = ("each seed",)
#: the most words of a caption
CAPTION_WORDS = 40


def latex(comparison: ComparisonTable) -> str:
    r"""Needs ``\usepackage{booktabs}``; remarks and the method are a note below each table."""
    comments = [comparison.signature, runs_line(comparison), count_line(comparison)]
    lines = [r"\usepackage{booktabs}", *(" ".join(escape.plain(line).split()) for line in comments)]
    head = "\n".join(f"% {line}" for line in lines)
    tables = text_tables(comparison)
    main = len(comparison.datasets)
    method = [count_line(comparison), *method_notes(comparison)]
    blocks = [_table(table, method if index < main else []) for index, table in enumerate(tables)]
    return "\n\n".join([head, *blocks]) + "\n"


def _table(table: TextTable, method: list[str]) -> str:
    shown = [column for column in table.columns if column.header not in _OMITTED]
    layout = "".join("r" if column.number else "l" for column in shown)
    rows = [_line(column.cells[index] for column in shown) for index in range(table.rows)]
    begin = [
        r"\begin{table}", r"\centering", r"\small", rf"\caption{{{escape.latex(_caption(table))}}}",
    ]  # fmt: skip
    header = _line(column.header for column in shown)
    head = [rf"\begin{{tabular}}{{{layout}}}", r"\toprule", header, r"\midrule"]
    note = " ".join(_sentence(note) for note in [*table.remarks, *table.details, *method])
    below = [r"\par\smallskip", rf"\parbox{{\linewidth}}{{\footnotesize {escape.latex(note)}}}"]
    end = [r"\bottomrule", r"\end{tabular}", *(below if note else []), r"\end{table}"]
    return "\n".join([*begin, *head, *rows, *end])


def _caption(table: TextTable) -> str:
    """What the table shows, in at most 40 words."""
    text = f"{table.name}: {table.score}" if table.score else table.name
    numbers = " Mean ± standard deviation over seeds; paired differences with corrected intervals."
    words = _sentence(text) + (numbers if table.score else "")
    return " ".join(words.split()[:CAPTION_WORDS])


def _sentence(note: str) -> str:
    return note if note.endswith(".") else f"{note}."


def _line(cells: Iterable[str]) -> str:
    # braces: a cell that begins with '[' would be taken for an option of the line break before it
    return " & ".join(f"{{{escape.latex(cell)}}}" for cell in cells) + r" \\"
