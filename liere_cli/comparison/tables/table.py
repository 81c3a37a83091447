"""The result of a comparison: one table a data set, one row an encoding, every number typed."""

from dataclasses import dataclass

from liere_cli.comparison.tables.fractions import FractionTable
from liere_cli.comparison.tables.learning_curves import Efficiency
from liere_cli.comparison.tables.transfer import TransferTable
from liere_cli.planning.tuning_result import TuningResult
from liere_cli.statistics.interaction import Interaction
from liere_cli.statistics.sequential import InterimAnalyses
from liere_cli.statistics.verdicts import Verdict


@dataclass(frozen=True)
class Row:
    """One encoding on one data set.

    Args:
        encoding: label.
        is_baseline: the others of its table are compared with this one.
        planned, finished, diverged, failed, unfinished: runs; the first is the sum of the others.
        values: test value of every finished run, by seed, in the metric's unit.
        mean, std: over finished runs (ddof 1); None where there are too few.
        verdict: against the baseline; None for the baseline itself and where there is none.
        undefined: why the encoding has no runs on this data.
        tuned: how its settings were chosen, where the recipe asks for that.
        own_seeds: of the baseline held against itself; ``values`` has those it is held against.
        errors: of failed and diverged runs, each once.
        parameters, encoding_parameters: of the model, and the encoding's own among them.
        throughput: mean examples or tokens (``throughput_unit``) a second of training.
        seconds: mean training time of a finished run.
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


@dataclass(frozen=True)
class DatasetTable:
    """One data set; see :class:`liere_cli.planning.plan.DatasetPlan` for the fields of that name.

    Args:
        warnings: what keeps its numbers from being compared at face value.
        efficiency: by learning curves, where the recipe asks.
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
    efficiency: tuple[Efficiency, ...] = ()


@dataclass(frozen=True)
class ComparisonTable:
    """All tables of a comparison, judged together.

    Args:
        comparisons: tests over which the p-values are corrected.
        alpha: chance of any wrong ``better`` or ``worse`` in all tables together.
        signature: one line that is enough to repeat the tables.
        looks: of a comparison that added seeds until it was settled.
        interactions: gains on one data set against those on another, where the recipe asks.
        fractions: of the training data side by side, where there are several of one data set.
        transfers: at other lengths and resolutions, where the recipe asks.
    """

    experiment: str
    datasets: tuple[DatasetTable, ...]
    comparisons: int
    alpha: float
    correction: str
    signature: str
    interim: InterimAnalyses | None = None
    interactions: tuple[Interaction, ...] = ()
    fractions: tuple[FractionTable, ...] = ()
    transfers: tuple[TransferTable, ...] = ()

    @property
    def failed(self) -> int:
        """Runs that failed or could not be measured, those that tune among them; diverged ones are
        results.
        """
        rows = [row for dataset in self.datasets for row in dataset.rows]
        trained = sum(row.failed + (row.tuned.failed if row.tuned else 0) for row in rows)
        return trained + sum(len(one.faults or {}) for one in self.transfers)
