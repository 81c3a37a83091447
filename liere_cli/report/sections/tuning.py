"""The settings that each encoding was tuned to, and what every candidate scored."""

from liere_cli.comparison.tables.table import DatasetTable, Row
from liere_cli.planning.tuning_result import Trial, TuningResult, values_text
from liere_cli.report.numbers import NONE, Unit
from liere_cli.report.sections.base import Section, fields_of, renamed
from liere_cli.report.table import Column, Columns, TextTable

#: candidates whose scores are listed below a table, the best first
SHOWN = 12


def _tables(dataset: DatasetTable) -> list[TextTable]:
    if not _tuned(dataset):
        return []
    title = f"{dataset.title}: tuned settings"
    columns, notes = _columns(dataset), _notes(dataset)
    return [TextTable(title, dataset.modality, columns, notes, _remarks(dataset))]


def _tuned(dataset: DatasetTable) -> list[tuple[Row, TuningResult]]:
    """Rows that were tuned, each with its search."""
    return [(row, row.tuned) for row in dataset.rows if row.tuned is not None]


def _columns(dataset: DatasetTable) -> list[Column]:
    unit, rows = Unit.of(dataset), _tuned(dataset)
    column = Columns([tuned for _, tuned in rows])
    return [
        Column("encoding", tuple(row.encoding for row, _ in rows), number=False),
        column.text("tuned to", lambda tuned: _values(tuned.chosen)),
        column.number("validation", lambda tuned: _mean(tuned.chosen, unit)),
        column.text("next best", lambda tuned: _values(tuned.runner_up), cost=True),
        column.number("its validation", lambda tuned: _mean(tuned.runner_up, unit), cost=True),
        column.number("tried", lambda tuned: str(len(tuned.trials)) if tuned.runs else NONE, True),
        column.number(
            "diverged", lambda tuned: str(sum(trial.diverged > 0 for trial in tuned.trials)), True
        ),
    ]


def _notes(dataset: DatasetTable) -> list[str]:
    """How settings were chosen, and the score of every candidate."""
    rows = _tuned(dataset)
    unit, first = Unit.of(dataset), rows[0][1]
    seeds = ", ".join(map(str, first.seeds))
    direction = "highest" if dataset.higher_is_better else "lowest"
    notes = [
        f"Chosen for the {direction} {unit.header} on the validation split after {first.budget}, "
        f"mean over seed{'s' * (len(first.seeds) > 1)} {seeds}. The comparison uses other seeds; "
        "the test split was not read. A candidate that diverges is not chosen."
    ]
    for row, tuned in rows:
        if not tuned.runs:
            notes.append(f"{row.encoding}: nothing to choose, so no tuning runs")
            continue
        shown = tuned.ranked[:SHOWN]
        scores = [f"{values_text(trial.values)}: {_score(trial, unit)}" for trial in shown]
        if len(shown) < len(tuned.trials):
            scores.append(f"{len(tuned.trials) - len(shown)} more in JSON")
        notes.append(f"{row.encoding}: {'; '.join(scores)}")
    return notes


def _remarks(dataset: DatasetTable) -> list[str]:
    """Encodings without settings, and choices at the edge of the search."""
    remarks = []
    for row, tuned in _tuned(dataset):
        if tuned.fault:
            remarks.append(f"{row.encoding}: {tuned.fault}")
        if tuned.edges:
            remarks.append(
                f"warning: {row.encoding} was tuned to the edge of the search "
                f"({values_text(tuned.edges)}): a value beyond it may be better"
            )
    return remarks


def _values(trial: Trial | None) -> str:
    return NONE if trial is None else values_text(trial.values) or NONE


def _mean(trial: Trial | None, unit: Unit) -> str:
    return NONE if trial is None else unit.value(trial.mean)


def _score(trial: Trial, unit: Unit) -> str:
    if trial.mean is not None:
        return unit.value(trial.mean)
    if trial.diverged:
        return "diverged"
    return "failed" if trial.failed else "not finished"


def _data(dataset: DatasetTable) -> list[dict[str, object]]:
    return [
        {
            "encoding": row.encoding,
            "budget": tuned.budget,
            "seeds": tuned.seeds,
            "chosen": tuned.chosen.values if tuned.chosen else None,
            "edges": tuned.edges,
            "error": tuned.fault,
            "candidates": [
                {"validation": trial.mean} | renamed(fields_of(trial), planned="runs")
                for trial in tuned.trials
            ],
        }
        for row, tuned in _tuned(dataset)
    ]


TUNING = Section("tuning", _tables, _data)
