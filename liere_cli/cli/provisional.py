"""The provisional table above the progress bars of a comparison."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.progress import Progress

from liere_cli.launchers import events

if TYPE_CHECKING:
    from liere_cli.planning.plan import Plan, PlannedRun
    from liere_cli.planning.progress import Outcome


class TableAboveBars(Progress):
    """Progress bars below a table, which is left out where the terminal has too few lines."""

    table: Group | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.table is not None:
            lines = len(self.table.renderables) + len(self.tasks) + 1
            if self.console.is_jupyter or lines < self.console.height:
                yield self.table
        yield from super().get_renderables()


class ProvisionalTable:
    """Makes a table of the runs that are over, whenever a data set has one seed more.

    The table only shows numbers: nothing is decided by it, and it is not recorded as judged.
    """

    def __init__(self) -> None:
        self._plan: Plan[PlannedRun] | None = None
        self._outcomes: dict[str, Outcome] = {}
        self._seeds: list[int] = []

    def __call__(self, event: events.Event, width: int, encoding: str) -> Group | None:
        """A new table, or None where the event adds no seed to any data set."""
        if isinstance(event, events.TrainingStarted):
            self._plan, self._outcomes, self._seeds = event.plan, dict(event.outcomes), []
        elif isinstance(event, events.RunEnded) and self._plan is not None:
            self._outcomes[event.run.run_id] = event.outcome
        else:
            return None
        seeds = self._whole_seeds(self._plan)
        if seeds == self._seeds:
            return None
        self._seeds = seeds
        return self._table(self._plan, width, encoding) if max(seeds, default=0) > 1 else None

    def _whole_seeds(self, plan: Plan[PlannedRun]) -> list[int]:
        """For each data set the number of seeds at which all encodings are over."""
        numbers = []
        for dataset in plan.datasets:
            left = {run.seed for run in dataset.runs if not self._outcomes[run.run_id].over}
            numbers.append(len({run.seed for run in dataset.runs} - left))
        return numbers

    def _table(self, plan: Plan[PlannedRun], width: int, encoding: str) -> Group | None:
        from liere_cli.comparison.tables.build import make_table
        from liere_cli.config.compare import CompareSettings
        from liere_cli.report.formats.provisional import provisional

        # scores alone: further analyses wait for the end
        plain = replace(plan, compare=CompareSettings(), interim=None)
        return provisional(make_table(plain, self._outcomes), width, encoding)
