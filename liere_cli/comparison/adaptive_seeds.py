"""Which runs come next, until every verdict is settled or further seeds are unlikely to help.

A function of the runs that there are, and of nothing else: an interrupted comparison goes on where
it stopped, and one that is repeated trains nothing.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TypeVar

import numpy as np

from liere_cli.comparison.tables.build import make_table
from liere_cli.planning.plan import Plan, PlannedEncoding, PlannedRun
from liere_cli.planning.progress import Outcome, full_seconds
from liere_cli.statistics.correction import ALPHA
from liere_cli.statistics.paired import EQUIVALENCE_SEEDS
from liere_cli.statistics.power import MAX_SEEDS, detectable_difference
from liere_cli.statistics.sequential import FUTILE_POWER, InterimAnalyses
from liere_cli.statistics.verdicts import FIRST_LOOK, MIN_SEEDS, Looks, Verdict

PlanT = TypeVar("PlanT", bound=Plan[PlannedRun])


@dataclass(frozen=True)
class Next:
    """The next batch of a comparison.

    Args:
        runs: those of the closest verdict first; none: the comparison is over.
        going: number of comparisons that more seeds may settle.
        out_of_time: it is over because the next runs don't fit into its time.
    """

    runs: tuple[PlannedRun, ...]
    going: int
    out_of_time: bool = False


def next_runs(
    plan: Plan[PlannedRun],
    outcomes: Mapping[str, Outcome],
    failed: Set[str] = frozenset(),
    jobs: int = 1,
    looks: Looks = FIRST_LOOK,
) -> Next:
    """The runs that a comparison with interim analyses trains next.

    First the seeds that all comparisons begin with. Then one seed more, for each comparison that is
    neither settled nor futile, and for its baseline. Where time is limited, only for those that
    need the fewest seeds, as many as run at a time.

    ``failed`` are identities of runs that failed just now and are not repeated, ``looks`` earlier
    tables on the same runs.
    """
    assert plan.interim is not None
    settings = plan.compare.until_settled
    limit = settings.time.amount if settings and settings.time else None
    begun = set(plan.seeds[: plan.interim.first])
    first = [
        run
        for run in plan.runs
        if run.seed in begun and not outcomes[run.run_id].over and run.run_id not in failed
    ]
    if first:
        batch, going = first if limit is None else first[:jobs], 0
    else:
        ranked = _ranked(plan, plan.interim, outcomes, failed, looks)
        going = len(ranked)
        if limit is not None:  # as many comparisons as keep the workers busy
            begins = accumulate(map(len, ranked), initial=0)
            ranked = [runs for runs, count in zip(ranked, begins, strict=False) if count < jobs]
        batch = list({run.run_id: run for runs in ranked for run in runs}.values())
    if batch and limit is not None and _seconds_after(plan, outcomes, batch) > limit:
        return Next((), going, out_of_time=True)
    return Next(tuple(batch), going)


def begun_part(plan: PlanT, outcomes: Mapping[str, Outcome], also: Set[str] = frozenset()) -> PlanT:
    """The plan without the seeds that are not needed yet, but with the runs ``also``."""
    assert plan.interim is not None
    first = set(plan.seeds[: plan.interim.first])

    def kept(run: PlannedRun) -> bool:
        begun = outcomes[run.run_id].state != "missing"
        return begun or run.seed in first or run.run_id in also

    datasets = []
    for dataset in plan.datasets:
        rows = [replace(row, runs=tuple(filter(kept, row.runs))) for row in dataset.encodings]
        datasets.append(replace(dataset, encodings=tuple(rows)))
    used = {run.seed for dataset in datasets for run in dataset.runs}
    seeds = tuple(seed for seed in plan.seeds if seed in used)
    return replace(plan, datasets=tuple(datasets), seeds=seeds)


def _ranked(
    plan: Plan[PlannedRun],
    interim: InterimAnalyses,
    outcomes: Mapping[str, Outcome],
    failed: Set[str],
    looks: Looks,
) -> list[list[PlannedRun]]:
    """The next seed's runs of every open comparison, the closest verdict first."""
    table = make_table(plan, outcomes, looks=looks)
    entries = []
    for dataset, its_table in zip(plan.datasets, table.datasets, strict=True):
        baseline = next((row for row in dataset.encodings if row.label == dataset.baseline), None)
        for planned, row in zip(dataset.encodings, its_table.rows, strict=True):
            verdict, estimate = row.verdict, row.estimate
            if baseline is None or verdict is None or estimate is None:
                continue
            if _is_open(verdict, interim, max(table.comparisons, looks.comparisons)):
                missing = (verdict.seeds_needed or MAX_SEEDS) - estimate.n
                entries.append((missing, _next_seed(planned, baseline, outcomes, failed)))
    return [runs for _, runs in sorted(entries, key=lambda entry: entry[0]) if runs]


def _is_open(verdict: Verdict, interim: InterimAnalyses, comparisons: int) -> bool:
    """Whether more seeds may settle it."""
    estimate = verdict.estimate
    if estimate is None:
        return False
    if verdict.label is None and estimate.n < MIN_SEEDS:
        # runs failed: as many as did so far must leave enough seeds for a verdict
        return estimate.n * interim.last >= MIN_SEEDS * (estimate.n + len(verdict.pair.failed))
    if verdict.label != "undecided" or estimate.seed_error is None:
        return False
    alpha = ALPHA / comparisons
    hidden = 0.0
    prior = estimate.spread.prior if estimate.spread else 0.0
    if estimate.test_set is not None:
        level = alpha * interim.share(interim.last)
        hidden = detectable_difference(0.0, estimate.n, level, FUTILE_POWER, estimate.test_set)
    margin = verdict.pair.margin if interim.last >= EQUIVALENCE_SEEDS else None
    figures = (estimate.difference, estimate.seed_error, estimate.n)
    difference, error, n = map(np.array, figures)
    nan_or_margin = np.array(np.nan if margin is None else margin)
    return not interim.futile(difference, error, n, alpha, nan_or_margin, hidden, prior)


def _next_seed(
    encoding: PlannedEncoding[PlannedRun],
    baseline: PlannedEncoding[PlannedRun],
    outcomes: Mapping[str, Outcome],
    failed: Set[str],
) -> list[PlannedRun]:
    """The unfinished runs of the first seed that is not over; none where one just failed."""
    partners = {run.seed: run for run in baseline.runs}
    for run in encoding.runs:
        left = [one for one in (run, partners[run.seed]) if not outcomes[one.run_id].over]
        if left:
            return [] if any(one.run_id in failed for one in left) else left
    return []


def _seconds_after(
    plan: Plan[PlannedRun], outcomes: Mapping[str, Outcome], batch: list[PlannedRun]
) -> float:
    """Training seconds of all runs once the batch is done, as far as runs so far can tell."""
    spent = sum(outcomes[run.run_id].seconds for run in plan.runs)
    chosen = {run.run_id for run in batch}
    for dataset in plan.datasets:
        typical = full_seconds(dataset.runs, outcomes) or 0.0
        if dataset.budget.unit == "seconds":
            typical = dataset.budget.amount
        for row in dataset.encodings:
            whole = full_seconds(row.runs, outcomes) or typical
            for run in row.runs:
                if run.run_id in chosen:
                    chosen.remove(run.run_id)
                    spent += whole * (1 - outcomes[run.run_id].share)
    return spent
