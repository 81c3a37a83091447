"""The table of one data set: one row an encoding, every number typed."""

from dataclasses import dataclass

from liere_cli.planning.tuning_result import TuningResult
from liere_cli.statistics.paired import Paired
from liere_cli.statistics.ratios.learning_curves import Efficiency
from liere_cli.statistics.scores import highest_failure_rate
from liere_cli.statistics.verdicts import Verdict


@dataclass(frozen=True)
class Row:
    """One encoding on one data set.

    Args:
        planned, finished, diverged, failed, unfinished: runs; the first is the sum of the others.
        values: test value of every finished run, by seed, in the metric's unit.
        mean, std: over finished runs (ddof 1); None where there are too few.
        undefined: why the encoding has no runs on this data.
        tuned: how its settings were chosen, where the recipe asks for that.
        own_seeds: seeds that trained a baseline which is compared with itself; ``values`` is keyed
            by the seeds of the runs that it is compared with.
        errors: of failed and diverged runs, without repetition.
        verdict: against the baseline; None for the baseline itself and in a table without one.
        throughput: mean examples or tokens (``throughput_unit``) a second of training.
        seconds: mean training time of a finished run.
        flops_per_token: of a forward pass, where its runs counted them.
    """

    encoding: str
    is_baseline: bool
    planned: int
    finished: int
    diverged: int
    failed: int
    unfinished: int
    values: dict[int, float]
    mean: float | None
    std: float | None
    undefined: str | None = None
    tuned: TuningResult | None = None
    own_seeds: tuple[int, ...] = ()
    errors: tuple[str, ...] = ()
    verdict: Verdict | None = None
    parameters: int | None = None
    encoding_parameters: int | None = None
    throughput: float | None = None
    throughput_unit: str | None = None
    seconds: float | None = None
    flops_per_token: float | None = None

    @property
    def over(self) -> int:
        """Runs that ended, with a score or without."""
        return self.finished + self.diverged + self.failed

    @property
    def highest_failure_rate(self) -> float | None:
        """95% upper bound on the chance that a run diverges or fails; None before any ended."""
        if self.over == 0:
            return None
        return highest_failure_rate(self.diverged + self.failed, self.over)

    @property
    def estimate(self) -> Paired | None:
        """The paired difference to the baseline."""
        return self.verdict.estimate if self.verdict else None


@dataclass(frozen=True)
class DatasetTable:
    """One data set; fields are those of :class:`liere_cli.planning.plan.DatasetPlan`, and further

    Args:
        warnings: reasons not to compare its numbers at face value.
        notes: what was changed in what the recipe asks.
        efficiency: against the baseline by learning curves, where the recipe asks for it.
    """

    title: str
    modality: str
    data: str
    fingerprint: str
    metric: str
    higher_is_better: bool
    baseline: str | None
    margin: float | None
    budget: str
    test_limit: int | None
    rows: tuple[Row, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    efficiency: tuple[Efficiency, ...] = ()

    def compares(self, row: Row) -> bool:
        """Whether the row is compared with a baseline."""
        return self.baseline is not None and not row.is_baseline and row.undefined is None
