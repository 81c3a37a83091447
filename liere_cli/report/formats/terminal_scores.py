"""The main table of a data set on a terminal: one line an encoding, verdicts at its end.

Wide terminals get more columns. Where a line is too narrow for a row, the row has two lines, or a
line for each of its parts.
"""

from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.text import Text

from liere_cli.comparison.tables.table import DatasetTable
from liere_cli.report.formats.glyphs import Glyphs
from liere_cli.report.formats.interval_bar import Scale
from liere_cli.report.numbers import NONE
from liere_cli.report.sections.scores import score_columns
from liere_cli.report.table import Column, TextTable

#: colours that can be read on light and on dark; the mark and the word say the same
STYLES = {
    "better": "bold green",
    "worse": "bold red",
    "equivalent": "magenta",
    "larger": "bold green",
    "smaller": "bold red",
}
INDENT = "  "
#: characters of an interval's bar: the fewest, those before further columns, the most
_BARS = (9, 15, 31)
_GAP = 2
#: the least space for a name beside its numbers
_SHORTEST = 4


@dataclass(frozen=True)
class _Further:
    """A further column, its header above its cells."""

    column: Column
    header: str
    cells: list[str]

    @property
    def width(self) -> int:
        return max(cell_len(self.header), _width(self.cells))

    def padded(self, text: str) -> str:
        return " " * _GAP + _pad(text, self.width, self.column.number)


@dataclass(frozen=True)
class _Cells:
    """A data set's cells as they are shown, each column of one width.

    Args:
        differences: with their intervals.
        verdicts: with their marks.
    """

    names: list[str]
    scores: list[str]
    differences: list[str]
    labels: list[str]
    verdicts: list[str]
    further: list[_Further]


@dataclass(frozen=True)
class ScoreLines:
    """Heading and rows of a main table, and the columns that they have no space for."""

    lines: list[Text]
    left_out: list[Column]


def score_lines(
    table: TextTable,
    dataset: DatasetTable,
    width: int,
    glyphs: Glyphs,
    labels: list[str] | None = None,
) -> ScoreLines:
    """A main table whose lines are at most ``width`` wide, down to the width of a number.

    ``labels`` are shown in the place of verdicts, where there are none yet.
    """
    cells = _cells(dataset, glyphs, labels)
    answer = _GAP * 3 + sum(map(_width, (cells.scores, cells.differences, cells.verdicts)))
    bar = _GAP + _BARS[0] if Scale.of(dataset, _BARS[0]) else 0
    # longer names have a line of their own
    longest = width - len(INDENT) - answer - bar
    if any(_SHORTEST <= longest >= cell_len(name) for name in cells.names):
        return _in_one_line(table, dataset, width, glyphs, cells, longest)
    numbers = 2 * len(INDENT) + _GAP + _width(cells.scores) + _width(cells.differences)
    if numbers <= width and len(INDENT) + _GAP + _width(cells.verdicts) < width:
        lines = _in_two_lines(table, dataset, width, glyphs, cells)
    else:
        lines = _in_blocks(table, dataset, glyphs, cells)
    return ScoreLines(lines, [further.column for further in cells.further])


def _cells(dataset: DatasetTable, glyphs: Glyphs, labels: list[str] | None) -> _Cells:
    columns = score_columns(dataset)
    further = [
        _Further(column, glyphs.shown(column.header), _shown(column, glyphs))
        for column in columns.further
        # the heading and remarks name the seeds where all rows have the same number
        if column.header != "seeds" or len(set(column.cells) - {NONE}) > 1
    ]
    labels = labels or list(columns.verdict.cells)
    verdicts = [f"{glyphs.marks.get(label, ' ')} {glyphs.shown(label)}" for label in labels]
    differences = _justified(_blank(columns.difference, glyphs), right=True)
    intervals = _justified(_blank(columns.interval, glyphs), right=True)
    return _Cells(
        _shown(columns.encoding, glyphs),
        _aligned(columns.score, glyphs),
        [f"{first} {second}" for first, second in zip(differences, intervals, strict=True)],
        labels,
        _justified(verdicts),
        further,
    )


def _in_one_line(
    table: TextTable,
    dataset: DatasetTable,
    width: int,
    glyphs: Glyphs,
    cells: _Cells,
    longest: int,
) -> ScoreLines:
    names = _justified([name if cell_len(name) <= longest else "" for name in cells.names])
    parts = (names, cells.scores, cells.differences, cells.verdicts)
    left = width - len(INDENT) - sum(map(_width, parts)) - 3 * _GAP
    scale = Scale.of(dataset, min(left - _GAP, _BARS[1]))
    left -= _GAP + scale.width if scale else 0
    shown = []
    for column in cells.further:
        if _GAP + column.width <= left:
            shown.append(column)
            left -= _GAP + column.width
    if scale and len(shown) == len(cells.further):
        scale = replace(scale, width=min(scale.width + left, _BARS[2]))
    before = [names, cells.scores, cells.differences]
    if scale:
        before.append([scale.bar(row, glyphs) for row in dataset.rows])
    start = len(INDENT) + sum(_width(column) + _GAP for column in before)
    against = _against(dataset, glyphs).ljust(_width(cells.verdicts))
    headers = against + "".join(column.padded(column.header) for column in shown)
    lines = _heading(table, start, headers.rstrip(), width, glyphs)
    for index, label in enumerate(cells.labels):
        if cell_len(cells.names[index]) > longest:
            lines.append(Text(INDENT + cells.names[index], overflow="fold"))
        line = Text(INDENT + (" " * _GAP).join(column[index] for column in before) + " " * _GAP)
        line.append(cells.verdicts[index], STYLES.get(label, ""))
        line.append("".join(column.padded(column.cells[index]) for column in shown))
        line.rstrip()
        lines.append(line)
    return ScoreLines(lines, [further.column for further in cells.further if further not in shown])


def _in_two_lines(
    table: TextTable, dataset: DatasetTable, width: int, glyphs: Glyphs, cells: _Cells
) -> list[Text]:
    """The name and its verdict, then its numbers below."""
    numbers = 2 * len(INDENT) + _width(cells.scores) + _GAP + _width(cells.differences)
    scale = None
    if width - numbers - _GAP >= _BARS[0]:
        scale = Scale.of(dataset, min(width - numbers - _GAP, _BARS[1]))
    start = width - _width(cells.verdicts)
    lines = _heading(table, start, _against(dataset, glyphs), width, glyphs)
    for index, row in enumerate(dataset.rows):
        name = Text(INDENT + cells.names[index], overflow="fold")
        if name.cell_len + _GAP <= start:
            name.append(" " * (start - name.cell_len))
        else:
            lines.append(name)
            name = Text(" " * start)
        name.append(cells.verdicts[index].rstrip(), STYLES.get(cells.labels[index], ""))
        line = f"{INDENT * 2}{cells.scores[index]}{' ' * _GAP}{cells.differences[index]}"
        if scale:
            line += " " * _GAP + scale.bar(row, glyphs)
        lines += [name, Text(line.rstrip())]
    return lines


def _in_blocks(
    table: TextTable, dataset: DatasetTable, glyphs: Glyphs, cells: _Cells
) -> list[Text]:
    """A line for each part of a row."""
    lines = _heading(table, 0, _against(dataset, glyphs), 0, glyphs)
    for index, label in enumerate(cells.labels):
        lines.append(Text(cells.names[index], overflow="fold"))
        lines.append(Text(INDENT + cells.verdicts[index].strip(), STYLES.get(label, "")))
        lines += [
            Text(INDENT + part, overflow="fold")
            for part in (cells.scores[index].strip(), *cells.differences[index].split(" ", 1))
            if part.strip()
        ]
    return lines


def _heading(table: TextTable, start: int, right: str, width: int, glyphs: Glyphs) -> list[Text]:
    """Name and metric of a data set, and from column ``start`` on the headings of its columns."""
    name = Text(glyphs.shown(table.name), "bold", overflow="fold")
    score, gap = Text(glyphs.shown(table.score)), Text("   ")
    whole = Text.assemble(name, gap, score)
    if whole.cell_len + _GAP <= start:
        return [Text.assemble(whole, " " * (start - whole.cell_len), right)]
    lines = [name]
    if len(INDENT) + score.cell_len + _GAP <= start:
        below = " " * (start - len(INDENT) - score.cell_len)
        return [*lines, Text.assemble(INDENT, score, below, right)]
    lines.append(Text.assemble(INDENT, score))
    if right and start + cell_len(right) <= width:
        return [*lines, Text(" " * start + right)]
    return [*lines, Text(INDENT + right, overflow="fold")] if right else lines


def _against(dataset: DatasetTable, glyphs: Glyphs) -> str:
    return "" if dataset.baseline is None else f"vs {glyphs.shown(dataset.baseline)}"


def _shown(column: Column, glyphs: Glyphs) -> list[str]:
    return [glyphs.shown(cell) for cell in column.cells]


def _blank(column: Column, glyphs: Glyphs) -> list[str]:
    """The cells of a column, empty where there is no number."""
    return ["" if cell == NONE else glyphs.shown(cell) for cell in column.cells]


def _aligned(column: Column, glyphs: Glyphs) -> list[str]:
    """Means below means and spreads below spreads."""
    split = [cell.partition(" ± ") for cell in column.cells]
    means = _justified([glyphs.shown(mean) for mean, _, _ in split], right=True)
    spreads = _justified([spread for _, _, spread in split], right=True)
    return _justified(
        [
            f"{mean} {glyphs.shown('±')} {spread}" if spread.strip() else mean
            for mean, spread in zip(means, spreads, strict=True)
        ]
    )


def _justified(cells: list[str], right: bool = False) -> list[str]:
    size = _width(cells)
    return [_pad(cell, size, right) for cell in cells]


def _pad(text: str, size: int, right: bool = False) -> str:
    spaces = " " * max(size - cell_len(text), 0)
    return spaces + text if right else text + spaces


def _width(cells: list[str]) -> int:
    return max(map(cell_len, cells), default=0)
