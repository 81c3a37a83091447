"""What the templates show: plots, tables and parts of a page, as text and SVG."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from liere_cli.report.escape import plain
from liere_cli.report.plots.scene import Figure
from liere_cli.report.plots.svg import page_svg
from liere_cli.report.table import TextTable

#: style class and mark of the cells that hold a verdict
VERDICTS = {
    "better": ("better", "✓"),
    "worse": ("worse", "✗"),
    "equivalent": ("same", "≈"),
    "undecided": ("open", "?"),
    "larger": ("better", "✓"),
    "smaller": ("worse", "✗"),
}
_FACTORS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "%": 1.0}
_TIMES = {"h": 3600.0, "m": 60.0, "s": 1.0}


@dataclass(frozen=True)
class Plot:
    """A plot with its heading, and what it means; ``svg`` is markup, its texts escaped."""

    title: str
    svg: str
    meaning: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell of text; ``key`` is the number that it is sorted by, if it holds one."""

    text: str
    key: str = ""
    style: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Heading:
    text: str
    number: bool


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows.

    Args:
        name: unique in the page, for its ``id``.
        notes: below the table; ``meaning`` is folded beside it.
    """

    name: str
    caption: str
    headings: list[Heading]
    rows: list[list[Cell]]
    notes: Sequence[str] = ()
    meaning: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Block:
    """Plots and tables under one heading."""

    title: str
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    text: str = ""


@dataclass(frozen=True)
class Part:
    """A section of the page, with a line below its heading."""

    name: str
    title: str
    line: str = ""
    blocks: list[Block] = field(default_factory=list)


class Names:
    """Names that are unique in a page."""

    def __init__(self) -> None:
        self._count = 0

    def next(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}"


def plot_of(figure: Figure, names: Names, meaning: str = "", title: str = "") -> Plot:
    svg = page_svg(figure, names.next("plot"))
    return Plot(plain(title or figure.title), svg, meaning, figure.width > 500)


def table_of(table: TextTable, names: Names, meaning: str = "", folded: bool = False) -> Table:
    """A table of the report, its verdicts marked and its numbers with keys to sort by."""
    headings = [Heading(plain(column.header), column.number) for column in table.columns]
    rows = [
        [_cell(column.cells[index], column.number) for column in table.columns]
        for index in range(table.rows)
    ]
    caption = plain(f"{table.title} ({table.kind})" if table.kind else table.title)
    notes = [plain(note) for note in table.notes]
    return Table(names.next("table"), caption, headings, rows, notes, meaning, folded)


def _cell(text: str, number: bool) -> Cell:
    shown = plain(text)
    style, mark = VERDICTS.get(shown, ("", ""))
    value = sort_key(shown) if number else None
    return Cell(shown, "" if value is None else f"{value:.12g}", style, mark)


def sort_key(text: str) -> float | None:
    """The first number of a cell: ``43.9 ± 0.8``, ``812k (1.2k)``, ``2h 10m``, ``<0.001``."""
    text = text.strip().lstrip("<[").replace("−", "-").replace(",", "")  # noqa: RUF001
    if times := re.match(r"((?:\d+(?:\.\d+)?[hms]\s*)+)(?![\w/])", text):
        parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", times[1])
        return sum(float(value) * _TIMES[unit] for value, unit in parts)
    match = re.match(r"([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)([kMG%]?)", text)
    return float(match[1]) * _FACTORS[match[2]] if match else None
