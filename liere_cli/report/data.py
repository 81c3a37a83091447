"""The tables as data: every number at full precision, in the metric's own unit."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from liere_cli.comparison.curves import Efficiency, Ratio
from liere_cli.comparison.fractions import FractionRow, FractionTable
from liere_cli.comparison.interaction import Interaction, RelativeGain
from liere_cli.comparison.table import ArmTable, ComparisonTable, Row
from liere_cli.comparison.trials import Tuned
from liere_cli.report import words
from liere_cli.report.escape import csv_cell
from liere_cli.report.transfer_data import transfer, transfer_lines
from liere_cli.report.verdict_data import verdict_numbers
from liere_cli.runs import to_json


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
        "fractions": [_fractions(one) for one in table.fractions],
        "transfers": [transfer(one) for one in table.transfers],
        "interactions": [_interaction(one) for one in table.interactions],
    }
    return to_json(content)


def as_csv(table: ComparisonTable) -> str:
    """One line an encoding and data set; per-seed values as ``seed=value`` in one column.

    What else a recipe asks follows after an empty line, with headers of their own.
    """
    lines = [
        {"data": arm.title, "modality": arm.modality, "metric": arm.metric, "budget": arm.budget}
        | _row(arm, row)
        for arm in table.arms
        for row in arm.rows
    ]
    interactions = [_interaction(one) for one in table.interactions]
    curves = [
        {"data": arm.title} | _efficiency(row) for arm in table.arms for row in arm.efficiency
    ]
    tuned = [line for arm in table.arms for line in _tuned_lines(arm)]
    fractions = [
        [{"data": one.whole.data} | _fraction(one, row) for row in one.rows]
        for one in table.fractions
    ]
    transfers = [line for one in table.transfers for line in transfer_lines(one)]
    parts = (lines, tuned, curves, *fractions, transfers, interactions)
    return "\n".join(_csv(part) for part in parts if part)


def _csv(lines: Sequence[Mapping[str, Any]]) -> str:
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(lines[0])
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
        "tuning": [_tuned(row.encoding, row.tuned) for row in arm.rows if row.tuned],
        "efficiency": [_efficiency(row) for row in arm.efficiency],
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
        "own_seeds": list(row.own_seeds) or None,
        "values": {str(seed): value for seed, value in row.values.items()},
        "mean": row.mean,
        "std": row.std,
        **verdict_numbers(row.verdict),
        "pairing": asdict(pairing) if (pairing := row.verdict and row.verdict.pairing) else None,
        "verdict": row.verdict.word if row.verdict else None,
        "shown": words.verdict_word(arm, row),
        "parameters": row.parameters,
        "encoding_parameters": row.encoding_parameters,
        "throughput": row.throughput,
        "throughput_unit": row.throughput_unit,
        "seconds": row.seconds,
    }


def _tuned(encoding: str, tuned: Tuned) -> dict[str, Any]:
    return {
        "encoding": encoding,
        "budget": tuned.budget,
        "seeds": list(tuned.seeds),
        "chosen": dict(tuned.chosen.values) if tuned.chosen else None,
        "edges": dict(tuned.edges),
        "fault": tuned.fault,
        "candidates": [
            {
                "values": dict(trial.values),
                "validation": trial.mean,
                "scores": {str(seed): score for seed, score in trial.scores.items()},
                "runs": trial.planned,
                "diverged": trial.diverged,
                "failed": trial.failed,
                "errors": list(trial.errors),
            }
            for trial in tuned.trials
        ],
    }


def _tuned_lines(arm: ArmTable) -> list[dict[str, Any]]:
    """One line a candidate."""
    return [
        {
            "data": arm.title,
            "encoding": row.encoding,
            "tuning_budget": row.tuned.budget,
            "values": dict(trial.values),
            "chosen": trial is row.tuned.chosen,
            "validation": trial.mean,
            "scores": dict(trial.scores),
            "diverged": trial.diverged,
            "failed": trial.failed,
        }
        for row in arm.rows
        if row.tuned
        for trial in row.tuned.trials
    ]


def _efficiency(row: Efficiency) -> dict[str, Any]:
    equal, at_steps = row.equal_seconds, row.equal_steps
    shown = {
        "encoding": row.encoding,
        "shared_seeds": row.steps_ratio.n,
        "equal_seconds": row.seconds,
        "difference": equal.difference if equal else None,
        "low": equal.low if equal else None,
        "high": equal.high if equal else None,
        "p": equal.p if equal else None,
        "p_holm": row.p_holm,
        "verdict": row.word,
        "equal_steps": row.steps,
        "steps_difference": at_steps.difference if at_steps else None,
        "steps_low": at_steps.low if at_steps else None,
        "steps_high": at_steps.high if at_steps else None,
        "steps_p": at_steps.p if at_steps else None,
        "steps_p_holm": row.p_steps_holm,
        "missed": row.steps_ratio.missed,
    }
    for name, ratio in (("steps", row.steps_ratio), ("seconds", row.seconds_ratio)):
        shown |= {
            f"{name}_ratio": ratio.value,
            f"{name}_ratio_low": ratio.low,
            f"{name}_ratio_high": ratio.high,
            f"{name}_ratio_p": ratio.p,
            f"{name}_ratio_p_holm": ratio.p_holm,
        }
    return shown


def _fractions(table: FractionTable) -> dict[str, Any]:
    return {
        "data": table.whole.data,
        "baseline": table.whole.baseline,
        "fractions": list(table.fractions),
        "rows": [_fraction(table, row) for row in table.rows],
    }


def _fraction(table: FractionTable, row: FractionRow) -> dict[str, Any]:
    ratio = row.ratio or Ratio(0)
    shown: dict[str, Any] = {"encoding": row.encoding}
    for fraction, (mean, std, finished) in zip(table.fractions, row.scores, strict=True):
        shown |= {
            f"mean_{fraction:g}": mean,
            f"std_{fraction:g}": std,
            f"finished_{fraction:g}": finished,
        }
    return shown | {
        "shared_seeds": ratio.n,
        "missed": ratio.missed,
        "at_smallest": row.at_smallest,
        "data_ratio": ratio.value,
        "data_ratio_low": ratio.low,
        "data_ratio_high": ratio.high,
        "data_ratio_p": ratio.p,
        "data_ratio_p_holm": ratio.p_holm,
    }


def _interaction(one: Interaction) -> dict[str, Any]:
    return {
        "encoding": one.encoding,
        "floor": one.floor,
        **_gain("on", one.on),
        **_gain("against", one.against),
        "difference": one.difference,
        "low": one.low,
        "high": one.high,
        "p": one.p,
        "p_holm": one.p_holm,
        "p_equivalent": one.p_equivalent,
        "correlation": one.correlation,
        "verdict": one.word,
        "undefined": one.undefined,
    }


def _gain(name: str, gain: RelativeGain) -> dict[str, Any]:
    """One side's relative gain; 1 is the baseline's own gain over the floor."""
    return {
        name: gain.side.title,
        f"{name}_baseline": gain.side.baseline,
        f"{name}_gain": gain.value,
        f"{name}_values": {
            str(seed): value for seed, value in zip(gain.side.seeds, gain.values, strict=False)
        },
        f"{name}_seed_error": gain.seed_error,
        f"{name}_test_error": gain.test_set.error if gain.test_set else None,
    }


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return csv_cell(" ".join(f"{key}={number!r}" for key, number in value.items()))
    if isinstance(value, list):
        return csv_cell("; ".join(map(str, value)))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return csv_cell(value) if isinstance(value, str) else repr(value)
