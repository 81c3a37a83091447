"""How far each run has come, and how much training time is left."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from liere_cli.config.budget import Budget
from liere_cli.errors import LiereError
from liere_cli.planning.plan import ComparedRun, Plan
from liere_cli.runs.folder import MAX_SUMMARY_BYTES, Run
from liere_cli.runs.summary import RunSummary
from liere_cli.utils.files import read_json, seal

State = Literal["finished", "diverged", "failed", "partial", "missing"]


@dataclass(frozen=True)
class Outcome:
    """How far a run has come.

    Args:
        summary: of a run that is over, else None.
        share: used share of the budget, from the newest checkpoint of a run that is not over.
        seconds: of training so far, without evaluations.
        whole_seconds: of the whole run with its evaluations, measured or estimated; None: unknown.
        left_seconds: of the rest of a run in training, evaluations included.
    """

    state: State
    summary: RunSummary | None = None
    share: float = 0.0
    seconds: float = 0.0
    error: str | None = None
    whole_seconds: float | None = None
    left_seconds: float | None = None

    @property
    def over(self) -> bool:
        """Whether nothing is left to train; a failed run is tried again."""
        return self.state in ("finished", "diverged")


def outcome(planned: ComparedRun, budget: Budget) -> Outcome:
    try:
        summary = planned.run.summary()
    except LiereError as error:
        return Outcome("failed", error=str(error))
    if summary is not None:
        return outcome_of(summary)
    progress = _newest_checkpoint(planned.run)
    if progress is None:
        return Outcome("missing")
    share = budget.used(
        steps=int(progress["step"]),
        examples=int(progress["examples"]),
        tokens=int(progress["tokens"]),
        seconds=float(progress["seconds"]),
    )
    return Outcome("partial", share=min(share, 1.0), seconds=float(progress["seconds"]))


def outcome_of(summary: RunSummary) -> Outcome:
    """The outcome in a closing summary; without a score the run counts as failed."""
    known: dict[str, State] = {"finished": "finished", "diverged": "diverged"}
    state, error = known.get(summary.status, "failed"), summary.error
    needed = "val" if summary.tested == "none" else "test"
    if state == "finished" and getattr(summary, needed) is None:
        state, error = "failed", f"its summary has no {needed} value"
    share = 0.0 if state == "failed" else 1.0
    seconds = summary.seconds or 0.0
    whole = seconds + (summary.evaluation_seconds or 0.0) if state == "finished" else None
    return Outcome(state, summary, share, seconds, error, whole_seconds=whole or None)


def scores_of(
    runs: Iterable[ComparedRun], outcomes: Mapping[str, Outcome], split: Literal["val", "test"]
) -> dict[int, float]:
    """The closing score on a split of each finished run that has one, by seed."""
    results = {run.seed: outcomes[run.run_id] for run in runs}
    return {
        seed: score
        for seed, outcome in results.items()
        if outcome.state == "finished"
        and (score := getattr(outcome.summary, split, None)) is not None
    }


def distinct_errors(outcomes: Iterable[Outcome]) -> tuple[str, ...]:
    """The errors of failed and diverged runs, each once."""
    return tuple(dict.fromkeys(outcome.error for outcome in outcomes if outcome.error))


def outcomes_of(plan: Plan) -> dict[str, Outcome]:
    """Outcome of every run of the plan, by identity."""
    return {
        run.run_id: outcome(run, dataset.budget)
        for dataset in plan.datasets
        for run in dataset.runs
    }


def seconds_left(plan: Plan, outcomes: Mapping[str, Outcome], jobs: int = 1) -> float | None:
    """Estimated time of what is left, with evaluations, ``jobs`` runs at a time.

    From runs of the same encoding, or else of the same data set, or else from a budget of time;
    None while nothing is known of some data set.
    """
    left, count = 0.0, 0
    for dataset in plan.datasets:
        by_encoding = {row.label: whole_seconds(row.runs, outcomes) for row in dataset.encodings}
        known = [seconds for seconds in by_encoding.values() if seconds is not None]
        if not known and dataset.budget.unit == "seconds":
            known = [dataset.budget.amount]
        for row in dataset.encodings:
            unfinished = [state for run in row.runs if not (state := outcomes[run.run_id]).over]
            if not unfinished:
                continue
            if not known:
                return None
            seconds = by_encoding[row.label] or sum(known) / len(known)
            left += sum(
                seconds * (1 - state.share) if state.left_seconds is None else state.left_seconds
                for state in unfinished
            )
            count += len(unfinished)
    return left / max(1, min(jobs, count))


def whole_seconds(runs: Iterable[ComparedRun], outcomes: Mapping[str, Outcome]) -> float | None:
    """Mean seconds of a whole run, evaluations included: of runs that were trained, or estimated
    for others; None: unknown.
    """
    states = [outcomes[run.run_id] for run in runs]
    begun = [state for state in states if state.state in ("finished", "partial")]
    for group in (begun, states):
        whole = [
            state.whole_seconds or state.seconds / state.share
            for state in group
            if state.state != "diverged"
            and (state.whole_seconds or (state.share > 0 and state.seconds > 0))
        ]
        if whole:
            return sum(whole) / len(whole)
    return None


def full_seconds(runs: tuple[ComparedRun, ...], outcomes: Mapping[str, Outcome]) -> float | None:
    """Mean training seconds of a whole run, from those that finished or used some of the budget."""
    whole = [
        state.seconds / state.share
        for state in (outcomes[run.run_id] for run in runs)
        if state.state in ("finished", "partial") and state.share > 0 and state.seconds > 0
    ]
    return sum(whole) / len(whole) if whole else None


def _newest_checkpoint(run: Run) -> dict[str, Any] | None:
    """Counters of the newest readable checkpoint."""
    for path in sorted(run.path("checkpoints").glob("*.json"), reverse=True):
        try:
            state = read_json(path, MAX_SUMMARY_BYTES)
            progress = state["progress"]
            if state.get("check") not in (None, seal(state, "check")):
                continue
            if {"step", "examples", "tokens", "seconds"} <= progress.keys():
                return dict(progress)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return None
