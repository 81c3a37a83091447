"""Runs of a comparison while they train: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from liere_cli.cli import console
from liere_cli.launchers.events import (
    Event,
    Notice,
    RunEnded,
    RunEvaluating,
    RunLockedElsewhere,
    RunReported,
    RunStarted,
)
from liere_cli.planning.plan import Plan, PlannedRun
from liere_cli.planning.progress import Outcome, seconds_left
from liere_cli.report.numbers import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.progress import Progress, TaskID
    from rich.status import Status

    from liere_cli.launchers.events import Event
    from liere_cli.launchers.worker import LaunchContext
    from liere_cli.runs.summary import RunSummary


class LiveRuns:
    """Listens to a launch; keeps the outcomes of all cells and the time that is left."""

    def __init__(self, plan: Plan, found: dict[str, Outcome], jobs: int) -> None:
        self.plan, self.found, self.jobs = plan, dict(found), jobs
        self.metrics = {
            run.run_id: dataset.metric
            for dataset in plan.datasets
            for row in dataset.encodings
            for run in row.runs
        }
        self.total = len(plan.runs)
        self.screen = console.stderr()
        self.bars: Progress | None = None
        self.tasks: dict[str, TaskID] = {}
        #: who else has which cell, and why nobody works on it yet
        self.elsewhere: dict[str, RunLockedElsewhere] = {}
        self.printed_at = time.monotonic()

    def __enter__(self) -> LiveRuns:
        if self.screen.is_terminal:
            from rich.progress import BarColumn, Progress, TextColumn

            self.bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[details]}", markup=False),
                console=self.screen,
                transient=True,
            )
            self.tasks[""] = self.bars.add_task("all cells", total=float(self.total), details="")
            self._update_total()
            self.bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bars is not None:
            self.bars.stop()

    @property
    def over(self) -> int:
        """Cells with nothing left to train."""
        return sum(outcome.over for outcome in self.found.values())

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._started(event)
        elif isinstance(event, RunReported):
            self._reported(event)
        elif isinstance(event, RunEvaluating):
            self._show(event.run.run_id, details=f"evaluating on {event.split}")
        elif isinstance(event, RunLockedElsewhere):
            self._elsewhere(event)
        elif isinstance(event, Notice):
            self._line(event.text, "dim")
        else:
            self._ended(event)
        self._update_total()

    def _started(self, event: RunStarted) -> None:
        for warning in event.warnings:
            self._line(f"{event.run.label}: {warning}", "yellow")
        self.elsewhere.pop(event.run.run_id, None)
        self._add_bar(event.run, "first step")

    def _reported(self, event: RunReported) -> None:
        report = event.report
        used = report.seconds_left * report.share / max(1 - report.share, 1e-9)
        self.found[event.run.run_id] = Outcome("partial", share=report.share, seconds=used)
        details = f"step {report.step:,} · loss {report.loss:.4f}"
        if report.value is not None:
            value = console.format_metric(self.metrics[event.run.run_id], report.value)
            details += f" · val {value}"
        self._show(event.run.run_id, completed=report.share, details=details)
        if self.bars is None and time.monotonic() - self.printed_at > console.QUIET_SECONDS:
            self._line(f"{self._count()} {event.run.label}: {report.share:.0%} · {details}", "dim")

    def _elsewhere(self, event: RunLockedElsewhere) -> None:
        """A bar for what others train; what nobody works on yet is counted only."""
        run_id = event.run.run_id
        before = self.elsewhere.get(run_id)
        self.elsewhere[run_id] = event
        self.found[run_id] = event.outcome
        if event.queued is not None:
            self._remove_bar(run_id)
        else:
            self._add_bar(event.run, event.who)
            self._show(run_id, completed=event.outcome.share, details=event.who)
            known = before is not None and (before.who, before.queued) == (event.who, None)
            if self.bars is None and not known:
                self._line(f"{event.run.label}: {event.who} trains it", "dim")
        if self.bars is None and time.monotonic() - self.printed_at > console.QUIET_SECONDS:
            self._line(f"{self._count()} {self._others()}", "dim")

    def _others(self) -> str:
        """How many cells are in other hands, and what those wait for that nobody works on."""
        queued = [one.queued for one in self.elsewhere.values() if one.queued is not None]
        parts = []
        if running := len(self.elsewhere) - len(queued):
            parts.append(f"{running} trained elsewhere")
        if queued:
            reasons = ", ".join(sorted({reason for reason in queued if reason}))
            parts.append(f"{len(queued)} queued" + (f" ({reasons})" if reasons else ""))
        return " · ".join(parts)

    def _ended(self, event: RunEnded) -> None:
        self.found[event.run.run_id] = event.outcome
        self.elsewhere.pop(event.run.run_id, None)
        self._remove_bar(event.run.run_id)
        outcome = event.outcome
        if outcome.state == "finished" and outcome.summary:
            style, result = "dim", f"{_score(outcome.summary)} ({duration(outcome.seconds)})"
        else:
            style = "yellow" if outcome.state == "diverged" else "red"
            result = f"{outcome.state}: {outcome.error or 'no reason given'}"
        self._line(f"{self._count()} {event.run.label}: {result}", style)

    def _count(self) -> str:
        return f"{self.over}/{self.total}"

    def _line(self, text: str, style: str) -> None:
        from rich.text import Text

        self.printed_at = time.monotonic()
        target = self.bars.console if self.bars is not None else self.screen
        target.print(Text(console.printable(text), style=style), soft_wrap=True)

    def _add_bar(self, run: PlannedRun, details: str) -> None:
        if self.bars is not None and run.run_id not in self.tasks:
            self.tasks[run.run_id] = self.bars.add_task(
                console.printable(run.label), total=1.0, details=console.printable(details)
            )

    def _remove_bar(self, run_id: str) -> None:
        task = self.tasks.pop(run_id, None)
        if self.bars is not None and task is not None:
            self.bars.remove_task(task)

    def _show(self, run_id: str, **fields: Any) -> None:
        if self.bars is not None and run_id in self.tasks:
            self.bars.update(self.tasks[run_id], **fields)

    def _update_total(self) -> None:
        left = seconds_left(self.plan, self.found, self.jobs)
        parts = [
            self._count(),
            "time left unknown until the first reports"
            if left is None
            else f"about {duration(left)} left",
            self._others(),
        ]
        details = console.printable(" · ".join(part for part in parts if part))
        self._show("", completed=float(self.over), details=details)


def _score(summary: RunSummary) -> str:
    """On the test split; of a run that never reads it, on the validation split."""
    if summary.test is not None:
        return console.format_metric(summary.metric, summary.test)
    return f"val {console.format_metric(summary.metric, summary.val)}"


def measure(
    plan: Plan, found: Mapping[str, Outcome], context: LaunchContext, jobs: int
) -> dict[str, str]:
    """Measures what finished runs lack; returns why some could not be measured, by identity."""
    from liere_cli.comparison.tables.transfer import unmeasured
    from liere_cli.launchers.transfer_eval import measure_runs

    lacking = unmeasured(plan, found)
    if not lacking:
        return {}
    passes = sum(len(places) for _, places in lacking.values())
    console.note(f"measuring {len(lacking)} runs at other grids: {passes} passes over test items")
    with console.stderr().status("loading") as status:
        return measure_runs(lacking, context, jobs=jobs, listener=_Listener(status, len(lacking)))


class _Listener:
    """Says which run is measured where, and what went wrong."""

    def __init__(self, status: Status, total: int) -> None:
        self.status, self.total, self.over = status, total, 0

    def __call__(self, event: Event) -> None:
        from liere_cli.launchers.events import RunEnded, RunEvaluating

        if isinstance(event, RunEvaluating):
            where = f"{event.run.label} at {event.split}"
            self.status.update(console.printable(f"{self.over}/{self.total} {where}"))
        elif isinstance(event, RunEnded):
            self.over += 1
            if event.outcome.state == "failed":
                console.warn(f"{event.run.label} could not be measured: {event.outcome.error}")
