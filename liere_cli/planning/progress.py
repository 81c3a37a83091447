"""How far each run has come, and how much training time is left."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from liere_cli.config.budget import Budget
from liere_cli.errors import LiereError
from liere_cli.planning.plan import ComparedRun, Plan, PlannedEncoding
from liere_cli.runs.folder import MAX_SUMMARY_BYTES, Run
from liere_cli.utils.files import read_json, seal

#: larger than any score, time or size of a run
LARGEST = 1e100


State = Literal["finished", "diverged", "failed", "partial", "missing"]


@dataclass(frozen=True)
class Outcome:
    """How far a run has come.

    Args:
        summary: of a run that is over, else None.
        share: used share of the budget, from the newest checkpoint of a run that is not over.
        seconds: of training so far.
        error: why it failed or diverged.
    """

    state: State
    summary: dict[str, Any] | None = None
    share: float = 0.0
    seconds: float = 0.0
    error: str | None = None

    @property
    def over(self) -> bool:
        """Whether nothing is left to train; a failed run is tried again."""
        return self.state in ("finished", "diverged")


def outcome(planned: ComparedRun, budget: Budget) -> Outcome:
    """How far the run has come, from its folder."""
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


def outcome_of(summary: dict[str, Any]) -> Outcome:
    """The outcome in a closing summary; without a score the run counts as failed."""
    state: State = summary["status"] if summary["status"] in ("finished", "diverged") else "failed"
    error = summary.get("error")
    needed = "val" if summary.get("tested") == "none" else "test"
    if state == "finished" and number(summary, needed) is None:
        state, error = "failed", f"its summary has no {needed} value"
    share = 0.0 if state == "failed" else 1.0
    seconds = number(summary, "seconds") or 0.0
    return Outcome(state, summary, share, seconds, None if error is None else str(error))


def number(summary: Mapping[str, Any], key: str) -> float | None:
    """The number under that key; None where a summary, maybe not our own, has none of use."""
    value = summary.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # comparisons with NaN are false, and the square of anything larger would overflow
    return float(value) if abs(value) < LARGEST else None


def outcomes_of(plan: Plan) -> dict[str, Outcome]:
    """Outcome of every run of the plan, by identity."""
    return {
        run.run_id: outcome(run, dataset.budget)
        for dataset in plan.datasets
        for row in dataset.encodings
        for run in row.runs
    }


def seconds_left(plan: Plan, outcomes: Mapping[str, Outcome], jobs: int = 1) -> float | None:
    """Estimated training time of what is left, without loading and evaluation.

    From the budget where it is one of time; else from runs that have used some of the same
    budget: of the same encoding if there is one, else of the same data set.

    Returns:
        None while nothing of some data set has been trained.
    """
    left, count = 0.0, 0
    for dataset in plan.datasets:
        by_encoding = {row.label: full_seconds(row.runs, outcomes) for row in dataset.encodings}
        known = [seconds for seconds in by_encoding.values() if seconds is not None]
        for row in dataset.encodings:
            shares = [1 - outcomes[run.run_id].share for run in _unfinished(row, outcomes)]
            if not shares:
                continue
            seconds = (
                dataset.budget.amount
                if dataset.budget.unit == "seconds"
                else by_encoding[row.label]
            )
            if seconds is None:
                if not known:
                    return None
                seconds = sum(known) / len(known)
            left += seconds * sum(shares)
            count += len(shares)
    return left / max(1, min(jobs, count))


def full_seconds(runs: tuple[ComparedRun, ...], outcomes: Mapping[str, Outcome]) -> float | None:
    """Mean training seconds of a whole run, from those that finished or used some of the budget."""
    states = [outcomes[run.run_id] for run in runs]
    whole = [
        state.seconds / state.share
        for state in states
        if state.state in ("finished", "partial") and state.share > 0 and state.seconds > 0
    ]
    return sum(whole) / len(whole) if whole else None


def _unfinished(row: PlannedEncoding, outcomes: Mapping[str, Outcome]) -> Iterator[ComparedRun]:
    return (run for run in row.runs if not outcomes[run.run_id].over)


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
