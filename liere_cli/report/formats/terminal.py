"""A comparison on a terminal: a compact table a data set, verdicts counted at the end.

How the numbers were made is shown on request: notes, standard errors, method, the full signature.
"""

from collections.abc import Iterable

from rich.cells import cell_len
from rich.console import Console, Group, OverflowMethod, RenderableType
from rich.padding import Padding
from rich.text import Text

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.report.content import further_tables
from liere_cli.report.formats.glyphs import Glyphs, glyphs_for
from liere_cli.report.formats.terminal_scores import INDENT, STYLES, score_lines
from liere_cli.report.formats.terminal_tables import table_parts
from liere_cli.report.sections.answer import (
    count_line,
    runs_line,
    short_signature,
    verdict_counts,
)
from liere_cli.report.sections.method import method_notes
from liere_cli.report.sections.scores import SCORES, score_columns
from liere_cli.report.table import Column, TextTable

_WARNING = "warning: "
#: between entries of the last line
_BETWEEN = " " * 6


def terminal(
    comparison: ComparisonTable,
    width: int,
    folded: bool = True,
    *,
    verbose: bool = False,
    encoding: str = "utf-8",
    closing: Iterable[str] = (),
) -> RenderableType:
    """All tables, for a terminal of that many columns.

    Args:
        folded: whether the signature is folded, or stays on one line, as in a file.
        verbose: with standard errors, notes, the method, and the full signature.
        encoding: of the terminal; one without lines and marks gets ASCII.
        closing: what follows the tables, as ``next: liere compare quick --until-settled``; on one
            line where it fits.
    """
    glyphs = glyphs_for(encoding)
    parts: list[RenderableType] = [_title(comparison, glyphs), Text()]
    for dataset in comparison.datasets:
        [table] = SCORES.tables(dataset)
        scores, columns = score_lines(table, dataset, width, glyphs), score_columns(dataset)
        parts += scores.lines
        if verbose and (further := [*scores.left_out, *columns.details]):
            parts += [Text(), *_indented([columns.encoding, *further], width, glyphs)]
        parts += [*_notes(table, width, verbose, glyphs), Text()]
    for table in further_tables(comparison):
        parts += [Text(glyphs.shown(table.name), "bold", overflow="fold")]
        parts += [
            *_indented(table.columns, width, glyphs),
            *_notes(table, width, verbose, glyphs),
            Text(),
        ]
    if verbose:
        for note in method_notes(comparison):
            parts += _note(note, width, glyphs, "dim")
        parts.append(Text())
    return Group(*parts, *_end(comparison, width, folded, verbose, glyphs, list(closing)))


def _title(comparison: ComparisonTable, glyphs: Glyphs) -> Text:
    name = Text(glyphs.shown(comparison.experiment), "bold")
    gap = "  " if comparison.experiment else ""
    return Text.assemble(name, gap, glyphs.shown(runs_line(comparison)), overflow="fold")


def _indented(columns: list[Column], width: int, glyphs: Glyphs) -> list[RenderableType]:
    indent = len(INDENT)
    parts = table_parts(columns, width - indent, glyphs)
    return [Padding(part, (0, 0, 0, indent), expand=False) for part in parts]


def _notes(table: TextTable, width: int, verbose: bool, glyphs: Glyphs) -> list[Text]:
    notes = [line for remark in table.remarks for line in _note(remark, width, glyphs)]
    if verbose:
        notes += [line for note in table.details for line in _note(note, width, glyphs, "dim")]
    return notes


def _note(text: str, width: int, glyphs: Glyphs, style: str = "") -> list[Text]:
    """Lines whose continuation is indented; a warning has a mark of its own."""
    note = Text(glyphs.shown(text), style, overflow="fold")
    warning = text.startswith(_WARNING)
    if warning:
        note.stylize("bold magenta", 0, len(_WARNING) - 1)
    mark = f"{INDENT}{'!' if warning else glyphs.bullet} "
    lines: list[Text] = []
    for line in note.wrap(Console(width=width), max(width - len(mark), 1)):
        line.rstrip()
        lines.append(Text.assemble(" " * len(mark) if lines else mark, line))
    return lines


def _end(
    comparison: ComparisonTable,
    width: int,
    folded: bool,
    verbose: bool,
    glyphs: Glyphs,
    closing: list[str],
) -> list[RenderableType]:
    """The verdict count, the signature, and what follows."""
    count = Text(glyphs.shown(count_line(comparison)), overflow="fold")
    start = 0
    for label, number in verdict_counts(comparison).items():
        text = f"{number} {label}"
        start = count.plain.index(text, start)
        count.stylize(f"bold {STYLES.get(label, '')}".strip(), start, start + len(text))
    full = verbose and not folded
    overflow: OverflowMethod = "ignore" if full else "fold"
    signature = comparison.signature if verbose else short_signature(comparison)
    parts: list[RenderableType] = [
        count,
        Text(glyphs.shown(signature), "dim", overflow=overflow, no_wrap=full),
    ]
    lines: list[str] = []
    for entry in map(glyphs.shown, closing):
        if lines and cell_len(lines[-1]) + len(_BETWEEN) + cell_len(entry) <= width:
            lines[-1] += _BETWEEN + entry
        else:
            lines.append(entry)
    # a command is copied, so it is not broken into lines
    return parts + [Text(line, overflow="ignore", no_wrap=True) for line in lines]
