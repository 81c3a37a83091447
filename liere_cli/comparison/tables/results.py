"""The plan of a comparison with the outcomes of its runs, from which every table is made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np

from liere_cli.planning.plan import ComparedRun, DatasetPlan, Plan, PlannedEncoding
from liere_cli.planning.progress import Outcome
from liere_cli.runs.item_results import ItemReader
from liere_cli.statistics.item_errors import ItemDifferences, StoredItemError
from liere_cli.statistics.scores import Scores


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

    def unsuccessful(self, row: PlannedEncoding) -> list[ComparedRun]:
        """Runs that ended without a score."""
        ends = ("diverged", "failed")
        return [run for run in row.runs if self.outcomes[run.run_id].state in ends]

    def shared_seeds(self, rows: Sequence[PlannedEncoding]) -> list[int]:
        """Seeds at which all rows finished, of those that are analysed."""
        by_seed = self._by_seed(rows)
        return [
            seed
            for seed in self.analysed_seeds(rows)
            if all(seed in row and row[seed].state == "finished" for row in by_seed)
        ]

    def analysed_seeds(self, rows: Sequence[PlannedEncoding]) -> tuple[int, ...]:
        """Seeds that are analysed: all; with interim analyses only those before a gap."""
        if self.plan.interim is None:
            return self.plan.seeds
        by_seed = self._by_seed(rows)
        # a seed that is filled in later would change the data of earlier analyses
        return tuple(
            takewhile(
                lambda seed: all(seed in row and row[seed].over for row in by_seed),
                self.plan.seeds,
            )
        )

    def _by_seed(self, rows: Sequence[PlannedEncoding]) -> list[dict[int, Outcome]]:
        return [{run.seed: self.outcomes[run.run_id] for run in row.runs} for row in rows]

    def scores(self, dataset: DatasetPlan, values: Sequence[Mapping[int, float]]) -> Scores:
        """Scores of a data set's encodings, one row each; ``values`` are each row's, by seed."""
        own_seeds = {run.seed for row in dataset.encodings for run in row.runs}
        # a plan of finished runs may miss seeds at which runs failed
        seeds = [*self.plan.seeds, *sorted(own_seeds - set(self.plan.seeds))]
        shape = (len(dataset.encodings), len(seeds))
        scores, failed = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
        column = {seed: index for index, seed in enumerate(seeds)}
        for index, (row, own) in enumerate(zip(dataset.encodings, values, strict=True)):
            failed[index, [column[run.seed] for run in self.unsuccessful(row)]] = True
            scores[index, [column[seed] for seed in own]] = list(own.values())
        return Scores(scores, failed, dataset.higher_is_better)

    def columns(self, seeds: Sequence[int]) -> tuple[int, ...]:
        """Columns of :meth:`scores` that hold these seeds."""
        return tuple(map(self.plan.seeds.index, seeds))

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
