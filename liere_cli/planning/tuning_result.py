"""What was tried to tune an encoding, and what won: validation scores and nothing else."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from liere_cli.config.spec import scalar_text


@dataclass(frozen=True)
class Trial:
    """One combination of values, with its runs over the tuning seeds.

    Args:
        values: by key as in the recipe: ``learning_rate``, ``encoding.scale``.
        scores: closing validation score of each finished run, by seed.
        planned, diverged, failed: runs; the others without a score are not finished.
    """

    values: Mapping[str, Any]
    scores: Mapping[int, float]
    planned: int
    diverged: int = 0
    failed: int = 0
    errors: tuple[str, ...] = ()

    @property
    def mean(self) -> float | None:
        """Over the seeds; None unless all runs finished: a candidate that diverges loses."""
        if not self.planned or len(self.scores) < self.planned:
            return None
        return sum(self.scores.values()) / self.planned


@dataclass(frozen=True)
class TuningResult:
    """The search for one encoding on one data set.

    Args:
        trials: in the order of the recipe; one without runs where there was nothing to choose.
        budget, seeds: of the runs.
    """

    trials: tuple[Trial, ...]
    higher_is_better: bool
    budget: str
    seeds: tuple[int, ...]

    @cached_property
    def chosen(self) -> Trial | None:
        """The best mean validation score, the first of equal ones; None: nothing can be chosen."""
        if len(self.trials) == 1 and not self.trials[0].planned:
            return self.trials[0]
        if self.failed or self.unfinished:
            return None
        return self.ranked[0] if self.ranked[0].mean is not None else None

    @cached_property
    def ranked(self) -> tuple[Trial, ...]:
        """The best mean first, equal ones in the order of the recipe; the last have none."""
        sign = -1 if self.higher_is_better else 1

        def loss(trial: Trial) -> float:
            return math.inf if trial.mean is None else sign * trial.mean

        return tuple(sorted(self.trials, key=loss))

    @property
    def runner_up(self) -> Trial | None:
        """The best of the others."""
        rest = [trial for trial in self.ranked[1:] if trial.mean is not None]
        return rest[0] if self.chosen is not None and rest else None

    @property
    def failed(self) -> int:
        return sum(trial.failed for trial in self.trials)

    @property
    def unfinished(self) -> int:
        return sum(
            trial.planned - len(trial.scores) - trial.diverged - trial.failed
            for trial in self.trials
        )

    @property
    def runs(self) -> int:
        return sum(trial.planned for trial in self.trials)

    @property
    def fault(self) -> str | None:
        """Why nothing could be chosen."""
        if self.chosen is not None:
            return None
        errors = dict.fromkeys(error for trial in self.trials for error in trial.errors)
        reason = f" ({'; '.join(errors)})" if errors else ""
        if self.failed:
            return f"not tuned: {self.failed} of {self.runs} tuning runs failed{reason}"
        if self.unfinished:
            return f"not tuned: {self.unfinished} of {self.runs} tuning runs are not finished"
        return f"not tuned: every one of {len(self.trials)} candidates diverged{reason}"

    @property
    def edges(self) -> dict[str, Any]:
        """Keys whose chosen value is the smallest or largest number that was tried."""
        if self.chosen is None:
            return {}
        edges = {}
        for key, value in self.chosen.values.items():
            numbers = [_number(trial, key) for trial in self.trials]
            tried = {number for number in numbers if number is not None}
            if len(tried) > 1 and _number(self.chosen, key) in (min(tried), max(tried)):
                edges[key] = value
        return edges


def _number(trial: Trial, key: str) -> float | None:
    """The value where it has an order; switches and names have no edge."""
    value = trial.values.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def values_text(values: Mapping[str, Any]) -> str:
    """``learning_rate=0.002, encoding.scale=1``"""
    return ", ".join(f"{key}={_text(value)}" for key, value in values.items())


def _text(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else scalar_text(value)


def grid_text(trials: Sequence[Trial]) -> str:
    """Every value tried of each key, for a signature: ``learning_rate=0.001,0.002;...``."""
    tried: dict[str, list[str]] = {}
    for trial in trials:
        for key, value in trial.values.items():
            known = tried.setdefault(key, [])
            if _text(value) not in known:
                known.append(_text(value))
    return ";".join(f"{key}={','.join(values)}" for key, values in tried.items())
