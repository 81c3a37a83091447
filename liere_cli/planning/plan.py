"""What a comparison spans: data sets x encodings x seeds, and how far each run has come."""

from dataclasses import dataclass
from functools import cached_property

from liere_cli.config.budget import Budget
from liere_cli.config.recipe import Recipe
from liere_cli.evaluation.conditions import TransferProtocol
from liere_cli.planning.tuning_result import TuningResult
from liere_cli.runs.folder import Run
from liere_cli.statistics.sequential import InterimAnalyses


@dataclass(frozen=True)
class PlannedRun:
    """One cell: an encoding on a data set at a seed.

    Args:
        data, encoding: short labels.
        seed: under which it is held against others; its own, but for an encoding that is held
            against itself.
        run: the folder where the run lies or will lie.
        run_id: its identity.
        request: the recipe to train, as written; None for a run that was only read.
        detail: what tells it from others of that label.
    """

    data: str
    encoding: str
    seed: int
    run: Run
    run_id: str
    request: Recipe | None = None
    detail: str = ""

    @property
    def label(self) -> str:
        seed = self.request.seed if self.request else self.seed
        parts = (self.data, self.encoding, self.detail, f"seed {seed}")
        return " · ".join(part for part in parts if part)


@dataclass(frozen=True)
class PlannedEncoding:
    """One row: an encoding with its runs, or why it has none on this data set.

    Args:
        tuned: how its settings were chosen, where the recipe asks for that.
        own_seeds: of the baseline where it is held against itself, which no other row has.
        extensions: methods by which it can serve other grids.
    """

    label: str
    runs: tuple[PlannedRun, ...] = ()
    undefined: str | None = None
    tuned: TuningResult | None = None
    own_seeds: tuple[int, ...] = ()
    extensions: tuple[str, ...] = ("none",)


@dataclass(frozen=True)
class DatasetPlan:
    """One data set with its encodings, all at one model, budget and set of seeds.

    Args:
        title: tells it from every other arm: the data's label, and what else differs.
        modality: ``text``, ``images``, ``video`` or the number of axes.
        metric: ``top1`` (a share of 1) or ``bits_per_byte``.
        baseline: label of the encoding that the others are compared with; None: there is none.
        margin: the smallest difference worth caring about, in the metric's unit.
        test_limit: items or windows of the test split that are scored; None: all.
        fraction: share of the training split.
        family: the same for arms that differ in nothing but the fraction.
        transfer: other grids at which its runs are measured, where the recipe asks.
    """

    title: str
    modality: str
    data: str
    fingerprint: str
    metric: str
    budget: Budget
    encodings: tuple[PlannedEncoding, ...]
    baseline: str | None
    margin: float | None = None
    test_limit: int | None = None
    fraction: float = 1.0
    family: str = ""
    transfer: TransferProtocol | None = None

    @property
    def higher_is_better(self) -> bool:
        return self.metric != "bits_per_byte"


@dataclass(frozen=True)
class Plan:
    """A comparison to be run, or one that is read from finished runs.

    Args:
        experiment: folder of the runs, under the outputs folder.
        seeds: in the order in which they run.
        recipe: what was asked for, with every flag merged in; None for runs that were only read.
        looks: of a comparison that adds seeds until it is settled; the plan then holds all runs
            that it may come to.
    """

    experiment: str
    datasets: tuple[DatasetPlan, ...]
    seeds: tuple[int, ...]
    recipe: Recipe | None = None
    interim: InterimAnalyses | None = None

    @cached_property
    def runs(self) -> tuple[PlannedRun, ...]:
        """Every run once, seed by seed: an interrupted comparison is paired as far as it came."""
        place = {seed: index for index, seed in enumerate(self.seeds)}
        every = [run for dataset in self.datasets for row in dataset.encodings for run in row.runs]
        by_id: dict[str, PlannedRun] = {}
        for run in sorted(every, key=lambda run: place[run.seed]):
            by_id.setdefault(run.run_id, run)
        return tuple(by_id.values())
