"""Cells that other processes train: left for the end, then waited for or taken over."""

from liere_cli.claims import owner_of, seems_held
from liere_cli.comparison.cells import Outcome, PlannedRun
from liere_cli.comparison.worker import CellEnded, Listener, elsewhere, progress

#: between two looks at them
LOOK_SECONDS = 2.0


class Waiting:
    """What others train, by identity."""

    def __init__(self, listener: Listener) -> None:
        self.runs: dict[str, PlannedRun] = {}
        self.listener = listener

    def add(self, planned: PlannedRun) -> None:
        self.runs[planned.run_id] = planned

    def __bool__(self) -> bool:
        return bool(self.runs)

    def look(self) -> tuple[dict[str, Outcome], list[PlannedRun]]:
        """What has come of them; says of the others who has them.

        Returns:
            Outcomes of those that are over, and those that nobody trains any more.
        """
        over: dict[str, Outcome] = {}
        free = []
        for planned in list(self.runs.values()):
            outcome = progress(planned)
            if outcome.over:
                over[planned.run_id] = outcome
                self.listener(CellEnded(planned, outcome))
            elif not seems_held(planned.run):
                free.append(planned)
            else:
                self.listener(elsewhere(planned, owner_of(planned.run)))
                continue
            del self.runs[planned.run_id]
        return over, free
