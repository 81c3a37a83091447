"""``liere runs`` and ``liere runs show``."""

import csv
import io
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer import Option

from liere_cli.cli import console
from liere_cli.cli.completion import complete_data, complete_encodings
from liere_cli.cli.options import DEFAULT_OUTPUTS, AsJson, Outputs, RunArgument
from liere_cli.cli.runs.columns import Column, print_columns
from liere_cli.errors import UsageError
from liere_cli.report.numbers import age, duration, size

if TYPE_CHECKING:
    from liere_cli.planning.run_row import RunRow, ValidationRow

ByData = Annotated[
    str | None,
    Option("--data", metavar="X,Y", help="Only these data sets.", autocompletion=complete_data),
]
ByEncoding = Annotated[
    str | None,
    Option(
        "--encoding", metavar="A,B", help="Only these encodings; a bare name means any options.",
        autocompletion=complete_encodings,
    ),
]  # fmt: skip
ByStatus = Annotated[
    str | None,
    Option(
        "--status",
        metavar="S,T",
        help="Only runs that are finished, diverged, failed, running, partial (interrupted) or "
        "damaged.",
    ),
]


def list_runs(
    context: typer.Context,
    encoding: ByEncoding = None,
    data: ByData = None,
    status: ByStatus = None,
    form: Annotated[
        Literal["table", "csv", "json"], Option("--format", help="How they are shown on stdout.")
    ] = "table",
    as_json: AsJson = False,
    each: Annotated[
        Literal["run", "validation"],
        Option(help="Of csv and json: one row a run, or one a validation."),
    ] = "run",
    out: Outputs = DEFAULT_OUTPUTS,
) -> None:
    """List runs: encoding, data, seed, budget, score, status, age, size.

    Without a command: every run under --out. liere runs show RUN shows one, liere runs rm removes
    runs, and liere runs prune removes those that are no longer needed.
    """
    if context.invoked_subcommand is not None:
        return
    form = "json" if as_json else form
    if each == "validation" and form == "table":
        raise UsageError("--each validation: is for --format csv and --format json")
    from liere_cli.api.runs import load_runs

    rows = load_runs(out=out).where(encoding=encoding, data=data, status=status)
    if form == "table":
        _print_table(rows)
    else:
        _print_records(rows if each == "run" else rows.validations(), form, each)


def _print_records(
    rows: "Sequence[RunRow | ValidationRow]", form: str, each: Literal["run", "validation"]
) -> None:
    if form == "json":
        console.print_json([asdict(row) for row in rows])
        return
    from liere_cli.planning.run_row import RunRow, ValidationRow
    from liere_cli.report.escape import csv_cell

    names = [field.name for field in fields(RunRow if each == "run" else ValidationRow)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        values = vars(row).values()
        writer.writerow([csv_cell(v) if isinstance(v, str) else v for v in values])
    typer.echo(buffer.getvalue(), nl=False)


_COLUMNS = (
    Column("id"), Column("encoding", shrinks=True), Column("data", shrinks=True),
    Column("seed", right=True), Column("budget", right=True), Column("score", right=True),
    Column("status"), Column("age", right=True), Column("size", right=True),
)  # fmt: skip


def _print_table(rows: "Sequence[RunRow]") -> None:
    now = time.time()
    cells = [
        (
            row.id,
            row.encoding or "?",
            row.data or "?",
            "?" if row.seed is None else str(row.seed),
            row.budget or "?",
            _score(row),
            row.status,
            age(now - row.modified) if row.modified is not None else "?",
            size(row.bytes),
        )
        for row in rows
    ]
    print_columns(_COLUMNS, cells)
    counts = Counter(row.status for row in rows)
    states = ", ".join(f"{number} {state}" for state, number in counts.most_common())
    total = size(sum(row.bytes for row in rows))
    console.note(f"{len(rows):,} runs" + (f": {states}; {total}" if rows else ""))


def _score(row: "RunRow") -> str:
    if row.score is None:
        return "–"  # noqa: RUF001 - an en dash for "no number"
    return console.format_metric(row.metric or "", row.score)


def show(run: RunArgument, out: Outputs = DEFAULT_OUTPUTS, as_json: AsJson = False) -> None:
    """Show one run: results, where and how it was trained, its files and its recipe."""
    from liere_cli.api.runs import describe

    description = describe(run, out=out)
    if as_json:
        console.print_json(asdict(description))
        return
    row = description.row
    table = console.table(show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    lines = {
        "run": row.folder,
        "encoding": row.encoding,
        "data": row.data,
        "seed": row.seed,
        "status": row.status if row.error is None else f"{row.status}: {row.error}",
        "score": None if row.score is None else f"{_score(row)} (test)",
        "validation": None if row.val is None else console.format_metric(row.metric or "", row.val),
        "budget": row.budget,
        "trained": None if row.steps is None else f"{row.steps:,} steps in {_seconds(row)}",
        "parameters": None if row.parameters is None else f"{row.parameters:,}",
        "size": size(row.bytes),
        "signature": description.signature,
        **description.environment,
    }
    for key, value in lines.items():
        if value is not None:
            table.add_row(key.replace("_", " "), console.shown(value))
    screen = console.stdout()
    screen.print(table)
    if description.recipe:
        screen.print("\nrecipe.yaml", style="bold")
        screen.print(console.printable(description.recipe), markup=False, soft_wrap=True, end="")


def _seconds(row: "RunRow") -> str:
    return duration(row.seconds or 0.0)
