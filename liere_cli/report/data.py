"""The tables as data: every number at full precision, in the metric's own unit."""

import csv
import io
import json
from typing import Any

from liere_cli.comparison.statistics import smallest_sign_flip_p
from liere_cli.comparison.table import ArmTable, ComparisonTable, Row
from liere_cli.report import words
from liere_cli.report.escape import csv_cell

_COMPARISON = (
    "shared_seeds",
    "difference",
    "difference_std",
    "low",
    "high",
    "p",
    "p_holm",
    "p_sign_flip",
    "smallest_p_sign_flip",
    "p_equivalent",
    "detectable",
    "seeds_needed",
    "looks",
    "looks_spent",
)


def as_json(table: ComparisonTable) -> str:
    """Everything that the tables show, the per-seed values, and what was left out of them."""
    content = {
        "experiment": table.experiment,
        "signature": table.signature,
        "alpha": table.alpha,
        "correction": table.correction,
        "comparisons": table.comparisons,
        "looks": list(table.looks.sizes) if table.looks else None,
        "summary": words.summary_lines(table),
        "tables": [_arm(arm) for arm in table.arms],
    }
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def as_csv(table: ComparisonTable) -> str:
    """One line an encoding and data set; per-seed values as ``seed=value`` in one column."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    lines = [
        {"data": arm.title, "modality": arm.modality, "metric": arm.metric, "budget": arm.budget}
        | _row(arm, row)
        for arm in table.arms
        for row in arm.rows
    ]
    writer.writerow(lines[0] if lines else [])
    for line in lines:
        writer.writerow([_cell(value) for value in line.values()])
    return target.getvalue()


def _arm(arm: ArmTable) -> dict[str, Any]:
    return {
        "title": arm.title,
        "modality": arm.modality,
        "data": arm.data,
        "fingerprint": arm.fingerprint,
        "metric": arm.metric,
        "higher_is_better": arm.higher_is_better,
        "baseline": arm.baseline,
        "margin": arm.margin,
        "budget": arm.budget,
        "test_limit": arm.test_limit,
        "warnings": list(arm.warnings),
        "rows": [_row(arm, row) for row in arm.rows],
    }


def _row(arm: ArmTable, row: Row) -> dict[str, Any]:
    return {
        "encoding": row.encoding,
        "baseline": row.is_baseline,
        "planned": row.planned,
        "finished": row.finished,
        "diverged": row.diverged,
        "failed": row.failed,
        "unfinished": row.unfinished,
        "undefined": row.undefined,
        "errors": list(row.errors),
        "values": {str(seed): value for seed, value in row.values.items()},
        "mean": row.mean,
        "std": row.std,
        **_comparison(row),
        "verdict": row.verdict.word if row.verdict else None,
        "shown": words.verdict_word(arm, row),
        "parameters": row.parameters,
        "encoding_parameters": row.encoding_parameters,
        "throughput": row.throughput,
        "throughput_unit": row.throughput_unit,
        "seconds": row.seconds,
    }


def _comparison(row: Row) -> dict[str, Any]:
    verdict = row.verdict
    estimate = verdict.estimate if verdict else None
    if verdict is None or estimate is None:
        return dict.fromkeys(_COMPARISON)
    values = (
        estimate.n,
        estimate.difference,
        estimate.std,
        estimate.low,
        estimate.high,
        estimate.p,
        verdict.p_holm,
        verdict.p_sign_flip,
        smallest_sign_flip_p(estimate.n),
        verdict.p_equivalent,
        verdict.detectable,
        verdict.seeds_needed,
        {str(look.n): look.p for look in verdict.looks},
        {str(look.n): look.spent for look in verdict.looks},
    )
    return dict(zip(_COMPARISON, values, strict=True))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return " ".join(f"{key}={number!r}" for key, number in value.items())
    if isinstance(value, list):
        return csv_cell("; ".join(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return csv_cell(value) if isinstance(value, str) else repr(value)
