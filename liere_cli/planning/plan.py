"""What a comparison spans: data sets x encodings x seeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Generic

from typing_extensions import TypeVar

from liere_cli.config.compare import CompareSettings

if TYPE_CHECKING:  # listing runs imports neither numpy nor scipy
    from liere_cli.config.budget import Budget
    from liere_cli.config.recipe import Recipe
    from liere_cli.evaluation.conditions import TransferProtocol
    from liere_cli.planning.tuning_result import TuningResult
    from liere_cli.runs.folder import Run
    from liere_cli.statistics.sequential import InterimAnalyses


@dataclass(frozen=True)
class ComparedRun:
    """An encoding on a data set at a seed.

    Args:
        data, encoding: short labels.
        seed: under which it is paired with others; its own, except for an encoding that is compared
            with itself.
        run: the folder where it lies or will lie.
    """

    data: str
    encoding: str
    seed: int
    run: Run
    run_id: str

    @property
    def label(self) -> str:
        return f"{self.data} · {self.encoding} · seed {self.seed}"


@dataclass(frozen=True)
class PlannedRun(ComparedRun):
    """A run that can be trained.

    Args:
        request: the recipe to train, as written.
        detail: what distinguishes it from others of the same encoding and seed.
    """

    request: Recipe
    detail: str = ""

    @property
    def label(self) -> str:
        parts = (self.data, self.encoding, self.detail, f"seed {self.request.seed}")
        return " · ".join(part for part in parts if part)


#: what a plan consists of: runs to train, or runs that were only read
RunT = TypeVar("RunT", bound=ComparedRun, covariant=True, default=ComparedRun)


@dataclass(frozen=True)
class PlannedEncoding(Generic[RunT]):
    """One row: an encoding with its runs, or the reason why it has none on this data set.

    Args:
        own_seeds: of the baseline where it is compared with itself, which no other row has.
        extensions: methods by which it can serve other grids.
    """

    label: str
    runs: tuple[RunT, ...] = ()
    undefined: str | None = None
    tuned: TuningResult | None = None
    own_seeds: tuple[int, ...] = ()
    extensions: tuple[str, ...] = ("none",)


@dataclass(frozen=True)
class DatasetPlan(Generic[RunT]):
    """One data set with its encodings, all at one model, budget and set of seeds.

    Args:
        title: the data's label and, where two data sets share it, what differs.
        modality: ``text``, ``images``, ``video`` or the number of axes.
        metric: ``top1`` (a share of 1), ``bits_per_byte`` or ``bits_per_token``.
        baseline: label of the encoding that the others are compared with; None: there is none.
        margin: the smallest difference worth caring about, in the metric's unit.
        test_limit: items or windows of the test split that are scored; None: all.
        setting: the values of ``compare.over`` that it has; empty where the recipe compares none.
        family: the same for data sets that differ in nothing but the fraction.
        transfer: other grids at which its runs are measured, where the recipe asks.
        notes: what was changed in what the recipe asks, and what was read from the user's files.
    """

    title: str
    modality: str
    data: str
    fingerprint: str
    metric: str
    budget: Budget
    encodings: tuple[PlannedEncoding[RunT], ...]
    baseline: str | None
    margin: float | None = None
    test_limit: int | None = None
    fraction: float = 1.0
    family: str = ""
    setting: str = ""
    transfer: TransferProtocol | None = None
    notes: tuple[str, ...] = ()

    @property
    def higher_is_better(self) -> bool:
        return not self.metric.startswith("bits_per_")

    @property
    def runs(self) -> tuple[RunT, ...]:
        return tuple(run for row in self.encodings for run in row.runs)


@dataclass(frozen=True)
class Plan(Generic[RunT]):
    """The runs of a comparison, planned by a recipe or read from folders.

    Args:
        experiment: folder of the runs, under the outputs folder.
        seeds: in the order in which they run.
        interim: of a comparison that adds seeds until it is settled; the plan then holds all runs
            that may be needed.
    """

    experiment: str
    datasets: tuple[DatasetPlan[RunT], ...]
    seeds: tuple[int, ...]
    compare: CompareSettings = field(default_factory=CompareSettings)
    interim: InterimAnalyses | None = None

    @cached_property
    def runs(self) -> tuple[RunT, ...]:
        """Every run once, seed by seed, so that an interrupted comparison has whole pairs."""
        order = {seed: index for index, seed in enumerate(self.seeds)}
        runs = [run for dataset in self.datasets for run in dataset.runs]

        def by_seed(run: ComparedRun) -> int:
            return order[run.seed]

        by_id: dict[str, RunT] = {}
        for run in sorted(runs, key=by_seed):
            by_id.setdefault(run.run_id, run)
        return tuple(by_id.values())


@dataclass(frozen=True)
class RecipePlan(Plan[PlannedRun]):
    """A comparison that can be run, with the recipe that every flag is merged into."""

    recipe: Recipe = field(kw_only=True)
