"""What each encoding was tuned to, as cells of text."""

from collections.abc import Callable
from typing import Any

from liere_cli.comparison.tables.table import DatasetTable, Row
from liere_cli.planning.tuning_result import Trial, TuningResult, values_text
from liere_cli.report.numbers import NONE, Unit
from liere_cli.report.table import Column

#: candidates whose scores stand below a table, the best first
SHOWN = 12


def tuned_rows(dataset: DatasetTable) -> list[tuple[Row, TuningResult]]:
    """Rows that were tuned, each with how."""
    return [(row, row.tuned) for row in dataset.rows if row.tuned is not None]


def tuning_columns(dataset: DatasetTable) -> list[Column]:
    """All columns, in reading order."""
    unit = Unit.of(dataset)

    def column(
        header: str, cell: Callable[[TuningResult], str], cost: bool = False, number: bool = True
    ) -> Column:
        return Column(header, tuple(cell(tuned) for _, tuned in tuned_rows(dataset)), cost, number)

    return [
        Column("encoding", tuple(row.encoding for row, _ in tuned_rows(dataset)), number=False),
        column("tuned to", lambda tuned: _values(tuned.chosen), number=False),
        column("validation", lambda tuned: unit.value(tuned.chosen.mean if tuned.chosen else None)),
        column("next best", lambda tuned: _values(tuned.runner_up), cost=True, number=False),
        column(
            "its validation",
            lambda tuned: unit.value(tuned.runner_up.mean if tuned.runner_up else None),
            cost=True,
        ),
        column("tried", lambda tuned: str(len(tuned.trials)) if tuned.runs else NONE, True),
        column("diverged", lambda tuned: str(sum(1 for one in tuned.trials if one.diverged)), True),
    ]


def tuning_notes(dataset: DatasetTable) -> list[str]:
    """How it was chosen, what every candidate scored, and choices that may lie further out."""
    rows = tuned_rows(dataset)
    unit, first = Unit.of(dataset), rows[0][1]
    seeds = ", ".join(map(str, first.seeds))
    direction = "highest" if dataset.higher_is_better else "lowest"
    notes = [
        f"chosen for the {direction} {unit.header} on the validation split after {first.budget}, "
        f"mean over seed{'' if len(first.seeds) == 1 else 's'} {seeds}, which the comparison "
        "doesn't use; the test split was not read. A candidate that diverges loses"
    ]
    for row, tuned in rows:
        if not tuned.runs:
            notes.append(f"{row.encoding}: there is nothing to choose, so nothing was tried")
            continue
        shown = tuned.ranked[:SHOWN]
        scores = [f"{values_text(one.values)}: {_score(one, unit)}" for one in shown]
        if len(shown) < len(tuned.trials):
            scores.append(f"{len(tuned.trials) - len(shown)} more in JSON and CSV")
        parts = [tuned.fault, *scores] if tuned.fault else scores
        notes.append(f"{row.encoding}: {'; '.join(parts)}")
        if tuned.edges:
            notes.append(
                f"warning: {row.encoding} was tuned to the edge of what was tried "
                f"({values_text(tuned.edges)}): a value beyond it may be better still"
            )
    return notes


def _values(trial: Trial | None) -> str:
    return NONE if trial is None else values_text(trial.values) or NONE


def _score(trial: Trial, unit: Unit) -> str:
    if trial.mean is not None:
        return unit.value(trial.mean)
    if trial.diverged:
        return "diverged"
    return "failed" if trial.failed else "not finished"


def _tuned(encoding: str, tuned: TuningResult) -> dict[str, Any]:
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


def _tuned_lines(dataset: DatasetTable) -> list[dict[str, Any]]:
    """One line a candidate."""
    return [
        {
            "data": dataset.title,
            "encoding": row.encoding,
            "tuning_budget": row.tuned.budget,
            "values": dict(trial.values),
            "chosen": trial is row.tuned.chosen,
            "validation": trial.mean,
            "scores": dict(trial.scores),
            "diverged": trial.diverged,
            "failed": trial.failed,
        }
        for row in dataset.rows
        if row.tuned
        for trial in row.tuned.trials
    ]
