"""``liere status``."""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from liere_cli.cli import console
from liere_cli.cli.options import DEFAULT_OUTPUTS, AsJson, Outputs
from liere_cli.cli.runs.columns import Column, column_lines
from liere_cli.report.numbers import duration

if TYPE_CHECKING:
    from liere_cli.planning.status import ComparisonStatus, RunStatus, Status

#: seconds between two readings
WATCH_SECONDS = 2.0
BAR = 10


def status(
    folder: Annotated[
        str | None,
        Argument(metavar="FOLDER", help="A comparison's folder, or its name. Default: all."),
    ] = None,
    watch: Annotated[
        bool, Option("--watch", "-w", help="Show it again and again, until nothing runs.")
    ] = False,
    out: Outputs = DEFAULT_OUTPUTS,
    as_json: AsJson = False,
) -> None:
    """Show what is in training now: on which host, how far, how much time is left.

    It only reads files, so it works from another terminal, or from another host that shares the
    outputs folder.
    """
    from liere_cli.api.status import status as read_status

    if not watch:
        _show(read_status(folder, out=out), as_json)
        return
    try:
        _watch(lambda: read_status(folder, out=out), as_json)
    except KeyboardInterrupt:
        return


def _show(now: "Status", as_json: bool) -> None:
    if as_json:
        console.print_json(_record(now))
        return
    console.stdout().print("\n".join(_lines(now)), markup=False, soft_wrap=True)


def _record(now: "Status") -> dict[str, object]:
    comparisons = [asdict(status) for status in now.comparisons]
    for record in comparisons:
        del record["ids"]
    return {"comparisons": comparisons, "runs": [asdict(run) for run in now.runs]}


def _watch(read: "Callable[[], Status]", as_json: bool) -> None:
    from rich.live import Live
    from rich.text import Text

    screen = console.stdout()
    now = read()
    if as_json or not screen.is_terminal:
        _show(now, as_json)
        while now.active:
            time.sleep(console.QUIET_SECONDS)
            now = read()
            _show(now, as_json)
        return
    with Live(console=screen, auto_refresh=False) as live:
        while True:
            live.update(Text("\n".join(_lines(now)), no_wrap=True), refresh=True)
            if not now.active:
                return
            time.sleep(WATCH_SECONDS)
            now = read()


def _lines(now: "Status") -> list[str]:
    lines = [_comparison_line(comparison) for comparison in now.comparisons]
    if now.runs:
        columns = (
            Column("encoding", shrinks=True), Column("data", shrinks=True),
            Column("seed", right=True), Column("progress"), Column("left", right=True),
            Column("trained by"),
        )  # fmt: skip
        width = console.stdout().width if console.stdout().is_terminal else None
        lines += column_lines(columns, [_cells(run) for run in now.runs], width)
    return lines or ["nothing is in training"]


def _comparison_line(status: "ComparisonStatus") -> str:
    parts = [f"{status.over} of {status.total} runs"]
    others = ("running", "partial", "failed", "diverged")
    parts += [f"{status.states[name]} {name}" for name in others if status.states.get(name)]
    if status.active:
        left = status.seconds_left
        parts.append("time left unknown" if left is None else f"about {duration(left)} left")
        parts.append(str(status.owner))
    elif status.over < status.total:
        parts.append("not running; the command that began it resumes it")
    return console.printable(f"{status.name}  {' · '.join(parts)}")


def _cells(run: "RunStatus") -> tuple[str, ...]:
    share = run.share
    if share is None:
        progress = "starting" if run.step is None else f"step {run.step:,}"
    elif share >= 1:
        progress = "evaluating"
    else:
        done = round(share * BAR)
        progress = f"{'#' * done}{'.' * (BAR - done)} {share:.0%}"
    left = "?" if run.seconds_left is None else duration(run.seconds_left)
    owner = f"process {run.owner.pid} on {run.owner.host}" if run.owner else "?"
    seed = "?" if run.seed is None else str(run.seed)
    return run.encoding, run.data, seed, progress, left, owner
