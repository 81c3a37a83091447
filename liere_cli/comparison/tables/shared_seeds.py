"""Which runs of a comparison are held against each other."""

from collections.abc import Mapping, Sequence
from itertools import takewhile

from liere_cli.planning.plan import Plan, PlannedEncoding
from liere_cli.planning.progress import Outcome
from liere_cli.runs.folder import Run
from liere_cli.runs.item_results import item_results
from liere_cli.statistics.test_items import ItemDifferences, item_differences


def shared_seeds(
    plan: Plan, rows: Sequence[PlannedEncoding], found: Mapping[str, Outcome]
) -> list[int]:
    """Seeds at which all rows finished; where a comparison looks repeatedly, those before a gap."""
    states = [{run.seed: found[run.run_id] for run in row.runs} for row in rows]
    seeds = plan.seeds
    if plan.interim is not None:
        # a seed that is filled in later would change what earlier looks saw
        seeds = tuple(
            takewhile(lambda seed: all(seed in one and one[seed].over for one in states), seeds)
        )
    return [
        seed
        for seed in seeds
        if all(seed in one and one[seed].state == "finished" for one in states)
    ]


def items_between(
    encoding: PlannedEncoding, baseline: PlannedEncoding, seeds: Sequence[int], metric: str
) -> ItemDifferences | None:
    """Differences per test item, where every run stored its results."""
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
