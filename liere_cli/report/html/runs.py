"""The part of a page about single runs: failures first, then every run."""

from dataclasses import dataclass

from liere_cli.comparison.tables.build import ComparisonResult
from liere_cli.errors import counted
from liere_cli.planning.plan import ComparedRun
from liere_cli.planning.progress import Outcome
from liere_cli.report import numbers
from liere_cli.report.html.view import Block, Names, table_of
from liere_cli.report.numbers import NONE, Unit
from liere_cli.report.table import Column, Columns, TextTable

#: states of runs without a result
_LOST = ("diverged", "failed", "partial", "missing")


@dataclass(frozen=True)
class _Line:
    """One run in a table: its data set's title and unit, its encoding's label, and its outcome."""

    data: str
    unit: Unit
    encoding: str
    run: ComparedRun
    outcome: Outcome

    def value(self, split: str) -> str:
        return self.unit.value(getattr(self.outcome.summary, split, None))

    @property
    def steps(self) -> str:
        return f"{self.outcome.summary.steps:,}" if self.outcome.summary else NONE

    @property
    def speed(self) -> str:
        summary = self.outcome.summary
        return numbers.throughput(summary.throughput, summary.throughput_unit) if summary else NONE


def run_blocks(result: ComparisonResult, names: Names) -> list[Block]:
    """Runs without a result with their reasons, and all runs."""
    lines = [
        _Line(table.title, Unit.of(table), row.label, run, result.outcomes[run.run_id])
        for plan, table in zip(result.plan.datasets, result.table.datasets, strict=True)
        for row in plan.encodings
        for run in row.runs
    ]
    lost = [line for line in lines if line.outcome.state in _LOST]
    if lost:
        title = f"{counted(len(lost), 'run')} without a result"
        table = TextTable(title, "", _lost_columns(lost), [])
        blocks = [Block("Failures and divergences", tables=[table_of(table, names)])]
    else:
        text = f"None: each of the {counted(len(lines), 'run')} finished with a score."
        blocks = [Block("Failures and divergences", text=text)]
    table = TextTable("All runs", "", _columns(lines), [])
    return [*blocks, Block("All runs", tables=[table_of(table, names)])]


def _lost_columns(lines: list[_Line]) -> list[Column]:
    column = Columns(lines)
    return [
        column.text("data set", lambda line: line.data),
        column.text("encoding", lambda line: line.encoding),
        column.number("seed", lambda line: str(line.run.seed)),
        column.text("status", lambda line: line.outcome.state),
        column.text("reason", lambda line: line.outcome.error or NONE),
        column.text("run", lambda line: line.run.run_id),
    ]


def _columns(lines: list[_Line]) -> list[Column]:
    column = Columns(lines)
    return [
        column.text("data set", lambda line: line.data),
        column.text("encoding", lambda line: line.encoding),
        column.number("seed", lambda line: str(line.run.seed)),
        column.text("status", lambda line: line.outcome.state),
        column.number("test", lambda line: line.value("test")),
        column.number("validation", lambda line: line.value("val")),
        column.text("metric", lambda line: line.unit.header),
        column.number("steps", lambda line: line.steps),
        column.number("time", lambda line: numbers.duration(line.outcome.seconds or None)),
        column.number("speed", lambda line: line.speed),
        column.text("device", lambda line: str(getattr(line.outcome.summary, "device", NONE))),
        column.text("run", lambda line: line.run.run_id),
    ]
