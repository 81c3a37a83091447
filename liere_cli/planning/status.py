"""What is in training now, read from files alone: nothing is locked, written or waited for."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from liere_cli.config.budget import Budget
from liere_cli.errors import UsageError
from liere_cli.planning.plan import ComparedRun, Plan
from liere_cli.planning.plan_file import PLAN_FILE, read_plan
from liere_cli.planning.progress import Outcome, outcome, seconds_left
from liere_cli.planning.run_record import signature_of
from liere_cli.runs.find import find_run
from liere_cli.runs.folder import Run
from liere_cli.runs.identity import ID_DIGITS
from liere_cli.runs.lock import Owner, locked_ids, owner_of

#: bytes at the end of metrics.jsonl that hold its last line
_TAIL_BYTES = 4096


@dataclass(frozen=True)
class RunStatus:
    """A run in training.

    Args:
        owner: the process that trains it.
        step: the last logged one; None before that.
        share: used share of the budget, 0 to 1; None where it is not known yet.
        seconds_left: estimated training time; None where it is not known yet.
    """

    id: str
    folder: str
    encoding: str
    data: str
    seed: int | None
    owner: Owner | None
    step: int | None
    share: float | None
    seconds_left: float | None


@dataclass(frozen=True)
class ComparisonStatus:
    """A comparison whose plan is on disk.

    Args:
        total: planned runs.
        states: how many are ``finished``, ``diverged``, ``failed``, ``running``, ``partial`` or
            ``missing``.
        seconds_left: estimated training time of what is left; None where it is not known yet.
        owner: the process that carries it out, or did.
        active: whether that process is alive, or a run of it in training elsewhere.
        ids: identities of its runs.
    """

    name: str
    total: int
    states: Mapping[str, int]
    seconds_left: float | None
    owner: Owner
    active: bool
    ids: frozenset[str] = field(repr=False)

    @property
    def over(self) -> int:
        """Runs with nothing left to train."""
        return self.states.get("finished", 0) + self.states.get("diverged", 0)


@dataclass(frozen=True)
class Status:
    """Comparisons and single runs in training."""

    comparisons: tuple[ComparisonStatus, ...]
    runs: tuple[RunStatus, ...]

    @property
    def active(self) -> bool:
        """Whether anything is in training."""
        return bool(self.runs) or any(comparison.active for comparison in self.comparisons)


def status_of(outputs: Path, experiment: str | None = None) -> Status:
    """What is in training under ``outputs``; or in one experiment, also if that is over.

    Raises UsageError without such an experiment, LiereError for a damaged plan.
    """
    runs = [status for run_id in locked_ids(outputs) if (status := _running(outputs, run_id))]
    if experiment is None:
        folders = sorted(path.parent for path in outputs.glob(f"*/{PLAN_FILE}"))
        comparisons = [_comparison(folder, runs) for folder in folders]
        active = tuple(item for item in comparisons if item and item.active)
        return Status(active, tuple(runs))
    folder = outputs / experiment
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder")
    comparison = _comparison(folder, runs)
    if comparison is None:
        return Status((), tuple(run for run in runs if Path(run.folder).parent == folder))
    return Status((comparison,), tuple(run for run in runs if run.id in comparison.ids))


def _running(outputs: Path, run_id: str) -> RunStatus | None:
    """The run of that identity; None if it has no folder yet, or is over."""
    run = find_run(outputs, run_id)
    labels = signature_of(run) if run else None
    if run is None or labels is None or run.path("summary.json").is_file():
        return None
    seed = labels.get("seed", "")
    step, share, left = None, None, None
    with suppress(UsageError, KeyError):
        now = progress_of(run, Budget.parse(labels["budget"]))
        if now is not None:
            step, (share, left) = now.step, (now.share, now.seconds_left)
    return RunStatus(
        run_id, str(run.folder), labels.get("encoding", "?"), labels.get("data", "?"),
        int(seed) if re.fullmatch("[0-9]{1,10}", seed) else None, owner_of(run), step, share, left,
    )  # fmt: skip


@dataclass(frozen=True)
class _Progress:
    step: int
    seconds: float
    share: float | None

    @property
    def seconds_left(self) -> float | None:
        return self.seconds * (1 - self.share) / self.share if self.share else None


def progress_of(run: Run, budget: Budget) -> _Progress | None:
    """Progress at the last line of metrics.jsonl; None before the first."""
    line = _last_line(run)
    if line is None:
        return None
    step, seconds, examples = line.get("step", 0), line.get("seconds", 0.0), line.get("examples", 0)
    used = {"steps": step, "seconds": seconds, "examples": examples}.get(budget.unit)
    if used is None:  # tokens are counted in checkpoints alone
        planned = ComparedRun("", "", 0, run, run.run_id)
        share: float | None = outcome(planned, budget).share or None
    else:
        share = min(used / budget.amount, 1.0)
    return _Progress(int(step), float(seconds), share)


def _last_line(run: Run) -> dict[str, float] | None:
    try:
        with run.path("metrics.jsonl").open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return None
    for line in reversed(text.splitlines()):
        with suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict) and isinstance(value.get("step"), int):
                return value
    return None


def _comparison(folder: Path, running: Iterable[RunStatus]) -> ComparisonStatus | None:
    """The comparison in a folder; None without a plan."""
    stored = read_plan(folder)
    if stored is None:
        return None
    shares = {run.id: run for run in running}
    outcomes = _outcomes(stored.plan, shares)
    states: Counter[str] = Counter(
        "running" if run_id in shares else state.state for run_id, state in outcomes.items()
    )
    over = all(state.over for state in outcomes.values())
    jobs = max(stored.jobs, states["running"])
    active = not over and (states["running"] > 0 or stored.is_carried_out)
    return ComparisonStatus(
        folder.name, len(outcomes), dict(states), seconds_left(stored.plan, outcomes, jobs),
        stored.owner, active, frozenset(outcomes),
    )  # fmt: skip


def _outcomes(plan: Plan, running: Mapping[str, RunStatus]) -> dict[str, Outcome]:
    """Outcomes by identity; of runs in training as their last logged step says."""
    outcomes: dict[str, Outcome] = {}
    for dataset in plan.datasets:
        for run in dataset.runs:
            status = running.get(run.run_id)
            if status is None or status.share is None or status.seconds_left is None:
                outcomes[run.run_id] = outcome(_moved(run), dataset.budget)
                continue
            used = status.seconds_left * status.share / max(1 - status.share, 1e-9)
            outcomes[run.run_id] = Outcome("partial", share=status.share, seconds=used)
    return outcomes


def _moved(run: ComparedRun) -> ComparedRun:
    """The run where it lies now: another experiment may have trained it."""
    if run.run.folder.is_dir() or len(run.run_id) != ID_DIGITS:
        return run
    other = find_run(run.run.folder.parent.parent, run.run_id)
    return replace(run, run=other) if other else run
