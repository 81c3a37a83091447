"""``liere judge``: verdicts on anybody's numbers."""

import math
from pathlib import Path
from typing import Annotated

import typer

from liere_cli.cli import console, options
from liere_cli.errors import UsageError


def judge(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="CSV with columns encoding, seed, score, and if need be data, metric, status; "
            "exports of W&B and TensorBoard as they come",
            show_default=False,
        ),
    ],
    baseline: Annotated[
        str, typer.Option(help="the encoding that the others are compared with", metavar="NAME")
    ],
    higher_is_better: Annotated[
        bool | None,
        typer.Option(
            "--higher-is-better/--lower-is-better",
            help="the metric's direction; known for accuracy, loss, bits_per_byte and such",
            show_default=False,
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="smallest difference that matters, in the score's unit"),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            help="name of a column in the file, as score=test/top1; repeatable",
            metavar="WHAT=NAME",
        ),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(help="CSV of results per test item: encoding, seed, item, score, group"),
    ] = None,
    all_pairs: Annotated[
        bool, typer.Option("--all-pairs", help="also compare every pair, and rank the encodings")
    ] = False,
    looks: Annotated[
        str,
        typer.Option(
            help="numbers of seeds at which these runs were judged before, as 5,10", metavar="N,N"
        ),
    ] = "",
    form: options.TableFormat = "table",
    verbose: options.Verbose = False,
    json: Annotated[bool, typer.Option("--json", help="the same as --format json")] = False,
) -> None:
    """Judge scores measured elsewhere, as 'liere compare' judges its runs.

    Runs of one seed are paired; a verdict needs 5 seeds.
    """
    from liere_cli.api.judge import judged
    from liere_cli.cli.compare import show_table
    from liere_cli.comparison.records.files import read_items, read_scores
    from liere_cli.comparison.records.items import sort_items
    from liere_cli.comparison.records.scores import sort_records
    from liere_cli.comparison.records.table import JudgeSettings, check_seeds

    source = read_scores(files, dict(map(_pair, columns or ())))
    tables = sort_records(source.records, source)
    by_item = {} if items is None else sort_items(*read_items(items))
    for data_sets in tables.values():
        check_seeds(list(data_sets.values()), baseline, source.name)
    if margin is not None and not 0 < margin < math.inf:
        raise UsageError(f"--margin {margin:g}: expected a number above zero")
    settings = JudgeSettings(baseline, higher_is_better, margin, all_pairs, items=by_item)
    comparison = judged(tables, settings, _numbers(looks))
    show_table(comparison, "json" if json else form, verbose)
    if len(tables) > 1:
        console.note(f"{len(tables)} tables, each corrected for itself")


def _pair(text: str) -> tuple[str, str]:
    what, separator, name = text.partition("=")
    if not separator or not name:
        raise UsageError(f"--column {text}: expected WHAT=NAME, as score=test/top1")
    return what.strip(), name.strip()


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdigit() for part in parts):
        raise UsageError(f"--looks {text}: expected numbers of seeds, as 5,10")
    return [int(part) for part in parts]
