"""``liere eval``."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Option

from liere_cli.cli import console
from liere_cli.cli.options import (
    DEFAULT_OUTPUTS,
    AsJson,
    DataRoot,
    Device,
    MovedData,
    Outputs,
    RunArgument,
)

if TYPE_CHECKING:
    from liere_cli.evaluation.trained_run import EvaluationRow

#: what a score counts, by metric
_COUNTED = {"bits_per_byte": "bytes", "bits_per_token": "tokens"}


def evaluate(
    run: RunArgument,
    split: Annotated[
        Literal["train", "val", "test"], Option(help="Which part of the data.")
    ] = "test",
    grid: Annotated[
        list[str] | None,
        Option(help="Another length or resolution, as 512, 48x48 or 8x32x32; repeatable."),
    ] = None,
    extend: Annotated[
        list[str] | None,
        Option(
            metavar="METHOD",
            help="How the encoding serves a larger grid: none, pi (interpolated positions), refit "
            "(positions end where trained ones did), edges (the grid's edges do), ntk, yarn, or "
            "yarn-paper; repeatable.",
        ),
    ] = None,
    shuffle: Annotated[
        bool,
        Option(
            "--shuffle",
            help="Also with the patches of each picture or clip in random order, positions kept.",
        ),
    ] = False,
    weights: Annotated[
        Literal["last", "best"], Option(help="After training, or of the best validation.")
    ] = "last",
    sample: Annotated[
        int, Option(min=0, max=100_000, help="Bytes of text to write, for text.")
    ] = 0,
    prompt: Annotated[str, Option(help="What the sample goes on from.")] = "\n",
    temperature: Annotated[
        float, Option(min=0, max=100, help="Of the sample; 0 takes the likeliest byte.")
    ] = 0.8,
    limit: Annotated[
        int | None, Option(min=1, help="At most so many items or blocks, evenly spaced.")
    ] = None,
    encoding: Annotated[
        str | None,
        Option(
            metavar="FILE.py:Class",
            help="Of a run with your own encoding or model: runs that file.",
        ),
    ] = None,
    data: MovedData = None,
    device: Device = "auto",
    out: Outputs = DEFAULT_OUTPUTS,
    data_root: DataRoot = None,
    as_json: AsJson = False,
) -> None:
    """Measure a trained run, also at other lengths and resolutions.

    Text of several lengths: the same bytes are predicted at each, the last ones of every window, as
    many as the shortest length (or the trained one) has.
    """
    from liere_cli.api.evaluate import evaluate as evaluate_run
    from liere_cli.api.evaluate import open_trained

    trained = open_trained(
        run, weights=weights, encoding=encoding, data=data, device=device, out=out,
        data_root=data_root,
    )  # fmt: skip
    text = trained.sample(sample, prompt=prompt, temperature=temperature) if sample else None
    name = trained.run_spec.encoding
    with console.stderr().status(f"evaluating {console.shown(name)} on {split}"):
        rows = evaluate_run(
            trained, grids=grid or (), split=split, extend=extend or (), shuffle=shuffle,
            limit=limit,
        )  # fmt: skip
    if as_json:
        console.print_json(
            {"run": str(trained.run.folder), "rows": [asdict(row) for row in rows], "sample": text}
        )
        return
    _print_rows(rows, f"{trained.run_spec.encoding} on {trained.run_spec.data}, {split} split")
    if text is not None:
        console.stdout().print(console.printable(text), markup=False, soft_wrap=True)


def _print_rows(rows: "Sequence[EvaluationRow]", title: str) -> None:
    table = console.table(title=console.shown(title))
    table.add_column("grid")
    extended = any(row.extension != "none" for row in rows)
    if extended:
        table.add_column("extension")
    for heading in ("tokens", "metric", "loss (nats)", "items"):
        table.add_column(heading, justify="right")
    for row in rows:
        marks = [mark for mark in ("trained", "shuffled") if getattr(row, mark)]
        table.add_row(
            f"{row.grid} ({', '.join(marks)})" if marks else row.grid,
            *([row.extension] if extended else []),
            f"{row.tokens:,}",
            console.format_metric(row.metric, row.value),
            "not finite" if row.loss is None else f"{row.loss:.4f}",
            f"{row.count:,} {_COUNTED.get(row.metric, 'items')}",
        )
    console.stdout().print(table)
