"""The plan of a comparison with the outcomes of its runs, from which every table is made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from liere_cli.planning.plan import ComparedRun, Plan, PlannedEncoding
from liere_cli.planning.progress import Outcome
from liere_cli.runs.item_results import ItemReader
from liere_cli.statistics.item_errors import ItemDifferences, StoredItemError


@dataclass(frozen=True)
class Results:
    """What the tables are functions of.

    Args:
        outcomes: of every run of the plan, by identity.
        items: reader of results per item, which may have some of them in memory.
    """

    plan: Plan
    outcomes: Mapping[str, Outcome]
    items: ItemReader = field(default_factory=ItemReader)

    def finished(self, row: PlannedEncoding) -> list[ComparedRun]:
        return [run for run in row.runs if self.outcomes[run.run_id].state == "finished"]

    def shared_seeds(self, rows: Sequence[PlannedEncoding]) -> list[int]:
        """Seeds at which all rows finished; with interim analyses only those before a gap."""
        by_seed = [{run.seed: self.outcomes[run.run_id] for run in row.runs} for row in rows]
        seeds = self.plan.seeds
        if self.plan.interim is not None:
            # a seed that is filled in later would change the data of earlier analyses
            seeds = tuple(
                takewhile(
                    lambda seed: all(seed in row and row[seed].over for row in by_seed), seeds
                )
            )
        return [
            seed
            for seed in seeds
            if all(seed in row and row[seed].state == "finished" for row in by_seed)
        ]

    def items_between(
        self,
        encoding: PlannedEncoding,
        baseline: PlannedEncoding,
        seeds: Sequence[int],
        metric: str,
    ) -> ItemDifferences | StoredItemError | None:
        """Differences per test item; None below 2 seeds, or if a run stored no results."""
        if len(seeds) < 2:
            return None
        runs = [{run.seed: run.run for run in row.runs} for row in (encoding, baseline)]
        ours, theirs = ([by_seed[seed] for seed in seeds] for by_seed in runs)
        return self.items.between(ours, theirs, metric)
