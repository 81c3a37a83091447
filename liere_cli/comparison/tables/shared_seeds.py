"""The seeds at which runs are compared, and their differences per test item."""

from collections.abc import Mapping, Sequence
from itertools import takewhile

from liere_cli.planning.plan import Plan, PlannedEncoding
from liere_cli.planning.progress import Outcome
from liere_cli.runs.folder import Run
from liere_cli.runs.item_results import item_results
from liere_cli.statistics.item_errors import ItemDifferences, item_differences


def shared_seeds(
    plan: Plan, rows: Sequence[PlannedEncoding], outcomes: Mapping[str, Outcome]
) -> list[int]:
    """Seeds at which all rows finished; with interim analyses only those before the first gap.

    Args:
        outcomes: of the plan's runs, by identity.
    """
    by_seed = [{run.seed: outcomes[run.run_id] for run in row.runs} for row in rows]
    seeds = plan.seeds
    if plan.interim is not None:
        # a seed that is filled in later would change the data of earlier analyses
        seeds = tuple(
            takewhile(lambda seed: all(seed in row and row[seed].over for row in by_seed), seeds)
        )
    return [
        seed
        for seed in seeds
        if all(seed in row and row[seed].state == "finished" for row in by_seed)
    ]


def items_between(
    encoding: PlannedEncoding, baseline: PlannedEncoding, seeds: Sequence[int], metric: str
) -> ItemDifferences | None:
    """Differences per test item; None unless every run stored its results."""
    if len(seeds) < 2:
        return None
    results = [
        [item_results(run, metric) for run in runs_at(row, seeds)] for row in (encoding, baseline)
    ]
    return item_differences(*results)


def runs_at(row: PlannedEncoding, seeds: Sequence[int]) -> list[Run]:
    """The row's runs at those seeds, in their order."""
    runs = {run.seed: run.run for run in row.runs}
    return [runs[seed] for seed in seeds]
