"""The page of one comparison."""

import base64
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from liere_cli import __version__
from liere_cli.comparison.per_run.curves import run_curves
from liere_cli.comparison.per_run.environments import environments
from liere_cli.comparison.per_run.items import item_wins
from liere_cli.comparison.per_run.score_maps import score_maps
from liere_cli.comparison.tables.build import ComparisonResult, ComparisonTable
from liere_cli.comparison.tables.results import Results
from liere_cli.config.files import dump_yaml
from liere_cli.errors import counted
from liere_cli.planning.plan import RecipePlan
from liere_cli.planning.progress import Outcome
from liere_cli.report import numbers
from liere_cli.report.escape import plain
from liere_cli.report.formats.registry import FORMATS
from liere_cli.report.html import meanings
from liere_cli.report.html.answer import answers, correction, verdict_counts
from liere_cli.report.html.datasets import RunDetails, dataset_part
from liere_cli.report.html.render import render
from liere_cli.report.html.runs import run_blocks
from liere_cli.report.html.view import Block, Names, Part, plot_of, table_of
from liere_cli.report.plots.colours import Style
from liere_cli.report.plots.comparison import styles_of, transfer_plot
from liere_cli.report.plots.ratios import fraction_plot, interaction_plot
from liere_cli.report.sections.fractions import FRACTIONS
from liere_cli.report.sections.interaction import INTERACTIONS
from liere_cli.report.sections.method import method_notes
from liere_cli.report.sections.ranking import RANKINGS
from liere_cli.report.sections.transfer import TRANSFERS

#: media types of the files that a page embeds, by the names under which they are saved
_TYPES = {"json": "application/json", "csv": "text/csv", "yaml": "application/yaml"}


@dataclass(frozen=True)
class Download:
    """A file that the page holds, as a ``data:`` address."""

    name: str
    address: str


def html_page(
    result: ComparisonResult, *, maps: bool = True, warnings: tuple[str, ...] = ()
) -> str:
    """The comparison as one HTML file; equal runs give equal files.

    Args:
        maps: whether to draw score maps, which loads torch and the encodings' weights.
        warnings: what a reader must know before the results.
    """
    table, names, styles = result.table, Names(), styles_of(result.table)
    results = Results(result.plan, result.outcomes)
    parts = []
    for plan, dataset in zip(result.plan.datasets, table.datasets, strict=True):
        details = RunDetails(
            run_curves(plan, result.outcomes),
            list(item_wins(results, plan, dataset)),
            list(score_maps(plan, result.outcomes)) if maps else (),
        )
        parts.append(dataset_part(dataset, details, styles, names))
    across = list(_across(table, styles, names))
    if across:
        parts.append(Part(names.next("across"), "Across data sets", blocks=across))
    parts.append(Part(names.next("runs"), "Runs", _runs_line(result), run_blocks(result, names)))
    recipe = None
    if isinstance(result.plan, RecipePlan):
        recipe = dump_yaml(result.plan.recipe.model_dump(mode="json"))
    return render(
        "page.html.j2",
        title=plain(table.experiment or "Comparison"),
        line=_line(result),
        counts=verdict_counts(table),
        correction=correction(table),
        answers=answers(table),
        parts=parts,
        warnings=[plain(text) for text in warnings],
        method=[plain(note) for note in method_notes(table)],
        environments=environments(result.plan.runs),
        recipe=recipe,
        command="liere compare comparison.yaml" if recipe else "liere compare FOLDER",
        signature=plain(table.signature),
        downloads=list(_downloads(table, recipe)),
        version=__version__,
    )


def _line(result: ComparisonResult) -> str:
    """``55/55 runs · 5 seeds · 200steps · 2m 03s of training``"""
    runs, outcomes = result.plan.runs, result.outcomes
    states = [outcomes[run.run_id] for run in runs]
    finished = sum(state.state == "finished" for state in states)
    budgets = dict.fromkeys(dataset.budget for dataset in result.table.datasets)
    parts = [
        f"{finished}/{len(runs)} runs finished",
        counted(len(result.plan.seeds), "seed"),
        ", ".join(map(str, budgets)),
        f"{numbers.duration(_seconds(states))} of training",
    ]
    return plain(" · ".join(parts))


def _seconds(states: list[Outcome]) -> float:
    return sum(state.seconds for state in states)


def _runs_line(result: ComparisonResult) -> str:
    states = Counter(result.outcomes[run.run_id].state for run in result.plan.runs)
    return ", ".join(f"{count} {state}" for state, count in states.items())


def _across(table: ComparisonTable, styles: Mapping[str, Style], names: Names) -> Iterator[Block]:
    """Analyses over several data sets, where the recipe asks for them."""
    if table.rankings:
        tables = [table_of(part, names) for part in RANKINGS.tables(table)]
        yield Block("Rankings", [], tables)
    if table.fractions:
        figures = [fraction_plot(part, styles) for part in table.fractions]
        plots = [plot_of(plot, names, meanings.FRACTIONS) for plot in figures if plot]
        tables = [table_of(part, names) for part in FRACTIONS.tables(table)]
        yield Block("Data efficiency", plots, tables)
    if table.transfers:
        figures = [transfer_plot(part, styles) for part in table.transfers]
        plots = [plot_of(plot, names, meanings.TRANSFER) for plot in figures if plot]
        tables = [table_of(part, names) for part in TRANSFERS.tables(table)]
        yield Block("Other lengths and resolutions", plots, tables)
    if table.interactions:
        figure = interaction_plot(table.interactions, styles)
        plots = [plot_of(figure, names, meanings.INTERACTION)] if figure else []
        tables = [table_of(part, names) for part in INTERACTIONS.tables(table)]
        yield Block("Gains between data sets", plots, tables)


def _downloads(table: ComparisonTable, recipe: str | None) -> Iterator[Download]:
    contents = {"table.json": FORMATS["json"](table), "table.csv": FORMATS["csv"](table)}
    if recipe is not None:
        contents["comparison.yaml"] = recipe
    for name, content in contents.items():
        kind = _TYPES[name.rpartition(".")[2]]
        encoded = base64.b64encode(content.encode()).decode()
        yield Download(name, f"data:{kind};charset=utf-8;base64,{encoded}")
