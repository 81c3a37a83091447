"""``liere bench``: speed, always as a ratio to a reference in the same run."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from liere_cli.cli.options import AsJson, Device

if TYPE_CHECKING:
    from liere_cli.bench.timing import Row


class What(StrEnum):
    """What is timed."""

    ROTATIONS = "rotations"
    STEP = "step"


def bench(
    what: Annotated[What, typer.Argument(help="rotations alone, or full training steps.")],
    shape: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE,TOKENS,BATCH",
            help="For step: every encoding at this shape, as tiny,8x8,64 or nano,256,16.",
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(min=3, help="Timings of each.")] = 9,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Time rotations or training steps against their references."""
    import torch

    from liere_cli.assembly import choose_device
    from liere_cli.cli import console
    from liere_cli.errors import UsageError

    chosen = choose_device(device)
    with console.stderr().status("timing") as status:

        def told(name: str) -> None:
            status.update(f"timing {name}")

        if what == What.STEP:
            from liere_cli.bench.step import CASES, cases_for, parse_shape, step_rows

            cases = cases_for(parse_shape(shape)) if shape else CASES
            rows = step_rows(cases, device=chosen, repeats=repeats, told=told)
        elif shape:
            raise UsageError(f"--shape {shape}: belongs to 'liere bench step'")
        else:
            from liere_cli.bench.rotations import rotation_rows

            rows = rotation_rows(device=chosen, repeats=repeats, told=told)
    threads = torch.get_num_threads()
    if as_json:
        console.print_json({"device": str(chosen), "threads": threads, "rows": rows})
    else:
        _print_rows(rows, f"{chosen}, {threads} threads, medians of {repeats}")


def _print_rows(rows: "list[Row]", title: str) -> None:
    from rich.table import Table

    from liere_cli.cli import console

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("case", overflow="fold")
    table.add_column("reference", overflow="fold")
    for heading in ("ours", "reference", "ratio", "quartiles", "error", "its error", "memory"):
        table.add_column(heading, justify="right")
    for row in rows:
        memory = "-"
        if "memory_mib" in row and "reference_memory_mib" in row:
            memory = f"{row['memory_mib'] - row['reference_memory_mib']:+,.0f} MiB"
        table.add_row(
            row["case"],
            row["reference"],
            f"{row['ours_ms']:,.2f} ms",
            f"{row['reference_ms']:,.2f} ms",
            f"{row['speedup']:.2f}",
            "{:.2f}..{:.2f}".format(*row["spread"]),
            _error(row["error"]),
            _error(row.get("reference_error")),
            memory,
        )
    console.stdout().print(table)
    console.note("ratio: reference time over ours; above 1 ours is faster")


def _error(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"
