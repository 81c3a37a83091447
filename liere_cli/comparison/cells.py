"""What a comparison spans: data sets x encodings x seeds, and how far each run has come."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from liere_cli.budget import Budget
from liere_cli.comparison.looks import Looks
from liere_cli.comparison.trials import Tuned
from liere_cli.conditions import Grids
from liere_cli.errors import LiereError
from liere_cli.recipe import Recipe
from liere_cli.runs import MAX_SUMMARY_BYTES, Run, read_json, seal

#: no score, time or size of a run comes near
LARGEST = 1e100

State = Literal["finished", "diverged", "failed", "partial", "missing"]


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
    tuned: Tuned | None = None
    own_seeds: tuple[int, ...] = ()
    extensions: tuple[str, ...] = ("none",)


@dataclass(frozen=True)
class Arm:
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
    transfer: Grids | None = None

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
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    recipe: Recipe | None = None
    looks: Looks | None = None

    @cached_property
    def runs(self) -> tuple[PlannedRun, ...]:
        """Every run once, seed by seed: an interrupted comparison is paired as far as it came."""
        place = {seed: index for index, seed in enumerate(self.seeds)}
        every = [run for arm in self.arms for row in arm.encodings for run in row.runs]
        by_id: dict[str, PlannedRun] = {}
        for run in sorted(every, key=lambda run: place[run.seed]):
            by_id.setdefault(run.run_id, run)
        return tuple(by_id.values())


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
        """Nothing is left to train; a failed run is tried again."""
        return self.state in ("finished", "diverged")


def outcome(planned: PlannedRun, budget: Budget) -> Outcome:
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
    """The outcome that a closing summary tells; one without the value that it is for has failed."""
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


def outcomes(plan: Plan) -> dict[str, Outcome]:
    """Outcome of every run of the plan, by identity."""
    return {
        run.run_id: outcome(run, arm.budget)
        for arm in plan.arms
        for row in arm.encodings
        for run in row.runs
    }


def seconds_left(plan: Plan, found: dict[str, Outcome], jobs: int = 1) -> float | None:
    """Estimated training time of what is left, without loading and evaluation.

    From the budget where it is one of time; else from runs that have used some of the same
    budget: of the same encoding if there is one, else of the same data set.

    Returns:
        None while nothing of some data set has been trained.
    """
    left, count = 0.0, 0
    for arm in plan.arms:
        own = {row.label: full_seconds(row.runs, found) for row in arm.encodings}
        known = [seconds for seconds in own.values() if seconds is not None]
        for row in arm.encodings:
            shares = [1 - found[run.run_id].share for run in _unfinished(row, found)]
            if not shares:
                continue
            seconds = arm.budget.amount if arm.budget.unit == "seconds" else own[row.label]
            if seconds is None:
                if not known:
                    return None
                seconds = sum(known) / len(known)
            left += seconds * sum(shares)
            count += len(shares)
    return left / max(1, min(jobs, count))


def full_seconds(runs: tuple[PlannedRun, ...], found: Mapping[str, Outcome]) -> float | None:
    """Mean training seconds of a whole run, from those that finished or used some of the budget."""
    states = [found[run.run_id] for run in runs]
    whole = [
        state.seconds / state.share
        for state in states
        if state.state in ("finished", "partial") and state.share > 0 and state.seconds > 0
    ]
    return sum(whole) / len(whole) if whole else None


def _unfinished(row: PlannedEncoding, found: dict[str, Outcome]) -> Iterator[PlannedRun]:
    return (run for run in row.runs if not found[run.run_id].over)


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
