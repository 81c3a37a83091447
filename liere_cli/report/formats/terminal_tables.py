"""Tables of further analyses: one where it is wide enough, else results and costs apart.

On a terminal too narrow for whole words, each row is a block of lines.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from liere_cli.report.formats.glyphs import Glyphs
from liere_cli.report.formats.terminal_scores import STYLES
from liere_cli.report.table import Column

#: columns whose cells may be folded on a narrow terminal, and their least width then
_FOLDABLE = ("encoding", "each seed", "tuned to", "next best")
_FOLDED = 16
#: padding of a cell, the widest first
_PADDINGS = ((0, 2, 0, 0), (0, 1, 0, 0))


def table_parts(columns: Sequence[Column], width: int, glyphs: Glyphs) -> list[RenderableType]:
    """One table if it fits, else results above costs, with the widest padding that fits."""
    columns = [_as_shown(column, glyphs) for column in columns]
    rows = len(columns[0].cells)
    results = [column for column in columns if not column.cost]
    costs = [columns[0], *(column for column in columns if column.cost)]
    apart = [results, costs] if len(costs) > 1 else [results]
    for tables in ([columns], apart):
        for padding in _PADDINGS:
            if all(_width(shown, padding) <= width for shown in tables):
                return [_table(shown, padding) for shown in tables]
    # the values of each seed are in the second table, so their number can be left out
    bare = [column for column in results if column.header != "seeds"]
    apart = [bare, *apart[1:]]
    if all(_width(_folded(shown), _PADDINGS[-1]) <= width for shown in apart):
        return [_table(shown, _PADDINGS[-1], narrow=True) for shown in apart]
    return [_block(columns, index) for index in range(rows)]


def _folded(shown: Sequence[Column]) -> list[Column]:
    """The columns at their narrowest: one word of a heading a line, long cells folded."""
    folded = []
    for column in shown:
        width = _FOLDED if column.header in _FOLDABLE else None
        cells = tuple(cell[:width] for cell in column.cells)
        folded.append(replace(column, header=_stacked(column.header), cells=cells))
    return folded


def _stacked(header: str) -> str:
    return header.replace(" ", "\n")


def _block(columns: Sequence[Column], index: int) -> RenderableType:
    block = Table.grid(padding=(0, 1))
    block.add_column(style="dim", overflow="fold")
    block.add_column(overflow="fold")
    for column in columns[1:]:
        cell = Text(column.cells[index])
        cell.stylize(STYLES.get(cell.plain, ""))
        block.add_row(Text(column.header), cell)
    return Group(Text(columns[0].cells[index], style="bold", overflow="fold"), block)


def _table(
    shown: Sequence[Column], padding: tuple[int, int, int, int], narrow: bool = False
) -> Table:
    """A table; a narrow one has a word of a heading a line, and folds long cells only."""
    table = Table(box=None, pad_edge=False, padding=padding, header_style="bold")
    for column in shown:
        header = _stacked(column.header) if narrow else column.header
        table.add_column(
            Text(header),
            justify="right" if column.number else "left",
            overflow="fold",
            no_wrap=column.header not in _FOLDABLE,
        )
    for index in range(len(shown[0].cells)):
        cells = [Text(column.cells[index]) for column in shown]
        for cell in cells:
            cell.stylize(STYLES.get(cell.plain, ""))
        undefined = any(cell.plain in ("not defined", "undefined") for cell in cells)
        table.add_row(*cells, style="dim" if undefined else "")
    return table


def _width(shown: Sequence[Column], padding: tuple[int, int, int, int]) -> int:
    """The width of a table of these columns in terminal columns, with no cell folded."""
    # the longest cell of each only: the layout of a table of hundreds of rows is slow
    widest = [replace(column, cells=(_widest(column.cells),)) for column in shown]
    wide = Console(width=10_000, force_terminal=False, no_color=True)
    return Measurement.get(wide, wide.options, _table(widest, padding)).maximum


@lru_cache(maxsize=128)
def _widest(cells: tuple[str, ...]) -> str:
    return max(cells, key=lambda cell: cell_len(cell), default="")


def _as_shown(column: Column, glyphs: Glyphs) -> Column:
    cells = tuple(map(glyphs.shown, column.cells))
    return replace(column, header=glyphs.shown(column.header), cells=cells)
