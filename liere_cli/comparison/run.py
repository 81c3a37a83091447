"""A comparison from its recipe to its verdicts.

Plan, tune where the recipe asks, train what is missing, add seeds until verdicts are settled,
evaluate at other grids, judge. Every step is a function of the recipe and of the runs that exist,
so that an interrupted comparison continues and a repeated one trains nothing.
"""

from collections.abc import Mapping, Set
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

from liere_cli.comparison.adaptive_seeds import begun_part, next_runs
from liere_cli.comparison.looks import Record
from liere_cli.comparison.tables.build import ComparisonResult, make_table
from liere_cli.comparison.tables.transfer import unmeasured
from liere_cli.comparison.tuning import Search, plan_search, tuned_plan
from liere_cli.config.compare import CompareSettings
from liere_cli.config.recipe import Recipe
from liere_cli.errors import UsageError, counted, unwritable
from liere_cli.launchers import events
from liere_cli.launchers.events import Listener, Notice, PlanReady, ignore
from liere_cli.launchers.probe import probe
from liere_cli.launchers.select import Execution
from liere_cli.launchers.transfer_eval import evaluate_runs
from liere_cli.planning.from_recipe import plan_comparison, repeated
from liere_cli.planning.plan import Plan, PlannedRun, RecipePlan
from liere_cli.planning.progress import Outcome, outcomes_of
from liere_cli.runs.context import Context
from liere_cli.training.run import tidy


def compare(recipe: Recipe, execution: Execution, listener: Listener = ignore) -> ComparisonResult:
    """Trains what is missing of a comparison, and judges it, as :func:`liere_cli.compare`."""
    return _Flow(execution, listener).compare(recipe)


def preview(recipe: Recipe, execution: Execution, listener: Listener = ignore) -> list[PlanReady]:
    """The plans that :func:`compare` would carry out: tuning runs first, where they are not over.

    The comparison's own plan is missing while tuning has yet to choose its settings.
    """
    flow = _Flow(execution, listener)
    plan = flow.plan(recipe)
    search, outcomes = flow.search(plan)
    plans = []
    if search is not None:
        if search.plan.runs:
            plans.append(PlanReady(search.plan, outcomes, flow.jobs))
        if not all(outcome.over for outcome in outcomes.values()):
            return plans
        plan = tuned_plan(plan, search, outcomes, execution.training)
    return [*plans, PlanReady(plan, outcomes_of(plan), flow.jobs)]


def judge(recipe: Recipe, context: Context) -> ComparisonResult:
    """The comparison by the runs that are over; nothing is trained.

    Args:
        context: with the device on which the runs were trained, which this machine need not have.

    Raises UsageError while the recipe's tuning is not over.
    """
    plan = plan_comparison(recipe, context)
    search = plan_search(plan, context)
    if search is not None:
        tuned = outcomes_of(search.plan)
        if not all(outcome.over for outcome in tuned.values()):
            raise UsageError(
                f"{plan.experiment}: its tuning is not over; liere compare continues it"
            )
        plan = tuned_plan(plan, search, tuned, context)
    outcomes = outcomes_of(plan)
    if plan.interim is not None:
        plan = begun_part(plan, outcomes)
    return ComparisonResult(plan, outcomes, make_table(plan, outcomes))


class _Flow:
    def __init__(self, execution: Execution, listener: Listener) -> None:
        self.execution, self.listener = execution, listener
        self.context, self.jobs = execution.training, execution.jobs or 1

    def compare(self, recipe: Recipe) -> ComparisonResult:
        plan = self._tune(self.plan(recipe))
        outcomes = outcomes_of(plan)
        record = Record.of(plan)
        self.listener(PlanReady(plan, outcomes, self.jobs))
        if plan.interim is None:
            outcomes |= self._train(plan, outcomes)
        else:
            plan, outcomes = self._train_until_settled(plan, outcomes, record)
        errors = self._evaluate_elsewhere(plan, outcomes)
        looks = record.looks(plan, outcomes)
        table = make_table(plan, outcomes, errors=errors, looks=looks)
        record.add(plan, outcomes)
        return ComparisonResult(plan, outcomes, table)

    def plan(self, recipe: Recipe) -> RecipePlan:
        plan = plan_comparison(recipe, self.context)
        self.execution = self.execution.sized_for(plan.runs)
        self.jobs = self.execution.jobs or 1
        for name in repeated((recipe.compare or CompareSettings()).encodings):
            self.listener(Notice(f"{name} is listed twice, and compared once"))
        # the fractions of a data set share their notes
        notes: dict[tuple[str, str], str] = {}
        for dataset in plan.datasets:
            for note in dataset.notes:
                notes.setdefault((dataset.data, note), dataset.title)
        for (_, note), title in notes.items():
            self.listener(Notice(f"{title}: {note}"))
        return plan

    def search(self, plan: RecipePlan) -> tuple[Search | None, dict[str, Outcome]]:
        """The runs that tune the plan's encodings, where its recipe asks, and their outcomes."""
        search = plan_search(plan, self.context)
        return search, {} if search is None else outcomes_of(search.plan)

    def _tune(self, plan: RecipePlan) -> RecipePlan:
        search, outcomes = self.search(plan)
        if search is None:
            return plan
        if search.plan.runs:
            self.listener(PlanReady(search.plan, outcomes, self.jobs))
        outcomes |= self._train(search.plan, outcomes)
        return tuned_plan(plan, search, outcomes, self.context)

    def _train_until_settled(
        self, plan: RecipePlan, outcomes: dict[str, Outcome], record: Record
    ) -> tuple[RecipePlan, dict[str, Outcome]]:
        """Trains seed after seed until no verdict is open; the plan keeps the seeds used."""
        failed: set[str] = set()
        while True:
            looks = record.looks(plan, outcomes)
            batch = next_runs(plan, outcomes, failed, self.jobs, looks)
            if not batch.runs:
                break
            if batch.going:
                count = counted(batch.going, "comparison")
                self.listener(Notice(f"{count} not settled: seed {batch.runs[0].seed}"))
            chosen = {run.run_id for run in batch.runs}
            part = begun_part(plan, outcomes, chosen)
            later = {run.run_id for run in part.runs if not outcomes[run.run_id].over} - chosen
            outcomes |= self._train(part, outcomes, later | failed)
            failed |= {run_id for run_id in chosen if not outcomes[run_id].over}
        if batch.out_of_time:
            count = counted(batch.going, "comparison")
            self.listener(Notice(f"the time is up; {count} not settled"))
        return begun_part(plan, outcomes), outcomes

    def _train(
        self,
        plan: Plan[PlannedRun],
        outcomes: Mapping[str, Outcome],
        skipped: Set[str] = frozenset(),
    ) -> dict[str, Outcome]:
        """Trains the runs that are not over; returns their outcomes by identity."""
        for run in plan.runs:
            if outcomes[run.run_id].over:
                tidy(run.run)
        left = [
            run for run in plan.runs if not outcomes[run.run_id].over and run.run_id not in skipped
        ]
        if not left:
            return {}
        _check_writable(self.context.outputs / plan.experiment)
        context = replace(self.context, experiment=plan.experiment)
        if self.execution.probed and len(left) > 1:
            outcomes = {**outcomes, **probe(plan, outcomes, context)}
        self.listener(events.TrainingStarted(plan, outcomes, min(self.jobs, len(left))))
        try:
            return self.execution.launcher(left, context, self.listener)
        finally:
            self.listener(events.PhaseEnded())

    def _evaluate_elsewhere(
        self, plan: Plan[PlannedRun], outcomes: Mapping[str, Outcome]
    ) -> dict[str, str]:
        """Evaluates finished runs at other grids; returns the errors by identity."""
        missing = unmeasured(plan, outcomes)
        if not missing:
            return {}
        passes = sum(len(evaluations) for _, evaluations in missing.values())
        self.listener(events.TransferStarted(len(missing), passes))
        context, jobs = self.execution.evaluation, self.execution.evaluation_jobs
        try:
            return evaluate_runs(missing, context, jobs=jobs, listener=self.listener)
        finally:
            self.listener(events.PhaseEnded())


def _check_writable(folder: Path) -> None:
    """Once and beforehand, so that not every run fails at it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise unwritable(folder, error) from None
