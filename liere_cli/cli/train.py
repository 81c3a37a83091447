"""``liere train``."""

import os
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from liere_cli.cli import console
from liere_cli.cli.completion import (
    complete_data,
    complete_encodings,
    complete_recipe,
    complete_run,
)
from liere_cli.cli.options import (
    DEFAULT_OUTPUTS,
    AsJson,
    Assignments,
    DataRoot,
    Device,
    Log,
    Model,
    Outputs,
)
from liere_cli.report.numbers import duration
from liere_cli.utils.paths import expand

if TYPE_CHECKING:
    from liere_cli.runs.summary import RunSummary


def train(
    encoding: Annotated[
        str | None,
        Option(
            help="NAME, NAME:key=value,..., or FILE.py:Class (runs that file).",
            autocompletion=complete_encodings,
        ),
    ] = None,
    data: Annotated[
        str | None,
        Option(help="NAME, NAME:key=value,..., or KIND:PATH.", autocompletion=complete_data),
    ] = None,
    recipe: Annotated[
        str | None,
        Option(
            metavar="FILE",
            help="A recipe's path, or a built-in one's name.",
            autocompletion=complete_recipe,
        ),
    ] = None,
    model: Model = None,
    parent: Annotated[
        str | None,
        Option(
            "--from",
            metavar="RUN",
            help="Go on from a finished run's weights, with its settings but for other flags; the "
            "budget counts anew.",
            autocompletion=complete_run,
        ),
    ] = None,
    assignments: Assignments = None,
    seed: Annotated[int | None, Option(help="Seed of every random stream.")] = None,
    budget: Annotated[
        str | None, Option(help="As 2000steps, 50Mtokens, 100kexamples, 90s, 10m or 2h.")
    ] = None,
    device: Device = "auto",
    out: Outputs = DEFAULT_OUTPUTS,
    log: Log = None,
    data_root: DataRoot = None,
    fresh: Annotated[bool, Option("--fresh", help="Discard earlier results.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train one model with one encoding; go on where an earlier run stopped.

    Without flags: liere on stdlib, Python's own source. Exit code 1 when a run fails or diverges.
    Keys for --set, with defaults and meaning: liere schema --keys, or liere schema training.
    One large run in N processes: torchrun --nproc-per-node N -m liere_cli train ...
    """
    flags = {name: value for name, value in locals().items() if value is not None}
    del flags["as_json"]
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # of several processes, one reports
        from liere_cli.config.files import builtin_recipes
        from liere_cli.config.names import check_specs, explain_source

        check_specs("encoding", [encoding])
        check_specs("data set", [data])
        if recipe is not None and not expand(recipe).exists() and recipe not in builtin_recipes():
            explain_source(recipe, command=0)
    from liere_cli.api.train import train as train_model
    from liere_cli.cli.progress import ProgressBar
    from liere_cli.utils.distributed import is_main_process

    if not is_main_process():
        console.silence()
    with ProgressBar() as display:
        try:
            run = train_model(**flags, on_progress=display)
        except KeyboardInterrupt:
            raise display.interrupted() from None
    summary = run.summary()
    assert summary is not None
    if not display.started:
        console.note(f"already {summary.status}, so not trained again (--fresh trains anew)")
    if is_main_process() and as_json:
        console.print_json({**summary.to_record(), "folder": str(run.folder)})
    elif is_main_process():
        _print_result(summary, str(run.folder))
    if summary.status != "finished":
        raise typer.Exit(1)


def _print_result(summary: "RunSummary", folder: str) -> None:
    screen = console.stdout()
    encoding, data = console.shown(summary.encoding), console.shown(summary.data)
    title = f"[bold]{encoding}[/bold] on {data}, seed {summary.seed}"
    if summary.status == "finished":
        test = console.format_metric(summary.metric, summary.test)
        val = console.format_metric(summary.metric, summary.val)
        scored = f"test [bold]{test}[/bold]" if summary.test is not None else "not tested"
        screen.print(f"{title}: {scored}, val {val}", soft_wrap=True)
    else:
        status, reason = console.shown(summary.status), console.shown(summary.error)
        screen.print(f"{title}: [red]{status}[/red], {reason}", soft_wrap=True)
    screen.print(
        f"{summary.parameters:,} parameters ({summary.encoding_parameters:,} of the "
        f"encoding) · {summary.steps:,} steps in {duration(summary.seconds)} · "
        f"{summary.throughput or 0:,.0f} {console.shown(summary.throughput_unit)}",
        soft_wrap=True,
    )
    screen.print(f"run: {console.shown(folder)}", soft_wrap=True)
