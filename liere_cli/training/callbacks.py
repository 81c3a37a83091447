"""What a run tells those who watch it."""

from dataclasses import dataclass
from typing import Protocol

from liere_cli.runs.build import RunSpec
from liere_cli.runs.folder import Run


@dataclass(frozen=True)
class Report:
    """What an observer is told at every logged step.

    Args:
        step: steps taken.
        share: used share of the budget, 0 to 1.
        loss: mean training loss in nats since the last report.
        value: latest validation metric, if any.
        throughput: examples (or tokens of text) per second of training.
        seconds_left: estimated training time still to come.
    """

    step: int
    share: float
    loss: float
    value: float | None
    throughput: float
    seconds_left: float


class Observer(Protocol):
    """Someone who watches a run; the loop itself knows no terminal."""

    def started(self, run_spec: RunSpec, run: Run, step: int, warnings: list[str]) -> None: ...

    def reported(self, report: Report) -> None: ...

    def evaluating(self, split: str) -> None: ...


class Silent:
    """Nobody watches."""

    def started(self, run_spec: RunSpec, run: Run, step: int, warnings: list[str]) -> None: ...

    def reported(self, report: Report) -> None: ...

    def evaluating(self, split: str) -> None: ...
