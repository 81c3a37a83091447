"""``liere compare``: plan, train what is missing, judge."""

import gc
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liere_cli.cli.launchers import (
    LauncherName,
    Launchers,
    Launching,
    SlurmAssignments,
    slurm_assignments,
)
from liere_cli.cli.options import DEFAULT_OUTPUTS, Assignments, DataRoot, Device, Outputs
from liere_cli.cli.progress import measure
from liere_cli.report.numbers import duration

if TYPE_CHECKING:
    from liere_cli.comparison.tables.cache import RunIndex
    from liere_cli.comparison.tables.table import ComparisonTable
    from liere_cli.planning.plan import Plan
    from liere_cli.planning.progress import Outcome

DEFAULT_RECIPE = "quick"


class Format(StrEnum):
    """Ways to show the tables."""

    TABLE = "table"
    MARKDOWN = "markdown"
    CSV = "csv"
    LATEX = "latex"
    JSON = "json"


def compare(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECIPE|RUN",
            help="A recipe's path, a built-in one's name, or folders of finished runs. "
            f"Nothing at all means the recipe '{DEFAULT_RECIPE}'.",
            show_default=False,
        ),
    ] = None,
    encodings: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Encodings, as none,rope,liere:block=8,share=layers."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="X,Y", help="Data sets, as stdlib,pointing.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="N", help="How many seeds (3), or which (0,1,2).")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="A",
            help="Encoding that the others are compared with; of several, the first that takes "
            "part and is defined on the data.",
        ),
    ] = None,
    assignments: Assignments = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Of every run: 2000steps, 50Mtokens, 100kexamples, 90s, 10m or 2h."),
    ] = None,
    until_settled: Annotated[
        bool,
        typer.Option(
            "--until-settled", help="Add seeds until each verdict is settled or more are in vain."
        ),
    ] = False,
    max_seeds: Annotated[
        int | None, typer.Option(metavar="N", help="With --until-settled: at most so many (10).")
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="With --until-settled: training time of all runs together, as 2h; seeds then go "
            "to the closest verdicts first.",
        ),
    ] = None,
    against_itself: Annotated[
        bool,
        typer.Option(
            "--aa", help="Also hold the baseline against itself, at seeds that nothing else uses."
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Runs at a time: here 1, sharing cores and GPUs; in Slurm all of them."
        ),
    ] = None,
    launcher: LauncherName = Launchers.LOCAL,
    slurm: SlurmAssignments = None,
    form: Annotated[
        Format, typer.Option("--format", help="How the tables are shown on stdout.")
    ] = Format.TABLE,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also draw learning curves, and scores at other grids, as .png, .svg or .pdf.",
        ),
    ] = None,
    device: Device = "auto",
    out: Outputs = DEFAULT_OUTPUTS,
    data_root: DataRoot = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and train nothing.")
    ] = False,
) -> None:
    """Compare encodings over data sets and seeds, and say which differences are real.

    Runs that are done are reused, interrupted ones go on. Exit code 1 when a run failed.
    """
    from liere_cli.cli import console
    from liere_cli.comparison.tables.build import make_table

    if plot is not None:
        from liere_cli.report.plots.style import check_plot_path

        check_plot_path(plot)
    index: RunIndex | None = None
    given, faults = sources or [], {}
    if len(given) > 1 or any(_names_runs(source, out) for source in given):
        flags = {
            "--encodings": encodings,
            "--data": data,
            "--seeds": seeds,
            "--set": assignments,
            "--budget": budget,
            "--until-settled": until_settled or None,
            "--max-seeds": max_seeds,
            "--time": time,
            "--aa": against_itself or None,
            "--launcher": None if launcher == Launchers.LOCAL else launcher,
            "--slurm": slurm,
        }
        plan, found, index = _plan_of_runs(given, out, baseline, flags)
    else:
        from liere_cli.config.compare import CompareSettings
        from liere_cli.launchers.worker import LaunchContext
        from liere_cli.planning.from_recipe import plan_comparison, repeated
        from liere_cli.planning.overrides import comparison_recipe
        from liere_cli.runs.build import choose_device

        source = given[0] if given else None
        if source is None and encodings is None and data is None:
            source = DEFAULT_RECIPE
        recipe = comparison_recipe(
            source,
            encodings=encodings,
            data=data,
            seeds=seeds,
            baseline=baseline,
            budget=budget,
            until_settled=until_settled,
            max_seeds=max_seeds,
            time=time,
            against_itself=against_itself,
            assignments=[*(assignments or []), *slurm_assignments(launcher, slurm)],
        )
        launching = Launching.of(recipe, launcher, jobs, device, out, data_root)
        plan = plan_comparison(recipe, outputs=out, root=data_root, device=launching.device)
        for name in repeated((recipe.compare or CompareSettings()).encodings):
            console.note(f"{name} is listed twice, and compared once")
        plan, ready = _tune(plan, launching, dry_run)
        if not ready:
            return
        found = _outcomes(plan)
        _show_plan(plan, found, launching.jobs, dry_run)
        if dry_run:
            return
        if plan.interim is None:
            found |= launching.train(plan, found)
        else:
            plan, found = _settle(plan, found, launching)
        # on this machine, whatever trained the runs
        here = choose_device(device if launcher == Launchers.LOCAL else "auto")
        faults = measure(plan, found, LaunchContext(out, data_root, str(here)), jobs or 1)
    table = make_table(plan, found, index, faults)
    _show_table(table, form)
    if plot is not None:
        _draw(plan, found, table, plot)
    if plan.recipe is not None:
        console.note(f"written to {_write(plan, table, out)}")
    if index is not None:
        index.save()
    if table.failed:
        raise typer.Exit(1)


def _names_runs(source: str, out: Path) -> bool:
    """Whether a source is a folder, or else, where no recipe is called so, a run's name."""
    from liere_cli.config.files import builtin_recipes
    from liere_cli.errors import LiereError
    from liere_cli.runs.find import open_run

    if Path(source).exists() or source in builtin_recipes():
        return Path(source).is_dir()
    try:
        open_run(source, out)
    except LiereError:
        return False
    return True


def _outcomes(plan: "Plan") -> dict[str, "Outcome"]:
    from liere_cli.planning.progress import outcomes

    return outcomes(plan)


def _plan_of_runs(
    sources: list[str], out: Path, baseline: str | None, flags: Mapping[str, object]
) -> tuple["Plan", dict[str, "Outcome"], "RunIndex"]:
    from liere_cli.cli import console
    from liere_cli.comparison.tables.cache import RunIndex
    from liere_cli.errors import UsageError
    from liere_cli.planning.from_runs import runs_as_plan, runs_of

    useless = [flag for flag, value in flags.items() if value is not None]
    if useless:
        raise UsageError(f"{', '.join(useless)}: finished runs are compared as they are")
    runs = runs_of(sources, out)
    for folder in sorted({run.folder.parent for run in runs}):
        _warn_of_recipe(folder / "comparison.yaml")
    collects = gc.isenabled()
    gc.disable()  # many small objects, none of them garbage
    try:
        index = RunIndex(runs)
        for warning in index.warnings:
            console.warn(warning)
        return *runs_as_plan(runs, baseline, index.record), index
    finally:
        if collects:
            gc.enable()


def _warn_of_recipe(recipe: Path) -> None:
    """Runs whose number or settings were decided by results are judged by the recipe that did."""
    from liere_cli.cli import console
    from liere_cli.config.files import read_settings
    from liere_cli.config.recipe import Recipe
    from liere_cli.errors import LiereError

    if not recipe.is_file():
        return
    try:
        compare = Recipe.validated(read_settings(recipe), str(recipe)).compare
    except LiereError:
        return
    if compare is not None and compare.tuning is not None:
        console.warn(
            "encodings were tuned here, each to values of its own, and stand in one table only by "
            f"'liere compare {recipe}'"
        )
    if compare is not None and compare.until_settled is not None:
        console.warn(
            "seeds were added here until verdicts were settled, which p-values below don't count; "
            f"'liere compare {recipe}' does"
        )


def _tune(plan: "Plan", launching: Launching, dry_run: bool) -> tuple["Plan", bool]:
    """The plan with what tuning chose, where its recipe asks; and whether it is complete.

    A dry run trains nothing, so that it may have to stop before the choice.
    """
    from liere_cli.cli import console
    from liere_cli.comparison.tuning import plan_search, tuned_plan

    out, root, device = launching.out, launching.root, launching.device
    search = plan_search(plan, outputs=out, root=root, device=device)
    if search is None:
        return plan, True
    found = _outcomes(search.plan)
    if search.plan.runs:
        _show_plan(search.plan, found, launching.jobs, dry_run)
    if dry_run and not all(outcome.over for outcome in found.values()):
        console.note("what wins decides the comparison's own runs, which follow")
        return plan, False
    found |= launching.train(search.plan, found)
    return tuned_plan(plan, search, found, outputs=out, root=root, device=device), True


def _settle(
    plan: "Plan", found: Mapping[str, "Outcome"], launching: Launching
) -> tuple["Plan", dict[str, "Outcome"]]:
    """Trains seed after seed until nothing is open; returns how far plan and outcomes came."""
    from liere_cli.cli import console
    from liere_cli.comparison.adaptive_seeds import begun_part, next_runs

    found = dict(found)
    tried: set[str] = set()
    while True:
        coming = next_runs(plan, found, tried, launching.jobs)
        if not coming.runs:
            break
        if coming.going:
            console.note(f"{_comparisons(coming.going)} not settled: seed {coming.runs[0].seed}")
        chosen = {run.run_id for run in coming.runs}
        part = begun_part(plan, found, chosen)
        waiting = {run.run_id for run in part.runs if not found[run.run_id].over} - chosen
        found |= launching.train(part, found, waiting | tried)
        tried |= {run_id for run_id in chosen if not found[run_id].over}
    if coming.out_of_time:
        console.note(f"the time is up; {_comparisons(coming.going)} not settled")
    return begun_part(plan, found), found


def _comparisons(count: int) -> str:
    return f"{count} comparison{'' if count == 1 else 's'}"


def _show_plan(plan: "Plan", found: Mapping[str, "Outcome"], jobs: int, in_full: bool) -> None:
    """What will be run: a few lines on stderr, or every row on stdout."""
    from collections import Counter

    from liere_cli.cli import console
    from liere_cli.planning.progress import seconds_left

    most = ""
    if plan.interim is not None:
        from liere_cli.comparison.adaptive_seeds import begun_part

        most = f"; then more seeds where they are needed, {plan.interim.last} at most"
        plan = begun_part(plan, found)
    states = Counter(found[run.run_id].state for run in plan.runs)
    counts = ", ".join(f"{number} {state}" for state, number in states.items())
    seconds = seconds_left(plan, dict(found), jobs)
    time_left = "unknown until the first run reports"
    if seconds is not None:
        time_left = f"about {duration(seconds)}" if seconds else "none"
    closing = f"{len(plan.runs)} runs: {counts}; training time left: {time_left}{most}"
    if not in_full:
        console.note(f"{plan.experiment}: {closing}")
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("data", "encoding", "budget", "seeds"):
        table.add_column(column, overflow="fold")
    for dataset in plan.datasets:
        for row in dataset.encodings:
            by_state: dict[str, list[str]] = {}
            for run in row.runs:
                by_state.setdefault(found[run.run_id].state, []).append(str(run.seed))
            seeds_by_state = [f"{state} {_seeds(seeds)}" for state, seeds in by_state.items()]
            mark = " (baseline)" if row.label == dataset.baseline else ""
            cells = (
                dataset.title,
                row.label + mark,
                dataset.budget.text,
                ", ".join(seeds_by_state),
            )
            shown = [*cells[:3], row.undefined or cells[3]]
            table.add_row(*(Text(console.printable(cell)) for cell in shown))
    screen = console.stdout()
    screen.print(table)
    screen.print(Text(closing), soft_wrap=True)


def _seeds(seeds: list[str]) -> str:
    """Which, or how many runs where one seed has several."""
    distinct = list(dict.fromkeys(seeds))
    if len(distinct) == len(seeds):
        return " ".join(seeds)
    return f"{' '.join(distinct)} ({len(seeds)} runs)"


def _show_table(table: "ComparisonTable", form: Format) -> None:
    from liere_cli.cli import console

    screen = console.stdout()
    if form == Format.TABLE:
        from liere_cli.report.formats.terminal import terminal

        screen.print(terminal(table, screen.width))
        return
    from liere_cli.report.formats.registry import FORMATS

    typer.echo(FORMATS[form](table), nl=False)


def _draw(
    plan: "Plan", found: Mapping[str, "Outcome"], table: "ComparisonTable", path: Path
) -> None:
    from liere_cli.cli import console
    from liere_cli.comparison.tables.learning_curves import learning_curves
    from liere_cli.report.plots.comparison import draw

    draw(table, [learning_curves(dataset, found) for dataset in plan.datasets], path)
    console.note(f"drawn in {path}")


def _write(plan: "Plan", table: "ComparisonTable", out: Path) -> Path:
    """Writes the tables, and the recipe that repeats them; returns the folder."""
    from liere_cli.config.files import dump_yaml
    from liere_cli.report.formats.registry import FORMATS
    from liere_cli.utils.files import write_atomically

    folder = out / plan.experiment
    write_atomically(folder / "table.md", FORMATS["markdown"](table))
    write_atomically(folder / "table.json", FORMATS["json"](table))
    if plan.recipe is not None:
        settings = dump_yaml(plan.recipe.model_dump(mode="json"))
        write_atomically(folder / "comparison.yaml", settings)
    return folder
