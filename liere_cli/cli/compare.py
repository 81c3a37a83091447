"""``liere compare``: plan, train what is missing, judge."""

from collections import Counter
from typing import TYPE_CHECKING

import typer

from liere_cli.cli import console, options
from liere_cli.cli.next_command import next_command
from liere_cli.report.numbers import duration

if TYPE_CHECKING:
    from liere_cli.api.compare import ComparisonRequest
    from liere_cli.api.comparison import Comparison
    from liere_cli.launchers.events import PlanReady
    from liere_cli.planning.plan import Plan

#: the page that a comparison's folder may hold
REPORT = "report.html"


def compare(
    sources: options.Sources = None,
    encodings: options.Encodings = None,
    data: options.DataSets = None,
    seeds: options.Seeds = None,
    baseline: options.Baseline = None,
    model: options.Model = None,
    assignments: options.Assignments = None,
    budget: options.Budget = None,
    until_settled: options.UntilSettled = False,
    max_seeds: options.MaxSeeds = None,
    time: options.Time = None,
    against_itself: options.AgainstItself = False,
    name: options.Name = None,
    jobs: options.Jobs = "auto",
    gpus_per_run: options.GpusPerRun = 1,
    launcher: options.Launcher = "local",
    slurm: options.Slurm = None,
    form: options.TableFormat = "table",
    verbose: options.Verbose = False,
    plot: options.Plot = None,
    device: options.Device = "auto",
    out: options.Outputs = options.DEFAULT_OUTPUTS,
    log: options.Log = None,
    data_root: options.DataRoot = None,
    dry_run: options.DryRun = False,
) -> None:
    """Compare encodings over data sets and seeds, and say which differences are real.

    Runs that are done are reused, interrupted ones go on. Exit code 1 when a run failed.
    """
    if model is not None:
        assignments = [*(assignments or []), f"model.name={model}"]
    del model
    flags = dict(locals())
    _check_names(encodings, baseline, data)
    for name in ("sources", "form", "verbose", "plot", "dry_run"):
        del flags[name]
    from liere_cli.api.compare import ComparisonRequest

    given = {name: value for name, value in flags.items() if value is not None}
    request = ComparisonRequest.validated(given | ({"source": sources} if sources else {}), "flags")
    if plot is not None:
        from liere_cli.report.plots.files import check_plot_path

        check_plot_path(plot)
    if dry_run and not request.of_finished_runs:
        from liere_cli.cli.progress import ProgressBar

        plans = request.preview(ProgressBar())
        for ready in plans:
            _show_plan(ready)
        if plans[-1].plan.experiment.endswith("-tuning"):
            console.note("the comparison's own runs follow from what tuning chooses")
        return
    comparison = _run(request)
    show_table(comparison, form, verbose, next_command(request, comparison))
    if plot is not None:
        comparison.plot(plot)
        console.note(f"drawn in {plot}")
    if comparison.folder is not None:
        console.note(f"written to {comparison.folder}")
        if form != "table":  # a table ends with it
            console.note(f"report: {comparison.folder / REPORT}")
    if comparison.failed:
        raise typer.Exit(1)


def _check_names(
    encodings: list[str] | None, baseline: list[str] | None, data: list[str] | None
) -> None:
    """Refuses a wrong name before torch is imported."""
    from liere_cli.config.names import check_specs
    from liere_cli.planning.overrides import split_specs

    check_specs("data set", (spec for text in data or () for spec in split_specs(text)))
    for texts in (encodings, baseline):
        check_specs("encoding", (spec for text in texts or () for spec in split_specs(text)))


def _run(request: "ComparisonRequest") -> "Comparison":
    """Runs the comparison and shows its progress, also how far it came when interrupted."""
    from liere_cli.cli.progress import ProgressBar
    from liere_cli.cli.provisional import ProvisionalTable
    from liere_cli.launchers.events import Event, PlanReady

    provisional = ProvisionalTable()
    with ProgressBar() as display:

        def listen(event: Event) -> None:
            if isinstance(event, PlanReady):
                console.note(f"{event.plan.experiment}: {_closing(event)}")
            display(event)
            if display.bars is not None:
                shown = provisional(event, display.screen.width, display.screen.encoding)
                display.bars.table = shown or display.bars.table

        try:
            return request.run(listen)
        except KeyboardInterrupt:
            raise display.interrupted() from None


def _closing(ready: "PlanReady") -> str:
    """How many runs there are, in which state, and how long the rest takes."""
    plan, more = _begun(ready)
    states = Counter(ready.outcomes[run.run_id].state for run in plan.runs)
    counts = ", ".join(f"{number} {state}" for state, number in states.items())
    from liere_cli.planning.progress import seconds_left

    seconds = seconds_left(plan, ready.outcomes, ready.jobs)
    time_left = "estimated once a few steps have run"
    if seconds is not None:
        time_left = f"about {duration(seconds)}" if seconds else "none"
    at_once = f"; {ready.jobs} at a time" if ready.jobs > 1 else ""
    return f"{len(plan.runs)} runs: {counts}{at_once}; time left: {time_left}{more}"


def _begun(ready: "PlanReady") -> tuple["Plan", str]:
    """The plan without seeds that may be added later, and a note on those."""
    plan = ready.plan
    if plan.interim is None:
        return plan, ""
    from liere_cli.comparison.adaptive_seeds import begun_part

    more = f"; then more seeds where they are needed, {plan.interim.last} at most"
    return begun_part(plan, ready.outcomes), more


def _show_plan(ready: "PlanReady") -> None:
    from rich.text import Text

    table = console.table()
    for column in ("data", "encoding", "budget", "seeds"):
        table.add_column(column, overflow="fold")
    plan, _ = _begun(ready)
    for dataset in plan.datasets:
        for row in dataset.encodings:
            by_state: dict[str, list[str]] = {}
            for run in row.runs:
                state = ready.outcomes[run.run_id].state
                by_state.setdefault(state, []).append(str(run.seed))
            seeds = ", ".join(f"{state} {_seeds(names)}" for state, names in by_state.items())
            mark = " (baseline)" if row.label == dataset.baseline else ""
            cells = (dataset.title, row.label + mark, dataset.budget.text, row.undefined or seeds)
            table.add_row(*(Text(console.printable(cell)) for cell in cells))
    screen = console.stdout()
    screen.print(table)
    screen.print(Text(_closing(ready)), soft_wrap=True)


def _seeds(seeds: list[str]) -> str:
    """Which, or how many runs where one seed has several."""
    distinct = list(dict.fromkeys(seeds))
    if len(distinct) == len(seeds):
        return " ".join(seeds)
    return f"{' '.join(distinct)} ({len(seeds)} runs)"


def show_table(
    comparison: "Comparison",
    form: options.Format,
    verbose: bool = False,
    command: str | None = None,
) -> None:
    """Prints the tables of a comparison; ``command`` is one that answers what they leave open."""
    if form != "table":
        typer.echo(comparison.written(form), nl=False)
        return
    from liere_cli.report.formats.terminal import terminal

    screen = console.stdout()
    closing = [f"next: {command}"] if command else []
    closing += [] if verbose else ["details: -v"]
    if comparison.folder is not None and (report := comparison.folder / REPORT).is_file():
        closing.append(f"report: {report}")
    for table in comparison.tables:
        screen.print(
            terminal(
                table,
                screen.width,
                screen.is_terminal,
                verbose=verbose,
                encoding=screen.encoding,
                closing=closing,
            ),
            crop=False,
        )
