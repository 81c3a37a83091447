"""Training callbacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # commands that only read runs never import torch
    from liere_cli.runs.build import RunSpec
    from liere_cli.runs.folder import Run
    from liere_cli.runs.summary import RunSummary


@dataclass(frozen=True)
class Report:
    """The state of training at a logged step.

    Args:
        share: used share of the budget, 0 to 1.
        loss: mean training loss in nats since the last report.
        value: latest validation metric, if any.
        throughput: examples (or tokens of text) per second of training.
        seconds_left: estimated time until the run is over, evaluations included.
        seconds: of training so far.
        whole_seconds: estimated time of the whole run, evaluations included.
    """

    step: int
    share: float
    loss: float
    value: float | None
    throughput: float
    seconds_left: float
    seconds: float = 0.0
    whole_seconds: float | None = None


class Callbacks:
    """Called by the training loop; these do nothing."""

    def on_start(self, run_spec: RunSpec, run: Run, step: int, warnings: list[str]) -> None:
        """Before the first step; ``step`` is that of the checkpoint that training resumes from."""

    def on_report(self, report: Report) -> None:
        """At every logged step."""

    def on_evaluate(self, split: str) -> None:
        """Before an evaluation."""

    def on_log(self, line: Mapping[str, float | None]) -> None:
        """At every line of metrics.jsonl; a resumed run begins with those before its checkpoint."""

    def on_end(self, summary: RunSummary | None) -> None:
        """After the last step and evaluation; None where the run failed or was interrupted."""
