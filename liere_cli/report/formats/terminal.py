"""The tables on a terminal: one row an encoding where it is wide enough, else two tables.

Where it is too narrow for whole words, each encoding is a block of lines.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.report.content import sheets
from liere_cli.report.escape import plain
from liere_cli.report.sections import scores as words
from liere_cli.report.table import Column, Sheet

_STYLES = {
    "better": "bold green",
    "worse": "bold red",
    "equivalent": "cyan",
    "undecided": "yellow",
    "baseline": "dim",
    "larger": "bold green",
    "smaller": "bold red",
}
#: columns whose cells may be folded on a narrow terminal, and to what width at least
_FOLDABLE = ("encoding", "each seed", "tuned to", "next best")
_FOLDED = 16
#: padding of a cell, the most spacious first
_GUTTERS = ((0, 1, 0, 1), (0, 1, 0, 0), (0, 0, 0, 0))


def terminal(table: ComparisonTable, width: int) -> RenderableType:
    """Everything that is known, for a terminal of that many columns."""
    parts: list[RenderableType] = []
    for sheet in sheets(table):
        heading = Text.assemble((plain(sheet.title), "bold"), f"  {sheet.kind}")
        parts += [heading, Text()]
        for part in _tables(sheet, width):
            parts += [part, Text()]
        parts += [_note(note) for note in sheet.notes]
        parts.append(Text())
    for line in words.summary_lines(table):
        name, _, rest = plain(line).partition(": ")
        parts.append(_hanging("▸", Text.assemble((name, "bold"), f": {rest}")))
    parts.append(Text())
    parts += [_note(note) for note in words.method_notes(table)]
    parts.append(Text(plain(table.signature), style="dim", overflow="fold"))
    return Group(*parts)


def _tables(sheet: Sheet, width: int) -> list[RenderableType]:
    """One table if it fits, else results above costs, as spaciously as the width allows."""
    every = sheet.columns
    results = [column for column in every if not column.cost]
    costs = [every[0], *(column for column in every if column.cost)]
    for layout in ([every], [results, costs]):
        for gutter in _GUTTERS:
            if all(_width(shown, gutter) <= width for shown in layout):
                return [_table(shown, gutter) for shown in layout]
    # each seed's value stands below, so that their number can go
    bare = [column for column in results if column.header != "seeds"]
    if all(_width(_folded(shown), _GUTTERS[-1]) <= width for shown in (bare, costs)):
        return [_table(shown, _GUTTERS[-1], narrow=True) for shown in (bare, costs)]
    return [_block(every, index) for index in range(sheet.rows)]


def _folded(shown: Sequence[Column]) -> list[Column]:
    """The columns at their narrowest: one word of a heading a line, long cells folded."""
    return [
        replace(
            column,
            header=_stacked(column.header),
            cells=tuple(cell[:_FOLDED] for cell in column.cells)
            if column.header in _FOLDABLE
            else column.cells,
        )
        for column in shown
    ]


def _stacked(header: str) -> str:
    return header.replace(" ", "\n")


def _block(every: Sequence[Column], index: int) -> RenderableType:
    """One encoding, a line for each column."""
    block = Table.grid(padding=(0, 1))
    block.add_column(style="dim", overflow="fold")
    block.add_column(overflow="fold")
    for column in every[1:]:
        cell = Text(plain(column.cells[index]))
        cell.stylize(_STYLES.get(cell.plain, ""))
        block.add_row(Text(plain(column.header)), cell)
    return Group(Text(plain(every[0].cells[index]), style="bold", overflow="fold"), block)


def _table(
    shown: Sequence[Column], gutter: tuple[int, int, int, int], narrow: bool = False
) -> Table:
    """A table; a narrow one stacks the words of headings and folds nothing but long cells."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=gutter, header_style="bold")
    for column in shown:
        header = _stacked(column.header) if narrow else column.header
        table.add_column(
            Text("\n".join(map(plain, header.split("\n")))),
            justify="right" if column.number else "left",
            overflow="fold",
            no_wrap=column.header not in _FOLDABLE,
        )
    for index in range(len(shown[0].cells)):
        cells = [Text(plain(column.cells[index])) for column in shown]
        for cell in cells:
            cell.stylize(_STYLES.get(cell.plain, ""))
        without = any(cell.plain in ("not defined", "undefined") for cell in cells)
        table.add_row(*cells, style="dim" if without else "")
    return table


def _width(shown: Sequence[Column], gutter: tuple[int, int, int, int]) -> int:
    """Columns of the terminal that they take as a table, without folding a cell."""
    # the longest cell of each alone: to lay out a table of hundreds of rows takes long
    widest = [replace(column, cells=(_widest(column.cells),)) for column in shown]
    wide = Console(width=10_000, force_terminal=False, no_color=True)
    return Measurement.get(wide, wide.options, _table(widest, gutter)).maximum


@lru_cache(maxsize=128)
def _widest(cells: tuple[str, ...]) -> str:
    return max(cells, key=lambda cell: cell_len(plain(cell)), default="")


def _note(text: str) -> RenderableType:
    return _hanging("·", Text(plain(text), style="dim"))


def _hanging(mark: str, text: Text) -> RenderableType:
    """A line whose continuation is indented."""
    grid = Table.grid(padding=(0, 1))
    grid.add_row(Text(mark, style="dim"), text)
    return grid
