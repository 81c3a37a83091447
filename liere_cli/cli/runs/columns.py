"""Aligned columns of text; a table of rich takes seconds for thousands of rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from liere_cli.cli import console

GAP = "  "


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        right: numbers are aligned at the right.
        shrinks: whether it is cut, in the middle, where the terminal is too narrow.
    """

    header: str
    right: bool = False
    shrinks: bool = False


#: characters that a column that shrinks keeps at least
LEAST = 12


def print_columns(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Prints a header and the rows; on a terminal, long names are cut to its width."""
    screen = console.stdout()
    header, *lines = column_lines(columns, rows, screen.width if screen.is_terminal else None)
    screen.print(header, style="bold", markup=False, soft_wrap=True)
    if lines:
        screen.out("\n".join(lines), highlight=False)


def column_lines(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int | None
) -> list[str]:
    """The header and the rows as lines of at most ``width`` characters, where that is possible."""
    shown = [[console.printable(cell) for cell in row] for row in rows]
    headers = [column.header for column in columns]
    widths = [max(map(len, cells)) for cells in zip(headers, *shown, strict=True)]
    if width is not None:
        widths = _fitted(columns, widths, width)
    return [_line(columns, widths, row) for row in (headers, *shown)]


def _fitted(columns: Sequence[Column], widths: Sequence[int], available: int) -> list[int]:
    """The widths, with those that shrink reduced, widest first, until a line fits."""
    fitted = list(widths)
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - available
    while excess > 0:
        width, index = max((fitted[i], i) for i, column in enumerate(columns) if column.shrinks)
        if width <= LEAST:
            break
        fitted[index] -= 1
        excess -= 1
    return fitted


def _line(columns: Sequence[Column], widths: Sequence[int], cells: Sequence[str]) -> str:
    parts = []
    for column, width, cell in zip(columns, widths, cells, strict=True):
        if len(cell) > width:
            half = (width - 1) // 2
            cell = f"{cell[: width - 1 - half]}…{cell[len(cell) - half :]}"
        parts.append(cell.rjust(width) if column.right else cell.ljust(width))
    return GAP.join(parts).rstrip()
