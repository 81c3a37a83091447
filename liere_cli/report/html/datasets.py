"""The part of a page about one data set."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from liere_cli.comparison.per_run.curves import RunCurve
from liere_cli.comparison.per_run.items import ItemWins
from liere_cli.comparison.per_run.score_maps import EncodingMaps
from liere_cli.comparison.tables.table import DatasetTable, Row
from liere_cli.errors import counted
from liere_cli.report import numbers
from liere_cli.report.html import meanings
from liere_cli.report.html.view import Block, Names, Part, Plot, plot_of, table_of
from liere_cli.report.numbers import NONE, Unit
from liere_cli.report.plots.colours import Style
from liere_cli.report.plots.comparison import differences, seed_scores, training_plots
from liere_cli.report.plots.ratios import efficiency_plot
from liere_cli.report.plots.rows import shares
from liere_cli.report.plots.score_map import score_map_figure
from liere_cli.report.sections.efficiency import EFFICIENCY
from liere_cli.report.sections.scores import SCORES
from liere_cli.report.sections.tuning import TUNING
from liere_cli.report.table import Columns, TextTable

#: heads of a score map that a page shows, by the number of axes
HEADS = {1: 4, 2: 2, 3: 2}
#: encodings of a data set whose score maps a page shows
MOST_MAPS = 12
#: relative difference to the baseline from which computation counts as unequal
UNEQUAL = 0.02


@dataclass(frozen=True)
class RunDetails:
    """What a page shows of a data set's single runs."""

    curves: Sequence[RunCurve] = ()
    items: Sequence[ItemWins] = ()
    maps: Sequence[EncodingMaps] = ()


def dataset_part(
    dataset: DatasetTable, details: RunDetails, styles: Mapping[str, Style], names: Names
) -> Part:
    """Plots and tables of one data set, those without content left out."""
    direction = "higher" if dataset.higher_is_better else "lower"
    line = (
        f"{Unit.of(dataset).header}, {direction} is better; {dataset.budget} per run; against "
        f"{dataset.baseline or 'no baseline'}."
    )
    blocks = [
        *_scores(dataset, styles, names),
        *_curves(dataset, details.curves, styles, names),
        *_efficiency(dataset, styles, names),
        *_tuning(dataset, names),
        *_items(dataset, details.items, styles, names),
        *_maps(details.maps, styles, names),
        *_compute(dataset, names),
    ]
    return Part(names.next("data"), f"{dataset.modality} · {dataset.title}", line, blocks)


def _scores(dataset: DatasetTable, styles: Mapping[str, Style], names: Names) -> Iterator[Block]:
    shown = [
        (differences(dataset, styles), meanings.DIFFERENCES),
        (seed_scores(dataset, styles), meanings.SEEDS),
    ]
    plots = [plot_of(figure, names, meaning) for figure, meaning in shown if figure is not None]
    tables = [table_of(table, names) for table in SCORES.tables(dataset)]
    yield Block("Scores and verdicts", plots, tables)


def _curves(
    dataset: DatasetTable, curves: Sequence[RunCurve], styles: Mapping[str, Style], names: Names
) -> Iterator[Block]:
    figures = training_plots(dataset, curves, styles)
    if not figures:
        yield Block("Learning curves", text="No run of this data set has logged a step.")
        return
    plots = [
        plot_of(figure, names, meanings.CURVES if index == 0 else "")
        for index, figure in enumerate(figures)
    ]
    missing = (
        ""
        if any(curve.validation.steps.size > 1 for curve in curves)
        else (
            "Runs were validated fewer than twice, so there are no validation curves: "
            "training.validations sets how often."
        )
    )
    yield Block("Learning curves", plots, text=missing)


def _efficiency(
    dataset: DatasetTable, styles: Mapping[str, Style], names: Names
) -> Iterator[Block]:
    if dataset.efficiency:
        figure = efficiency_plot(dataset, styles)
        plots = [plot_of(figure, names, meanings.EFFICIENCY)] if figure else []
        tables = [table_of(table, names) for table in EFFICIENCY.tables(dataset)]
        yield Block("Efficiency", plots, tables)


def _tuning(dataset: DatasetTable, names: Names) -> Iterator[Block]:
    tables = [table_of(table, names) for table in TUNING.tables(dataset)]
    if tables:
        yield Block("Tuned settings", tables=tables)


def _items(
    dataset: DatasetTable, items: Sequence[ItemWins], styles: Mapping[str, Style], names: Names
) -> Iterator[Block]:
    if not items:
        return
    rows = [
        (
            wins.encoding,
            100 * wins.lost / wins.count,
            100 * wins.equal / wins.count,
            100 * wins.won / wins.count,
            styles[wins.encoding],
        )
        for wins in items
    ]
    title = f"Items lost and won against {dataset.baseline}"
    texts = "; ".join(f"{row[0]} {row[1]:.1f}% lost, {row[3]:.1f}% won" for row in rows)
    figure = shares(rows, title=title, axis="% of the test items", description=f"{texts}.")
    column = Columns(items)
    columns = [
        column.text("encoding", lambda row: row.encoding),
        column.number("seeds", lambda row: str(row.seeds)),
        column.number("items", lambda row: f"{row.count:,}"),
        column.number("lost", lambda row: f"{row.lost:,}"),
        column.number("equal", lambda row: f"{row.equal:,}"),
        column.number("won", lambda row: f"{row.won:,}"),
        column.number("lost at every seed", lambda row: f"{row.always_lost:,}"),
        column.number("won at every seed", lambda row: f"{row.always_won:,}"),
    ]
    note = (
        "Items are windows of text, images or clips; where a data set groups them, as clips of one "
        "recording, groups are counted."
    )
    table = TextTable(f"{dataset.title}: items", dataset.modality, columns, [note])
    yield Block(
        "Wins and losses by item",
        [plot_of(figure, names, meanings.ITEMS)],
        [table_of(table, names)],
    )


def _maps(
    maps: Sequence[EncodingMaps], styles: Mapping[str, Style], names: Names
) -> Iterator[Block]:
    """Maps of encodings without parameters, and pairs of those that training changes."""
    fixed: list[Plot] = []
    learned: list[Plot] = []
    notes = []
    for encoding in maps[:MOST_MAPS]:
        if encoding.missing:
            notes.append(f"{encoding.encoding}: {encoding.missing}")
        plots = learned if encoding.trained is not None else fixed
        for moment, score_map in (("before", encoding.initial), ("after", encoding.trained)):
            if score_map is None:
                continue
            title = f"{encoding.encoding}, {moment} training"
            figure = score_map_figure(
                score_map,
                title=title if encoding.trained is not None else encoding.encoding,
                heads=HEADS.get(len(score_map.grid), 1),
                paint=styles[encoding.encoding].paint,
                headed=False,
            )
            plots.append(plot_of(figure, names, "" if plots else meanings.MAPS))
    if len(maps) > MOST_MAPS:
        notes.append(f"{len(maps) - MOST_MAPS} further encodings: liere encodings --run RUN --plot")
    if learned:
        text = "First layer and first heads, at the first finished seed."
        yield Block("Score maps before and after training", learned, text=text)
    if fixed or notes:
        yield Block("Score maps of encodings that do not learn", fixed, notes=notes)


def _compute(dataset: DatasetTable, names: Names) -> Iterator[Block]:
    """Parameters, time and speed beside the baseline's."""
    rows = [row for row in dataset.rows if row.parameters is not None]
    if not rows:
        return
    base = next((row for row in rows if row.is_baseline), None)

    def beside(name: str, text: str, row: Row) -> str:
        value, reference = getattr(row, name), getattr(base, name, None)
        if value is None or not reference or value == reference:
            return text
        return f"{text} ({numbers.percent(value / reference - 1)})"

    column = Columns(rows)
    columns = [
        column.text("encoding", lambda row: row.encoding),
        column.number(
            "parameters", lambda row: beside("parameters", numbers.count(row.parameters), row)
        ),
        column.number("of the encoding", lambda row: numbers.count(row.encoding_parameters)),
        column.number(
            "training time", lambda row: beside("seconds", numbers.duration(row.seconds), row)
        ),
        column.number(
            "speed",
            lambda row: beside(
                "throughput", numbers.throughput(row.throughput, row.throughput_unit), row
            ),
        ),
        column.text("parameters equal", lambda row: _equal(row, base)),
    ]
    notes = [f"Differences to {base.encoding} in parentheses."] if base else []
    unequal = [row.encoding for row in rows if _equal(row, base) == "no"]
    if unequal:
        notes.append(
            f"warning: {counted(len(unequal), 'encoding')} with over {UNEQUAL:.0%} more or fewer "
            f"parameters than {base.encoding if base else 'the baseline'}: {', '.join(unequal)}"
        )
    table = TextTable(f"{dataset.title}: computation", dataset.modality, columns, notes)
    yield Block("Computation", tables=[table_of(table, names, meanings.COMPUTE)])


def _equal(row: Row, base: Row | None) -> str:
    if base is None or not base.parameters or row.parameters is None:
        return NONE
    return "yes" if abs(row.parameters / base.parameters - 1) <= UNEQUAL else "no"
