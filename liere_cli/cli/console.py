"""What every command prints with: results on stdout, everything else on stderr."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from liere_cli.report.escape import plain
from liere_cli.report.numbers import duration

if TYPE_CHECKING:
    from rich.console import Console

    from liere_cli.runs.build import RunSpec
    from liere_cli.runs.folder import Run
    from liere_cli.training.callbacks import Report

#: seconds between lines of progress where stderr is no terminal
QUIET_SECONDS = 15.0
_silent = False


def silence() -> None:
    """From now on this process says nothing but errors: another one of the same run speaks."""
    global _silent
    _silent = True


def stdout() -> Console:
    """The console for results."""
    from rich.console import Console

    return Console(highlight=False)


def stderr() -> Console:
    """The console for progress, notes and errors."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, quiet=_silent)


def note(message: str) -> None:
    """A line of explanation on stderr."""
    stderr().print(f"[dim]{shown(message)}[/dim]", soft_wrap=True)


def warn(message: str) -> None:
    """A warning on stderr."""
    stderr().print(f"[yellow]warning[/yellow]: {shown(message)}", soft_wrap=True)


def error(message: str) -> None:
    """An error on stderr."""
    from rich.console import Console

    line = f"[bold red]error[/bold red]: {shown(message)}"
    Console(stderr=True, highlight=False).print(line, soft_wrap=True)


def printable(text: str) -> str:
    """Text without control characters, so that no name can drive the terminal."""
    return "\n".join(plain(line) for line in text.split("\n"))


def shown(text: object) -> str:
    """Text for the midst of markup, which shows it as it stands."""
    from rich.markup import escape

    return escape(printable(str(text)))


def print_json(value: Any) -> None:
    """A value as JSON, alone on stdout."""
    import sys

    from liere_cli.utils.files import to_json

    sys.stdout.write(to_json(value))


def format_metric(metric: str, value: float | None) -> str:
    """A metric as people write it: ``2.3456 bits/byte``, ``31.20% top-1``."""
    if value is None:
        return "no result"
    return f"{value:.4f} bits/byte" if metric == "bits_per_byte" else f"{value:.2%} top-1"


class LiveProgress:
    """Shows a run as it trains: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self.console = stderr()
        self.metric = ""
        self.unit = ""
        self.printed_at = time.monotonic()
        self.bar: Any = None
        self.task: Any = None

    def __enter__(self) -> LiveProgress:
        if self.console.is_terminal:
            from rich.progress import BarColumn, Progress, TextColumn

            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[details]}"),
                console=self.console,
                transient=True,
            )
            self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def on_start(self, run_spec: RunSpec, run: Run, step: int, warnings: list[str]) -> None:
        for warning in warnings:
            warn(warning)
        self.metric = run_spec.dataset.metric
        self.unit = "tokens/s" if run_spec.dataset.task == "language-model" else "examples/s"
        if step:
            note(f"going on from step {step:,} of {run.folder}")
        if self.bar is not None:
            self.task = self.bar.add_task(
                shown(f"{run_spec.encoding} on {run_spec.data}"), total=1.0, details="first step"
            )

    def on_report(self, report: Report) -> None:
        parts = [
            f"step {report.step:,}",
            f"loss {report.loss:.4f}",
            f"{report.throughput:,.0f} {self.unit}",
            f"{duration(report.seconds_left)} left",
        ]
        if report.value is not None:
            parts.insert(2, f"val {format_metric(self.metric, report.value)}")
        details = " · ".join(parts)
        if self.bar is not None:
            self.bar.update(self.task, completed=report.share, details=details)
        elif time.monotonic() - self.printed_at > QUIET_SECONDS:
            self.printed_at = time.monotonic()
            note(f"{report.share:4.0%} · {details}")

    def on_evaluate(self, split: str) -> None:
        if self.bar is not None:
            self.bar.update(self.task, details=f"evaluating on {split}")
