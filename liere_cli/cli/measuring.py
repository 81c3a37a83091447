"""Finished runs while they are measured at other grids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from liere_cli.cli import console

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.status import Status

    from liere_cli.comparison.cells import Outcome, Plan
    from liere_cli.comparison.worker import Event, Site


def measure(plan: Plan, found: Mapping[str, Outcome], site: Site, jobs: int) -> dict[str, str]:
    """Measures what finished runs lack; returns why some could not be measured, by identity."""
    from liere_cli.comparison.measuring import measure_runs
    from liere_cli.comparison.transfer import unmeasured

    lacking = unmeasured(plan, found)
    if not lacking:
        return {}
    passes = sum(len(places) for _, places in lacking.values())
    console.note(f"measuring {len(lacking)} runs at other grids: {passes} passes over test items")
    with console.stderr().status("loading") as status:
        return measure_runs(lacking, site, jobs=jobs, listener=_Listener(status, len(lacking)))


class _Listener:
    """Says which run is measured where, and what went wrong."""

    def __init__(self, status: Status, total: int) -> None:
        self.status, self.total, self.over = status, total, 0

    def __call__(self, event: Event) -> None:
        from liere_cli.comparison.worker import CellEnded, CellEvaluating

        if isinstance(event, CellEvaluating):
            where = f"{event.run.label} at {event.split}"
            self.status.update(console.printable(f"{self.over}/{self.total} {where}"))
        elif isinstance(event, CellEnded):
            self.over += 1
            if event.outcome.state == "failed":
                console.warn(f"{event.run.label} could not be measured: {event.outcome.error}")
