"""Verdicts as labels, sentences and numbers."""

from collections.abc import Callable

from liere_cli.comparison.tables.table import DatasetTable, Row
from liere_cli.errors import counted
from liere_cli.report.numbers import NONE, Unit
from liere_cli.statistics.paired import Paired, smallest_sign_flip_p
from liere_cli.statistics.power import MAX_SEEDS
from liere_cli.statistics.verdicts import MIN_SEEDS, Verdict

_ORDER = ("better", "worse", "equivalent", "undecided", None)

#: by key in JSON and CSV, at full precision in the metric's unit
_NUMBERS: dict[str, Callable[[Verdict, Paired], object]] = {
    "shared_seeds": lambda verdict, estimate: estimate.n,
    "difference": lambda verdict, estimate: estimate.difference,
    "low": lambda verdict, estimate: verdict.low,
    "high": lambda verdict, estimate: verdict.high,
    "low_raw": lambda verdict, estimate: estimate.low,
    "high_raw": lambda verdict, estimate: estimate.high,
    "difference_std": lambda verdict, estimate: estimate.std,
    "pooled_std": lambda verdict, estimate: estimate.spread and estimate.spread.pooled,
    "used_std": lambda verdict, estimate: estimate.spread and estimate.spread.used,
    "borrowed_freedom": lambda verdict, estimate: estimate.spread and estimate.spread.prior,
    "far_runs": lambda verdict, estimate: estimate.spread and estimate.spread.far,
    "seed_error": lambda verdict, estimate: estimate.seed_error,
    "test_error": lambda verdict, estimate: estimate.test_set.error if estimate.test_set else None,
    "test_clusters": lambda verdict, estimate: (
        estimate.test_set.clusters if estimate.test_set else None
    ),
    "test_freedom": lambda verdict, estimate: (
        estimate.test_set.freedom if estimate.test_set else None
    ),
    "p": lambda verdict, estimate: estimate.p,
    "p_corrected": lambda verdict, estimate: verdict.p_corrected,
    "p_own": lambda verdict, estimate: verdict.p_own,
    "p_failures": lambda verdict, estimate: verdict.p_failures,
    "p_sign_flip": lambda verdict, estimate: verdict.p_sign_flip,
    "smallest_p_sign_flip": lambda verdict, estimate: smallest_sign_flip_p(estimate.n),
    "p_equivalent": lambda verdict, estimate: verdict.p_equivalent,
    "bound": lambda verdict, estimate: verdict.bound,
    "detectable": lambda verdict, estimate: verdict.detectable,
    "seeds_needed": lambda verdict, estimate: verdict.seeds_needed,
    "seeds_range": lambda verdict, estimate: verdict.seeds_range,
    "seed_correlation": lambda verdict, estimate: verdict.seed_correlation,
    "interim_p": lambda verdict, estimate: {interim.n: interim.p for interim in verdict.interim},
    "interim_p_corrected": lambda verdict, estimate: {
        interim.n: interim.p_sequential for interim in verdict.interim
    },
}


def verdict_data(verdict: Verdict | None) -> dict[str, object]:
    """A verdict with its numbers, each None where there is no estimate."""
    if verdict is None or verdict.estimate is None:
        numbers: dict[str, object] = dict.fromkeys(_NUMBERS)
    else:
        numbers = {key: number(verdict, verdict.estimate) for key, number in _NUMBERS.items()}
    return numbers | {"verdict": verdict.label if verdict else None}


def verdict_label(dataset: DatasetTable, row: Row) -> str:
    """The verdict's cell: one of the four verdicts, or why there is none."""
    if row.undefined is not None:
        return "not defined"
    if row.tuned is not None and row.tuned.fault:
        return "not tuned"
    if row.is_baseline:
        return "baseline"
    if not row.values:
        return "no result"
    if row.verdict is None:
        return NONE
    return row.verdict.label or f"needs {MIN_SEEDS} seeds"


def failures(row: Row) -> str | None:
    """``2 of 3 diverged, 1 of 3 failed``; None when every planned run finished."""
    if row.undefined is not None:
        return row.undefined
    if row.tuned is not None and row.tuned.fault:
        return row.tuned.fault
    counts = {"diverged": row.diverged, "failed": row.failed, "not finished": row.unfinished}
    parts = [f"{count} of {row.planned} {state}" for state, count in counts.items() if count]
    return ", ".join(parts) or None


def verdict_sentence(dataset: DatasetTable) -> str:
    """``images · pointing: liere beats axial by 23.1 points [...]; none loses to axial by ...``"""
    if dataset.baseline is None:
        clauses = ["no baseline among these runs, so no verdicts"]
    else:
        clauses = [
            _clause(dataset, row)
            for label in _ORDER
            for row in dataset.rows
            if not row.is_baseline and (row.verdict.label if row.verdict else None) == label
        ] or [f"nothing to compare with {dataset.baseline}"]
    name = f"{dataset.modality} · {dataset.title}" if dataset.modality else dataset.title
    return f"{name}: {'; '.join(clauses)}"


def _clause(dataset: DatasetTable, row: Row) -> str:
    unit, baseline = Unit.of(dataset), dataset.baseline
    if row.undefined is not None:
        return f"{row.encoding} is {row.undefined}"
    verdict, estimate = row.verdict, row.estimate
    if verdict is None or estimate is None:
        reason = failures(row) or "no result"
        return f"{row.encoding}: no seed shared with {baseline} ({reason})"
    seeds = f"({seeds_text(dataset, row)})"
    ends = f" {unit.interval(verdict.low, verdict.high)}" if verdict.low is not None else ""
    size = f"{unit.signed(estimate.difference)}{ends}"
    if verdict.label is None:
        return (
            f"{row.encoding} against {baseline}: {size}, no verdict below {MIN_SEEDS} seeds {seeds}"
        )
    if verdict.label in ("better", "worse"):
        # the size of the gain or loss, whether the metric is better high or low
        low, high = sorted(abs(end or 0.0) for end in (verdict.low, verdict.high))
        verb = "beats" if verdict.label == "better" else "loses to"
        size = f"{unit.value(abs(estimate.difference))} {unit.difference}"
        ends = f" [{unit.value(low)}, {unit.value(high)}]" if verdict.low is not None else ""
        return f"{row.encoding} {verb} {baseline} by {size}{ends} {seeds}"
    if verdict.label == "equivalent":
        margin = f"{unit.value(dataset.margin)} {unit.difference}"
        return f"{row.encoding} equals {baseline} within {margin}: {size} {seeds}"
    return f"{row.encoding} against {baseline} is undecided: {size} {seeds}"


def seeds_text(dataset: DatasetTable, row: Row) -> str:
    """``5 seeds``, or ``4 of 10 seeds finished`` where runs of the row or its baseline did not."""
    n = row.estimate.n if row.estimate else 0
    base = next((other for other in dataset.rows if other.is_baseline), row)
    if not any((side.diverged, side.failed) != (0, 0) for side in (row, base)):
        return counted(n, "seed")
    return f"{n} of {max(row.planned, base.planned)} seeds finished"


def undecided_text(dataset: DatasetTable, row: Row) -> str | None:
    """What an undecided row leaves open: ``at most 0.11 either way; about 40 to 80 seeds ...``."""
    verdict, unit = row.verdict, Unit.of(dataset)
    if verdict is None or verdict.label != "undecided" or verdict.bound is None:
        return None
    if dataset.margin is not None and verdict.bound <= dataset.margin:
        return None  # what is possible is too small to matter
    bound = f"at most {unit.value(verdict.bound)} {unit.difference} either way"
    if dataset.metric == "top1" and verdict.bound >= 1:
        bound = "no difference is ruled out"
    if verdict.p_failures is not None:
        return f"{bound}; failures could explain a difference"
    if verdict.seeds_range is None:
        return f"{bound}; a difference as small as this one needs more than {MAX_SEEDS} seeds"
    fewest, most = verdict.seeds_range
    if fewest == most:
        number = f"about {fewest} seeds"
    elif most is None:
        number = f"{fewest} seeds or more"
    else:
        number = f"about {fewest} to {most} seeds"
    return f"{bound}; {number} would settle it"


def failure_text(row: Row) -> str | None:
    """``4 of 10 seeds finished (1 of 10 diverged, 5 of 10 failed: out of memory)``."""
    reason = failures(row)
    if reason is None or row.undefined is not None:
        return reason
    if row.tuned is not None and row.tuned.fault:
        return reason
    errors = f": {'; '.join(row.errors)}" if row.errors else ""
    text = f"{row.finished} of {counted(row.planned, 'seed')} finished ({reason}{errors})"
    rate = row.highest_failure_rate
    if not (row.diverged or row.failed) or rate is None or rate == 1:
        return text
    return f"{text}; up to {rate:.0%} may fail"
