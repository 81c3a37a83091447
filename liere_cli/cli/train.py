"""``liere train``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from liere_cli.cli.options import DEFAULT_OUTPUTS, AsJson, Assignments, DataRoot, Device, Outputs
from liere_cli.report.numbers import duration

if TYPE_CHECKING:
    from liere_cli.runs.summary import RunSummary


def train(
    encoding: Annotated[
        str | None,
        typer.Option(help="NAME, NAME:key=value,..., or FILE.py:Class (runs that file)."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="NAME, NAME:key=value,..., or KIND:PATH.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="FILE", help="A recipe's path, or a built-in one's name.")
    ] = None,
    assignments: Assignments = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random stream.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="As 2000steps, 50Mtokens, 100kexamples, 90s, 10m or 2h.")
    ] = None,
    device: Device = "auto",
    out: Outputs = DEFAULT_OUTPUTS,
    data_root: DataRoot = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Discard earlier results.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train one model with one encoding; go on where an earlier run stopped.

    Without flags: liere on stdlib, Python's own source. Exit code 1 when a run fails or diverges.
    One large run in N processes: torchrun --nproc-per-node N -m liere_cli train ...
    """
    from liere_cli.cli import console
    from liere_cli.config.files import load_recipe, refuse_foreign_code
    from liere_cli.errors import UsageError
    from liere_cli.runs.build import assemble, choose_device
    from liere_cli.training.run import tidy, train_run
    from liere_cli.utils.distributed import joined, own_device

    flags: dict[str, Any] = {"encoding": encoding, "data": data, "seed": seed}
    flags = {key: value for key, value in flags.items() if value is not None}
    if budget is not None:
        flags["training"] = {"budget": budget}
    with joined() as ranks:
        if not ranks.is_main:
            console.silence()
        chosen = own_device(choose_device(device))
        settings = load_recipe(recipe, flags=flags, assignments=assignments or [])
        refuse_foreign_code(settings, recipe or "flags", [encoding, *(assignments or [])])
        if settings.compare is not None and "data" not in settings.model_fields_set:
            raise UsageError(
                f"recipe '{recipe}' compares {len(settings.compare.data)} data sets; choose one "
                f"with --data, or run liere compare {recipe}"
            )
        run_spec = assemble(settings, root=data_root, device=chosen)
        run = run_spec.run(out)
        known = ranks.broadcast(lambda: None if fresh else run.summary())
        if known is not None:
            console.note(f"already {known.status}, so not trained again (--fresh trains anew)")
            if ranks.is_main:
                tidy(run)
            summary = known
        else:
            with console.LiveProgress() as progress:
                summary = train_run(
                    run_spec,
                    outputs=out,
                    device=chosen,
                    fresh=fresh,
                    callbacks=progress,
                    ranks=ranks,
                )
        if ranks.is_main and as_json:
            console.print_json({**summary.to_record(), "folder": str(run.folder)})
        elif ranks.is_main:
            _print_result(summary, str(run.folder))
    if summary.status != "finished":
        raise typer.Exit(1)


def _print_result(summary: "RunSummary", folder: str) -> None:
    from liere_cli.cli import console

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
        f"encoding) · {summary.steps:,} steps in {duration(summary.seconds or 0)} · "
        f"{summary.throughput or 0:,.0f} {console.shown(summary.throughput_unit)}",
        soft_wrap=True,
    )
    screen.print(f"run: {console.shown(folder)}", soft_wrap=True)
