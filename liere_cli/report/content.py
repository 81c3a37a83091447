"""A comparison's table as cells of text, which every laid-out format shares."""

from collections.abc import Callable

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.comparison.tables.table import DatasetTable, Row
from liere_cli.report import numbers
from liere_cli.report.numbers import NONE, Unit
from liere_cli.report.sections import interaction as interaction_words
from liere_cli.report.sections import scores as words
from liere_cli.report.sections.efficiency import efficiency_columns, efficiency_notes
from liere_cli.report.sections.fractions import fraction_columns, fraction_notes
from liere_cli.report.sections.interaction import interaction_columns
from liere_cli.report.sections.transfer import transfer_sheets
from liere_cli.report.sections.tuning import tuned_rows, tuning_columns, tuning_notes
from liere_cli.report.table import Column, Sheet


def sheets(table: ComparisonTable) -> list[Sheet]:
    """Every data set's tables, then those over several of them, and of the interactions."""
    every = []
    for dataset in table.datasets:
        every.append(
            Sheet(dataset.title, dataset.modality, columns(dataset), words.dataset_notes(dataset))
        )
        if tuned_rows(dataset):
            title = f"{dataset.title}: what each was tuned to"
            every.append(
                Sheet(title, dataset.modality, tuning_columns(dataset), tuning_notes(dataset))
            )
        if dataset.efficiency:
            title = f"{dataset.title} by learning curves"
            notes = efficiency_notes(dataset)
            every.append(Sheet(title, dataset.modality, efficiency_columns(dataset), notes))
    for one in table.fractions:
        title = f"{one.whole.data}: by fraction of the training data"
        every.append(Sheet(title, one.whole.modality, fraction_columns(one), fraction_notes(one)))
    for transfer in table.transfers:
        every += transfer_sheets(transfer)
    if table.interactions:
        every.append(
            Sheet(
                "Is the gain larger elsewhere?",
                "interaction",
                interaction_columns(table.interactions),
                interaction_words.notes(table),
            )
        )
    return every


def columns(dataset: DatasetTable) -> list[Column]:
    """All columns of a table, in reading order."""
    unit = Unit.of(dataset)
    baseline = "baseline" if dataset.baseline is None else dataset.baseline

    def column(
        header: str, cell: Callable[[Row], str], cost: bool = False, number: bool = True
    ) -> Column:
        return Column(header, tuple(cell(row) for row in dataset.rows), cost, number)

    every = [
        column("encoding", lambda row: row.encoding, number=False),
        column("seeds", words.seeds_cell),
        column(unit.header, lambda row: unit.spread(row.mean, row.std)),
        column(f"minus {baseline}", lambda row: _difference(row, unit)),
        column("95% interval", lambda row: _interval(row, unit)),
        column("p", lambda row: numbers.probability(row.verdict.p_holm if row.verdict else None)),
        column("verdict", lambda row: words.verdict_label(dataset, row), number=False),
        column("looks", words.looks_cell),
        column("s.e. seeds / test", lambda row: _errors(row, unit), cost=True),
        column("each seed", lambda row: unit.values(row.values.values()), cost=True, number=False),
        column("parameters", _parameters, cost=True),
        column(
            "speed", lambda row: numbers.throughput(row.throughput, row.throughput_unit), cost=True
        ),
        column("time", lambda row: numbers.duration(row.seconds), cost=True),
    ]
    optional = ("looks", "s.e. seeds / test")
    return [
        one
        for one in every
        if one.header not in optional or any(cell != NONE for cell in one.cells)
    ]


def _difference(row: Row, unit: Unit) -> str:
    estimate = row.verdict.estimate if row.verdict else None
    return unit.signed(estimate.difference) if estimate else NONE


def _interval(row: Row, unit: Unit) -> str:
    estimate = row.verdict.estimate if row.verdict else None
    return unit.interval(estimate.low, estimate.high) if estimate else NONE


def _errors(row: Row, unit: Unit) -> str:
    """``0.31 / 0.22``: standard errors over seeds and over the test set."""
    estimate = row.verdict.estimate if row.verdict else None
    if estimate is None or estimate.test_set is None:
        return NONE
    return f"{unit.value(estimate.seed_error)} / {unit.value(estimate.test_set.error)}"


def _parameters(row: Row) -> str:
    """``812k (1.2k)``: of the model, and of the encoding alone."""
    if row.parameters is None:
        return NONE
    own = f" ({numbers.count(row.encoding_parameters)})" if row.encoding_parameters else ""
    return f"{numbers.count(row.parameters)}{own}"
