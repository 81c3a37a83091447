"""``liere bench``: speed as a ratio to a reference in the same run, and how true verdicts are."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Option

from liere_cli.cli import console
from liere_cli.cli.options import AsJson, Device
from liere_cli.errors import UsageError
from liere_cli.report.numbers import NONE

if TYPE_CHECKING:
    from liere_cli.bench.timing import Row


What = Literal["rotations", "step", "verdicts"]


def bench(
    what: Annotated[
        What,
        Argument(
            help="Speed of rotations alone or of full training steps; or how often verdicts on "
            "simulated comparisons are wrong."
        ),
    ],
    shape: Annotated[
        str | None,
        Option(
            metavar="SIZE,TOKENS,BATCH",
            help="For step: every encoding at this shape, as tiny,8x8,64 or nano,256,16.",
        ),
    ] = None,
    compiled: Annotated[bool, Option("--compile", help="For step: with training.compile.")] = False,
    against_none: Annotated[
        bool, Option("--none", help="For step: also against no encoding, as always on a GPU.")
    ] = False,
    repeats: Annotated[int, Option(min=3, help="Timings of each.")] = 9,
    tables: Annotated[
        int | None, Option(min=100, help="For verdicts: simulated tables of each design.")
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Time rotations or training steps against their references, or put verdicts to the test."""
    if shape and what != "step":
        raise UsageError(f"--shape {shape}: belongs to 'liere bench step'")
    for flag, value in {"--compile": compiled, "--none": against_none}.items():
        if value and what != "step":
            raise UsageError(f"{flag}: belongs to 'liere bench step'")
    if tables is not None and what != "verdicts":
        raise UsageError(f"--tables {tables}: belongs to 'liere bench verdicts'")
    if what == "verdicts":
        _bench_verdicts(tables, as_json)
    else:
        _bench_speed(what, shape, repeats, device, as_json, compiled, against_none)


def _bench_speed(
    what: What,
    shape: str | None,
    repeats: int,
    device: str,
    as_json: bool,
    compiled: bool,
    against_none: bool,
) -> None:
    import torch

    from liere_cli.rotations.kernels.compiler import describe
    from liere_cli.runs.build import choose_device

    chosen = choose_device(device)
    with console.stderr().status("timing") as status:

        def show(name: str) -> None:
            status.update(f"timing {name}")

        if what == "step":
            from liere_cli.bench.step import CASES, PAPER_CASES, cases_for, parse_shape, step_rows

            on_gpu = chosen.type == "cuda"
            cases = cases_for(parse_shape(shape)) if shape else PAPER_CASES if on_gpu else CASES
            rows = step_rows(
                cases,
                device=chosen,
                repeats=repeats,
                compiled=compiled,
                controls=against_none or on_gpu,
                on_progress=show,
            )
        else:
            from liere_cli.bench.rotations import rotation_rows

            rows = rotation_rows(device=chosen, repeats=repeats, on_progress=show)
    threads = torch.get_num_threads()
    rotations = describe(chosen)
    if as_json:
        about = {"device": str(chosen), "threads": threads, "rotations": rotations}
        console.print_json({**about, "rows": rows})
    else:
        _print_rows(rows, f"{chosen}, {threads} threads, medians of {repeats}")
        console.note(f"rotations: {rotations}")


def _print_rows(rows: "list[Row]", title: str) -> None:
    table = console.table(title=title, collapse_padding=True)
    table.add_column("case", no_wrap=True)
    table.add_column("against")
    for heading in ("ours, ms", "its, ms", "ratio", "quartiles"):
        table.add_column(heading, justify="right", no_wrap=True)
    # what no row of this benchmark measures gets no column
    extras = [
        extra
        for extra in _EXTRAS
        if any(row.get(field) is not None for row in rows for field in extra[1:])
    ]
    for extra in extras:
        table.add_column(extra[0], justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["case"],
            row["reference"],
            f"{row['ours_ms']:,.1f}",
            f"{row['reference_ms']:,.1f}",
            f"{row['speedup']:.2f}",
            "{:.2f}-{:.2f}".format(*row["spread"]),
            *(_extra(row, *extra) for extra in extras),
        )
    console.stdout().print(table)
    console.note("ratio: reference time over ours; above 1 ours is faster")


def _bench_verdicts(tables: int | None, as_json: bool) -> None:
    from liere_cli.bench.verdicts.calibration import TABLES, simulate_verdicts

    with console.stderr().status("simulating") as status:
        figures = simulate_verdicts(
            tables or TABLES, lambda name: status.update(f"simulating {name}")
        )
    if as_json:
        console.print_json(figures)
        return
    screen = console.stdout()
    for key, (title, columns) in _VERDICT_TABLES.items():
        rows: list[Mapping[str, Any]] = figures[key]  # type: ignore[literal-required]
        table = console.table(title=title.format_map(rows[0]))
        for index, heading in enumerate(columns):
            table.add_column(heading.format_map(rows[0]), justify="right" if index else "left")
        for row in rows:
            shown = {name: _Missing() if value is None else value for name, value in row.items()}
            table.add_row(*(cell.format_map(shown) for cell in columns.values()))
        screen.print(table)
        screen.print()


class _Missing:
    """A number that a row doesn't have, in any format."""

    def __format__(self, form: str) -> str:
        return NONE


#: tables of ``bench verdicts`` by the key of their rows: title, and headings with their cells
_VERDICT_TABLES = {
    "worlds": (
        "no true difference: {encodings} encodings on {data_sets} data sets",
        {
            "world": "{world}",
            "equal": "{equal}",
            "design": "{design}",
            "tables": "{tables:,}",
            "with a wrong verdict": "{wrong_rate:.2%} ± {mc_error:.2%}",
            "paired t tests": "{wrong_rate_paired:.2%}",
            "intervals that cover": "{coverage:.1%}",
        },
    ),
    "shapes": (
        "the same by size of the table",
        {
            "encodings": "{encodings}",
            "data sets": "{data_sets}",
            "world": "{world}",
            "design": "{design}",
            "tables": "{tables:,}",
            "with a wrong verdict": "{wrong_rate:.2%} ± {mc_error:.2%}",
        },
    ),
    "power": (
        "one true difference in such a table, in standard deviations of the paired difference",
        {
            "design": "{design}",
            "difference": "{effect:g}",
            "found": "{power:.0%}",
            "by paired t tests": "{power_paired:.0%}",
            "intervals that cover": "{coverage:.1%}",
            "seeds": "{seeds:.1f}",
        },
    ),
    "looks": (
        "repeated tables on the same runs, no true difference",
        {
            "habit": "{habit}",
            "any wrong verdict": "{wrong_rate:.2%}",
            "without correction": "{wrong_rate_uncorrected:.2%}",
        },
    ),
    "equivalence": (
        "wrong 'equivalent' where one seed in ten is 30 points worse, at a margin of 1",
        {
            "seeds": "{seeds}",
            "bad seeds of": "{failing}",
            "tables with a wrong 'equivalent'": "{wrong_rate:.1%}",
        },
    ),
    "ratios": (
        "the baseline against itself: ratios of steps to a score, and of data to a score",
        {
            "ratio of": "{kind}",
            "curves": "{shape}",
            "seeds": "{seeds}",
            "median": "{median:.3f}",
            "tables with a wrong result": "{wrong_rate:.1%}",
            "intervals that cover": "{coverage:.1%}",
        },
    ),
    "interactions": (
        "interactions of two data sets with equal relative gains",
        {
            "seeds": "{seeds}",
            "baseline's gain": "{baseline_gain:g}",
            "relative gain": "{relative_gain:g}",
            "wrong verdicts": "{wrong_rate:.1%}",
            "intervals that cover": "{coverage:.1%}",
            "undefined": "{undefined:.1%}",
        },
    ),
    "clusters": (
        "a test set of few clusters: intervals that cover the truth",
        {
            "seeds": "{seeds}",
            "clusters": "{clusters}",
            "sizes": "{sizes}",
            "effects": "{effects}",
            "spread over seeds / over items": "{spread:g}",
            "intervals that cover": "{coverage:.1%}",
        },
    ),
    "windows": (
        "a text whose windows correlate with their neighbours: intervals that cover the truth",
        {
            "seeds": "{seeds}",
            "windows": "{windows}",
            "correlation": "{correlation:g}",
            "by blocks": "{coverage:.1%}",
            "by windows": "{coverage_windows:.1%}",
        },
    ),
    "pairing": (
        "one comparison, {effect:g} standard deviations of a score apart",
        {
            "correlation over seeds": "{correlation:g}",
            "found with {seeds} shared seeds": "{power_paired:.0%}",
            "with seeds of their own": "{power_unpaired:.0%}",
            "seeds for 80%: shared": "{seeds_paired}",
            "own": "{seeds_unpaired}",
        },
    ),
}
#: further columns: heading, our field, the reference's
_EXTRAS = (
    ("error, its", "error", "reference_error"),
    ("MiB more", "memory_mib", "reference_memory_mib"),
)


def _extra(row: "Row", heading: str, ours: str, theirs: str) -> str:
    one, other = row.get(ours), row.get(theirs)
    if not isinstance(one, float):
        return ""
    if heading == "MiB more":
        return f"{one - other:+,.0f}" if isinstance(other, float) else ""
    return f"{one:.0e}, {other:.0e}" if isinstance(other, float) else f"{one:.0e}"
