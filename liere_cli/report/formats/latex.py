"""The tables in LaTeX with booktabs, one ``table`` environment a data set."""

from collections.abc import Iterable

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.report.content import sheets
from liere_cli.report.escape import latex as escape
from liere_cli.report.escape import plain
from liere_cli.report.sections import scores as words
from liere_cli.report.table import Sheet

#: the per-seed values stay in CSV and JSON: a page is narrow
_LEFT_OUT = "each seed"


def latex(table: ComparisonTable) -> str:
    r"""Needs ``\usepackage{booktabs}``; captions hold what is compared and how it was judged."""
    head = "% \\usepackage{booktabs}\n% " + " ".join(plain(table.signature).split())
    return "\n\n".join([head, *(_sheet(sheet, table) for sheet in sheets(table))]) + "\n"


def _sheet(sheet: Sheet, table: ComparisonTable) -> str:
    shown = [column for column in sheet.columns if column.header != _LEFT_OUT]
    layout = "".join("r" if column.number else "l" for column in shown)
    rows = [_line(column.cells[index] for column in shown) for index in range(sheet.rows)]
    notes = [*sheet.notes, *words.method_notes(table)]
    caption = " ".join(_sentence(note) for note in [f"{sheet.title} ({sheet.kind})", *notes])
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            r"\small",
            rf"\caption{{{escape(caption)}}}",
            rf"\begin{{tabular}}{{{layout}}}",
            r"\toprule",
            _line(column.header for column in shown),
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _line(cells: Iterable[str]) -> str:
    # braces: a cell that begins with '[' would be taken for an option of the line break before it
    return " & ".join(f"{{{escape(cell)}}}" for cell in cells) + r" \\"


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
