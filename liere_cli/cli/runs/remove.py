"""``liere runs rm`` and ``liere runs prune``."""

import re
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from liere_cli.cli import console
from liere_cli.cli.completion import complete_run
from liere_cli.cli.options import DEFAULT_OUTPUTS, Outputs
from liere_cli.cli.runs.list import ByData, ByEncoding, ByStatus
from liere_cli.errors import UsageError, counted
from liere_cli.report.numbers import size

if TYPE_CHECKING:
    from liere_cli.planning.run_row import RunRow

Yes = Annotated[bool, Option("--yes", "-y", help="Remove without asking.")]
#: states of runs that have no score and won't get one
FAILED = "diverged,failed,damaged"
_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def remove(
    sources: Annotated[
        list[str],
        Argument(
            metavar="RUN...",
            help="Folders, names or identities of runs.",
            autocompletion=complete_run,
        ),
    ],
    yes: Yes = False,
    out: Outputs = DEFAULT_OUTPUTS,
) -> None:
    """Remove runs. A run in training, or a folder with other files, is kept."""
    from liere_cli.planning.run_row import row_of
    from liere_cli.runs.find import open_run

    rows = {row.folder: row for row in (row_of(open_run(source, out)) for source in sources)}
    _remove(list(rows.values()), yes=yes, weights_only=False)


def prune(
    weights: Annotated[
        bool,
        Option("--weights", help="Only the weights of runs that are over: scores are kept."),
    ] = False,
    failed: Annotated[
        bool, Option("--failed", help="Runs that diverged, failed or are damaged.")
    ] = False,
    older_than: Annotated[
        str | None,
        Option(metavar="AGE", help="Runs whose last change is longer ago, as 12h, 30d or 8w."),
    ] = None,
    encoding: ByEncoding = None,
    data: ByData = None,
    status: ByStatus = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Show the runs and remove nothing.")] = False,
    yes: Yes = False,
    out: Outputs = DEFAULT_OUTPUTS,
) -> None:
    """Remove runs that are no longer needed, or only their weights.

    Runs must meet every condition. Runs in training, and folders with other files, are kept.
    """
    if not (weights or failed or older_than or status):
        raise UsageError("prune: say what, with --weights, --failed, --older-than or --status")
    if failed and status:
        raise UsageError(f"--status {status}: --failed means --status {FAILED}; use one of them")
    from liere_cli.api.runs import load_runs

    rows = load_runs(out=out).where(
        encoding=encoding, data=data, status=FAILED if failed else status
    )
    chosen: list[RunRow] = [row for row in rows if row.status != "running"]
    if older_than is not None:
        before = time.time() - _age(older_than)
        chosen = [row for row in chosen if row.modified is not None and row.modified < before]
    if weights:
        chosen = [row for row in chosen if row.weights]
    if dry_run:
        for row in chosen:
            typer.echo(console.printable(row.folder))
        console.note(f"{counted(len(chosen), 'run')} would be pruned")
        return
    _remove(chosen, yes=yes, weights_only=weights)


def _age(text: str) -> float:
    """Seconds of ``12h``, ``30d`` or ``8w``."""
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?) ?([mhdw])", text.strip())
    if match is None:
        raise UsageError(f"--older-than {text}: must be a number and m, h, d or w, as 30d")
    return float(match[1]) * _UNITS[match[2]]


def _remove(rows: "Sequence[RunRow]", *, yes: bool, weights_only: bool) -> None:
    """Asks, removes, and says what was removed; exit code 1 if a run was kept."""
    from liere_cli.api.removal import remove_rows

    if not rows:
        console.note("nothing to remove")
        return
    what = f"the weights of {counted(len(rows), 'run')}" if weights_only else _named(rows)
    if not yes:
        _ask(what, rows)
    result = remove_rows(rows, weights_only=weights_only)
    for reason in result.kept:
        console.warn(reason)
    done = counted(len(result.removed), "run")
    console.note(f"removed {'the weights of ' if weights_only else ''}{done}, {size(result.bytes)}")
    if result.kept:
        raise typer.Exit(1)


def _named(rows: "Sequence[RunRow]") -> str:
    return rows[0].folder if len(rows) == 1 else counted(len(rows), "run")


def _ask(what: str, rows: "Sequence[RunRow]") -> None:
    """Asks on the terminal; raises UsageError where there is none to ask."""
    if not sys.stdin.isatty():
        raise UsageError(f"would remove {what}; --yes removes without asking")
    total = size(sum(row.bytes for row in rows))
    for row in rows[:10]:
        console.note(f"{row.folder} ({row.status})")
    if len(rows) > 10:
        console.note(f"and {len(rows) - 10} more")
    if not typer.confirm(f"Remove {console.printable(what)} ({total} with all files)?", err=True):
        console.note("nothing was removed")
        raise typer.Exit(1)
