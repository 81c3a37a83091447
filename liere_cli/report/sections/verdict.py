"""Verdicts as labels, sentences and numbers."""

from collections.abc import Callable

from liere_cli.comparison.tables.table import DatasetTable, Row
from liere_cli.report.numbers import NONE, Unit
from liere_cli.statistics.paired import Paired, smallest_sign_flip_p
from liere_cli.statistics.verdicts import Verdict

_ORDER = ("better", "worse", "equivalent", "undecided", None)

#: by key in JSON and CSV, at full precision in the metric's unit
_NUMBERS: dict[str, Callable[[Verdict, Paired], object]] = {
    "shared_seeds": lambda verdict, estimate: estimate.n,
    "difference": lambda verdict, estimate: estimate.difference,
    "difference_std": lambda verdict, estimate: estimate.std,
    "seed_error": lambda verdict, estimate: estimate.seed_error,
    "test_error": lambda verdict, estimate: estimate.test_set.error if estimate.test_set else None,
    "test_clusters": lambda verdict, estimate: (
        estimate.test_set.clusters if estimate.test_set else None
    ),
    "low": lambda verdict, estimate: estimate.low,
    "high": lambda verdict, estimate: estimate.high,
    "p": lambda verdict, estimate: estimate.p,
    "p_holm": lambda verdict, estimate: verdict.p_holm,
    "p_sign_flip": lambda verdict, estimate: verdict.p_sign_flip,
    "smallest_p_sign_flip": lambda verdict, estimate: smallest_sign_flip_p(estimate.n),
    "p_equivalent": lambda verdict, estimate: verdict.p_equivalent,
    "detectable": lambda verdict, estimate: verdict.detectable,
    "seeds_needed": lambda verdict, estimate: verdict.seeds_needed,
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
    return row.verdict.label or "needs 2 seeds"


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
    return f"{dataset.modality} · {dataset.title}: {'; '.join(clauses)}"


def _clause(dataset: DatasetTable, row: Row) -> str:
    unit, baseline = Unit.of(dataset), dataset.baseline
    if row.undefined is not None:
        return f"{row.encoding} is {row.undefined}"
    verdict, estimate = row.verdict, row.estimate
    if verdict is None or estimate is None:
        reason = failures(row) or "no result"
        return f"{row.encoding}: no seed shared with {baseline} ({reason})"
    if verdict.label is None:
        return f"{row.encoding} against {baseline} needs 2 shared seeds"
    seeds = f"({estimate.n} seeds)"
    if verdict.label in ("better", "worse"):
        # the size of the gain or loss, whether the metric is better high or low
        low, high = sorted(abs(end or 0.0) for end in (estimate.low, estimate.high))
        verb = "beats" if verdict.label == "better" else "loses to"
        size = f"{unit.value(abs(estimate.difference))} {unit.difference}"
        ends = f" [{unit.value(low)}, {unit.value(high)}]" if estimate.low is not None else ""
        return f"{row.encoding} {verb} {baseline} by {size}{ends} {seeds}"
    ends = f" {unit.interval(estimate.low, estimate.high)}" if estimate.low is not None else ""
    size = f"{unit.signed(estimate.difference)}{ends}"
    if verdict.label == "equivalent":
        margin = f"{unit.value(dataset.margin)} {unit.difference}"
        return f"{row.encoding} equals {baseline} within {margin}: {size} {seeds}"
    return f"{row.encoding} against {baseline} is undecided: {size} {seeds}"
