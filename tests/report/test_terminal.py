"""The tables on a terminal: what they hold at every width, in colour or not, and in ASCII.

``LIERE_UPDATE_SNAPSHOTS=1 python -m pytest tests/report/test_terminal.py`` writes the snapshots.
"""

import io
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.report.escape import plain
from liere_cli.report.formats.glyphs import glyphs_for
from liere_cli.report.formats.interval_bar import Scale
from liere_cli.report.formats.terminal import terminal
from support.judged_tables import judged_example
from support.synthetic_tables import dataset_of, table_of

SNAPSHOTS = Path(__file__).parent / "snapshots"
CLOSING = ["next: liere compare quick --until-settled", "details: -v", "report: quick/report.html"]
WIDTHS = [60, 80, 100, 140, 200]


def shown(
    table: ComparisonTable,
    width: int,
    *,
    colour: bool = False,
    encoding: str = "utf-8",
    verbose: bool = False,
) -> str:
    console = Console(
        width=width,
        file=io.StringIO(),
        force_terminal=colour,
        color_system="standard" if colour else None,
        no_color=not colour,
        legacy_windows=False,
    )
    console.print(terminal(table, width, verbose=verbose, encoding=encoding, closing=CLOSING))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def table() -> ComparisonTable:
    return judged_example()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("colour", [False, True], ids=["plain", "colour"])
@pytest.mark.parametrize("width", WIDTHS)
def test_snapshots(table: ComparisonTable, width: int, colour: bool, encoding: str) -> None:
    text = shown(table, width, colour=colour, encoding=encoding)
    path = SNAPSHOTS / f"{width}-{'colour' if colour else 'plain'}-{encoding}.txt"
    if os.environ.get("LIERE_UPDATE_SNAPSHOTS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "unheard-of"])
@pytest.mark.parametrize("width", [24, 40, *WIDTHS])
def test_every_line_fits(table: ComparisonTable, width: int, encoding: str, verbose: bool) -> None:
    text = shown(table, width, encoding=encoding, verbose=verbose)
    # commands and paths are copied, so they are not broken
    lines = [line for line in text.splitlines() if not any(map(line.endswith, CLOSING))]
    assert max(map(cell_len, lines)) <= width
    if encoding != "utf-8":
        assert text.isascii()


@pytest.mark.parametrize("width", WIDTHS)
def test_verdicts_failures_and_what_is_open_are_shown_at_every_width(
    table: ComparisonTable, width: int
) -> None:
    text = " ".join(shown(table, width).split())
    for part in (
        "✓ better", "✗ worse", "≈ equivalent", "? undecided", "baseline", "not defined on 2 axes",
        "5 of 10 seeds finished (5 of 10 diverged", "either way", "85/90 runs · 10 seeds",
        "top-1 %, higher is better · 1000steps", "43.0 ± 0.4", "vs axial", "vs rope",
    ):  # fmt: skip
        assert part in text, part
    assert "Null hypothesis" not in text
    assert "s.e." not in text


def test_the_verdict_count_is_among_the_last_lines(table: ComparisonTable) -> None:
    last = shown(table, 80).splitlines()[-5:]
    assert any(line.startswith("1 better · 2 worse · 1 equivalent") for line in last), last
    assert "Holm over" in "".join(last)


def test_wide_terminals_get_columns_and_no_further_table(table: ComparisonTable) -> None:
    narrow, wide = shown(table, 80), shown(table, 200)
    for part in ("parameters", "812k (1.2k)", "2.6k ex/s", "each seed", "12.3s"):
        assert part in wide
        assert part not in narrow
    assert wide.count("\n") <= narrow.count("\n")


@pytest.mark.parametrize("width", WIDTHS)
def test_verbose_shows_everything_at_every_width(table: ComparisonTable, width: int) -> None:
    text = shown(table, width, verbose=True)
    flat = " ".join(text.split())
    for part in ("Null hypothesis", "812k (1.2k)", "2.6k ex/s", "Correlation with axial"):
        assert part in flat
    assert table.signature.replace(" ", "") in "".join(text.split())


def test_colour_adds_nothing_to_the_text(table: ComparisonTable) -> None:
    from rich.text import Text

    coloured = shown(table, 100, colour=True)
    assert "\x1b[" in coloured
    assert Text.from_ansi(coloured).plain.splitlines() == shown(table, 100).splitlines()
    # yellow and white can't be read on white, blue can't on black
    assert not any(code in coloured for code in ("33m", "37m", "34m", "30m"))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=5),
    st.lists(st.floats(0, 1), min_size=2, max_size=5),
    st.integers(3, 40),
    st.none() | st.floats(1e-6, 1),
)
def test_bars_have_one_scale(
    axial: list[float], other: list[float], width: int, margin: float | None
) -> None:
    dataset = table_of(dataset_of({"axial": axial, "other": other}, margin=margin)).datasets[0]
    scale = Scale.of(dataset, width)
    if scale is None:
        return
    glyphs = glyphs_for("utf-8")
    bars = [scale.bar(row, glyphs) for row in dataset.rows]
    assert {len(bar) for bar in bars} == {width}
    estimate = dataset.rows[1].estimate
    assert estimate is not None
    point = bars[1].index(glyphs.point)
    zero = bars[0].index(glyphs.zero)
    assert (point - zero) * estimate.difference >= 0
    # as precise as characters are
    step = (scale.high - scale.low) / (width - 1)
    assert abs((point - zero) * step - estimate.difference) <= step * 1.0001


@pytest.mark.parametrize("name", ["模型" * 20, "x" * 300, "[red]x[/red]", "a\x1b[31mb", "é" * 30])
@pytest.mark.parametrize("width", [40, 80, 140])
def test_any_name_is_shown_whole(name: str, width: int) -> None:
    table = table_of(dataset_of({"axial": [0.1, 0.2], name: [0.3, 0.5]}))
    text = shown(table, width)
    assert "".join(plain(name).split()) in "".join(text.split())
    assert "\x1b" not in text
    assert max(map(cell_len, text.splitlines()[:-3])) <= width


def test_unequal_compute_is_a_warning() -> None:
    from dataclasses import replace

    table = table_of(dataset_of({"axial": [0.1, 0.2], "liere": [0.3, 0.5], "rope": [0.2, 0.2]}))
    [dataset] = table.datasets
    axial, liere, rope = dataset.rows
    rows = (
        replace(axial, parameters=1000, flops_per_token=100.0),
        replace(liere, parameters=1040, flops_per_token=150.0),
        replace(rope, parameters=1019, flops_per_token=99.0),
    )
    text = shown(replace(table, datasets=(replace(dataset, rows=rows),)), 140)
    assert "! warning: unequal compute, against axial: liere has +4.0% parameters" in text
    assert "+50.0% FLOPs a token" in text
    assert "rope has" not in text
    assert "FLOPs/token" in text
    assert "unequal" not in shown(table, 80)
