"""The one progress display: bars on a terminal or in a notebook, lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from liere_cli.cli import console
from liere_cli.launchers import events
from liere_cli.planning.progress import Outcome, seconds_left
from liere_cli.report.numbers import duration
from liere_cli.utils.progress import Progress, reported_to

if TYPE_CHECKING:
    from rich.progress import TaskID

    from liere_cli.cli.provisional import TableAboveBars
    from liere_cli.planning.plan import ComparedRun, Plan
    from liere_cli.training.callbacks import Report

#: columns that are left to the terminal's own echo of two keys, as ^C^C
ECHO_WIDTH = 5
#: between two lines on the reading of data
DATA_SECONDS = 5.0
#: the bar of all runs together, among those of single runs
_ALL = ""


class ProgressBar:
    """Listens to the events of a training run or of a whole comparison, and shows them.

    Use it as a context manager, or pass it as ``on_progress``: bars disappear when a phase ends.
    """

    def __init__(self) -> None:
        self.screen = console.stderr()
        self.bars: TableAboveBars | None = None
        self.tasks: dict[str, TaskID] = {}
        self.plan: Plan[Any] | None = None
        self.outcomes: dict[str, Outcome] = {}
        self.jobs = 1
        #: finished runs that are evaluated at other grids, while that lasts, and how many are done
        self.evaluations: int | None = None
        self.evaluated = 0
        self.started: dict[str, events.RunStarted] = {}
        #: who else holds which run, and why it is not in training yet
        self.elsewhere: dict[str, events.RunLockedElsewhere] = {}
        #: the last report of a single run
        self.trained: Report | None = None
        self.printed_at = time.monotonic()

    def __enter__(self) -> ProgressBar:
        self._reading = reported_to(self._read_data)
        self._reading.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._reading.__exit__(None, None, None)
        self._end_phase()

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.PlanReady):
            self.plan = None  # shown by the command that asked for it
        elif isinstance(event, events.TrainingStarted):
            self._start_training(event)
        elif isinstance(event, events.TransferStarted):
            self._start_transfer(event)
        elif isinstance(event, events.PhaseEnded):
            self._end_phase()
        elif isinstance(event, events.RunStarted):
            self._start_run(event)
        elif isinstance(event, events.RunReported):
            self._report(event)
        elif isinstance(event, events.RunEvaluating):
            self._evaluate(event)
        elif isinstance(event, events.RunLockedElsewhere):
            self._wait_for(event)
        elif isinstance(event, events.RunEnded):
            self._end_run(event)
        elif isinstance(event, events.ReadingData):
            self._read_data(event.progress)
        elif isinstance(event, events.Notice):
            (self._warn if event.warning else self._line)(event.text)
        self._update_total()

    @property
    def over(self) -> int:
        """Runs with nothing left to train."""
        return sum(outcome.over for outcome in self.outcomes.values())

    @property
    def total(self) -> int:
        """Runs of the phase."""
        return len(self.plan.runs) if self.plan is not None else 0

    def interrupted(self) -> KeyboardInterrupt:
        """What to raise once Ctrl-C has stopped the work: how far it came, and how to resume it."""
        how_far = f" at {self.over} of {self.total} runs" if self.total else ""
        if self.trained is not None:
            how_far = f" at step {self.trained.step:,} ({self.trained.share:.0%})"
        return KeyboardInterrupt(f"Interrupted{how_far}, saved. Run the same command to resume.")

    def _start_training(self, event: events.TrainingStarted) -> None:
        self.plan, self.outcomes, self.jobs = event.plan, dict(event.outcomes), event.jobs
        self.elsewhere.clear()
        left = seconds_left(self.plan, self.outcomes, self.jobs)
        if left is not None and any(state.state == "missing" for state in self.outcomes.values()):
            at_once = f", {self.jobs} runs at a time" if self.jobs > 1 else ""
            self._line(f"about {duration(left)} left with evaluations{at_once}")
        self._start_bars("all runs", self.total)

    def _start_transfer(self, event: events.TransferStarted) -> None:
        self.plan, self.evaluations, self.evaluated = None, event.runs, 0
        self._line(
            f"measuring {event.runs} runs at other grids: {event.passes} passes over test items"
        )
        self._start_bars("other grids", event.runs)

    def _end_phase(self) -> None:
        if self.bars is not None:
            self.bars.stop()
        self.bars, self.evaluations = None, None
        self.tasks.clear()

    def _start_run(self, event: events.RunStarted) -> None:
        self.started[event.run.run_id] = event
        if self.evaluations is not None:
            return
        name = f"{event.run.label}: " if self.plan is not None else ""
        for warning in event.warnings:
            self._line(f"{name}{warning}", "yellow")
        if event.step and self.plan is None:
            self._line(f"going on from step {event.step:,} of {event.run.run.folder}")
        self.elsewhere.pop(event.run.run_id, None)
        self._add_bar(event.run, "first step")

    def _report(self, event: events.RunReported) -> None:
        report, started = event.report, self.started[event.run.run_id]
        details = [f"step {report.step:,}", f"loss {report.loss:.4f}"]
        if report.value is not None:
            details.append(f"val {console.format_metric(started.metric, report.value)}")
        if self.plan is None:
            self.trained = report
            details.append(f"{report.throughput:,.0f} {started.unit}")
            details.append(f"{duration(report.seconds_left)} left")
        else:
            self.outcomes[event.run.run_id] = Outcome(
                "partial",
                share=report.share,
                seconds=report.seconds,
                whole_seconds=report.whole_seconds,
                left_seconds=report.seconds_left,
            )
        text = " · ".join(details)
        self._show(event.run.run_id, completed=report.share, details=text)
        if self._quiet_for_long():
            name = f"{self._count()} {event.run.label}: " if self.plan is not None else ""
            self._line(f"{name}{report.share:.0%} · {text}")

    def _evaluate(self, event: events.RunEvaluating) -> None:
        if self.evaluations is not None:
            self._show(_ALL, details=console.printable(f"{event.run.label} at {event.split}"))
        else:
            self._show(event.run.run_id, details=f"evaluating on {event.split}")

    def _wait_for(self, event: events.RunLockedElsewhere) -> None:
        """A bar for a run that others train; runs that nobody trains yet are only counted."""
        run_id = event.run.run_id
        before = self.elsewhere.get(run_id)
        self.elsewhere[run_id] = event
        self.outcomes[run_id] = event.outcome
        if event.queued is not None:
            self._remove_bar(run_id)
        else:
            self._add_bar(event.run, event.who)
            self._show(run_id, completed=event.outcome.share, details=event.who)
            known = before is not None and (before.who, before.queued) == (event.who, None)
            if self.bars is None and not known:
                self._line(f"{event.run.label}: {event.who} trains it")
        if self._quiet_for_long():
            self._line(f"{self._count()} {self._others()}")

    def _others(self) -> str:
        """How many runs others train, and what the queued ones wait for."""
        queued = [event.queued for event in self.elsewhere.values() if event.queued is not None]
        parts = []
        if running := len(self.elsewhere) - len(queued):
            parts.append(f"{running} trained elsewhere")
        if queued:
            reasons = ", ".join(sorted({reason for reason in queued if reason}))
            parts.append(f"{len(queued)} queued" + (f" ({reasons})" if reasons else ""))
        return " · ".join(parts)

    def _end_run(self, event: events.RunEnded) -> None:
        outcome = event.outcome
        if self.evaluations is not None:
            self.evaluated += 1
            if outcome.state == "failed":
                self._warn(f"{event.run.label} could not be measured: {outcome.error}")
            return
        self.outcomes[event.run.run_id] = outcome
        self.elsewhere.pop(event.run.run_id, None)
        self._remove_bar(event.run.run_id)
        if self.plan is None:
            return
        if outcome.state == "finished":
            style, result = "dim", f"{_score(outcome)} ({duration(outcome.seconds)})"
        else:
            style = "yellow" if outcome.state == "diverged" else "red"
            result = f"{outcome.state}: {outcome.error or 'no reason given'}"
        self._line(f"{self._count()} {event.run.label}: {result}", style)

    def _count(self) -> str:
        return f"{self.over}/{self.total}"

    def _quiet_for_long(self) -> bool:
        silent_seconds = time.monotonic() - self.printed_at
        return self.bars is None and silent_seconds > console.QUIET_SECONDS

    def _read_data(self, progress: Progress) -> None:
        """Shows how far the reading of data has come, where it takes long."""
        if time.monotonic() - self.printed_at >= DATA_SECONDS:
            left = f", {duration(progress.seconds_left)} left" if progress.rate else ""
            self._line(
                f"{progress.what}: {progress.done:,} of {progress.total:,}, "
                f"{progress.rate:,.0f} a second{left}"
            )

    def _line(self, text: str, style: str = "dim") -> None:
        from rich.text import Text

        self.printed_at = time.monotonic()
        target = self.bars.console if self.bars is not None else self.screen
        target.print(Text(console.printable(text), style=style), soft_wrap=True)

    def _warn(self, text: str) -> None:
        target = self.bars.console if self.bars is not None else self.screen
        console.warn(text, target)

    def _start_bars(self, title: str | None, total: int = 0) -> None:
        if not (self.screen.is_terminal or self.screen.is_jupyter):
            return
        from rich.progress import BarColumn, TextColumn

        from liere_cli.cli.provisional import TableAboveBars

        # the terminal shows ^C at the end of the last line: where that made the line one row
        # longer, a copy of it would stay
        width = max(self.screen.width - ECHO_WIDTH, console.MIN_WIDTH)
        screen = console.stderr(width=width)
        self.bars = TableAboveBars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[details]}", markup=False),
            console=screen,
            transient=True,
        )
        if title is not None:
            self.tasks[_ALL] = self.bars.add_task(title, total=float(total), details="")
            self._update_total()
        self.bars.start()

    def _add_bar(self, run: ComparedRun, details: str) -> None:
        if self.bars is None and self.plan is None:
            self._start_bars(None)
        if self.bars is not None and run.run_id not in self.tasks:
            name = run.label if self.plan is not None else f"{run.encoding} on {run.data}"
            self.tasks[run.run_id] = self.bars.add_task(
                console.printable(name), total=1.0, details=console.printable(details)
            )

    def _remove_bar(self, run_id: str) -> None:
        task = self.tasks.pop(run_id, None)
        if self.bars is not None and task is not None:
            self.bars.remove_task(task)

    def _show(self, run_id: str, **fields: Any) -> None:
        if self.bars is not None and run_id in self.tasks:
            self.bars.update(self.tasks[run_id], **fields)

    def _update_total(self) -> None:
        if self.evaluations is not None:
            self._show(_ALL, completed=float(self.evaluated))
        if self.plan is None or self.bars is None:
            return
        left = seconds_left(self.plan, self.outcomes, self.jobs)
        unknown = "time left unknown until the first reports"
        time_left = unknown if left is None else f"about {duration(left)} left"
        parts = (self._count(), time_left, self._others())
        details = console.printable(" · ".join(part for part in parts if part))
        self._show(_ALL, completed=float(self.over), details=details)


def _score(outcome: Outcome) -> str:
    """On the test split; of a run that is not tested, on the validation split."""
    summary = outcome.summary
    if summary is None:
        return "no result"
    if summary.test is not None:
        return console.format_metric(summary.metric, summary.test)
    return f"val {console.format_metric(summary.metric, summary.val)}"
