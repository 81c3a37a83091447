"""The tables on a terminal: one row an encoding where it is wide enough, else two tables."""

from collections.abc import Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from liere_cli.comparison.table import ArmTable, ComparisonTable
from liere_cli.report import words
from liere_cli.report.escape import plain
from liere_cli.report.sheet import Column, columns

_STYLES = {
    "better": "bold green",
    "worse": "bold red",
    "equivalent": "cyan",
    "undecided": "yellow",
    "baseline": "dim",
}


def terminal(table: ComparisonTable, width: int) -> RenderableType:
    """Everything that is known, for a terminal of that many columns."""
    parts: list[RenderableType] = []
    for arm in table.arms:
        heading = Text.assemble((plain(arm.title), "bold"), f"  {arm.modality}")
        parts += [heading, *_tables(arm, width)]
        parts += [_note(note) for note in words.arm_notes(arm)]
        parts.append(Text())
    for line in words.summary_lines(table):
        name, _, rest = plain(line).partition(": ")
        parts.append(_hanging("▸", Text.assemble((name, "bold"), f": {rest}")))
    parts.append(Text())
    parts += [_note(note) for note in words.method_notes(table)]
    parts.append(Text(plain(table.signature), style="dim", overflow="fold"))
    return Group(*parts)


def _tables(arm: ArmTable, width: int) -> list[Table]:
    """One table if it fits, else results above costs."""
    every = columns(arm)
    whole = _table(arm, every)
    if _width(whole) <= width:
        return [whole]
    shared = [column for column in every if not column.cost]
    without_seeds = [column for column in every if column.header != "each seed"]
    compact = _table(arm, without_seeds)
    seeds = [column for column in every if column.header in ("encoding", "each seed")]
    if _width(compact) <= width:
        return [compact, _table(arm, seeds)]
    return [_table(arm, shared), _table(arm, [every[0], *(c for c in every if c.cost)])]


def _table(arm: ArmTable, shown: Sequence[Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), header_style="bold")
    for column in shown:
        table.add_column(
            Text(plain(column.header)),
            justify="right" if column.number else "left",
            overflow="fold",
            no_wrap=column.header in ("p", "seeds", "verdict", "95% interval"),
        )
    for index, row in enumerate(arm.rows):
        cells = [Text(plain(column.cells[index])) for column in shown]
        for cell in cells:
            cell.stylize(_STYLES.get(cell.plain, ""))
        table.add_row(*cells, style="dim" if row.undefined else "")
    return table


def _width(table: Table) -> int:
    """Columns that the table takes without folding a cell."""
    wide = Console(width=10_000, force_terminal=False, no_color=True)
    return Measurement.get(wide, wide.options, table).maximum


def _note(text: str) -> RenderableType:
    return _hanging("·", Text(plain(text), style="dim"))


def _hanging(mark: str, text: Text) -> RenderableType:
    """A line whose continuation is indented."""
    grid = Table.grid(padding=(0, 1))
    grid.add_row(Text(mark, style="dim"), text)
    return Padding(grid, (0, 0))
