"""Every format: complete, escaped, readable."""

import csv
import io
import json
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from liere_cli.comparison.tables.build import ComparisonTable, make_table
from liere_cli.planning.plan import Plan
from liere_cli.report import numbers
from liere_cli.report.content import summary_lines
from liere_cli.report.escape import csv_cell, latex, markdown, plain
from liere_cli.report.formats.registry import FORMATS
from liere_cli.report.formats.terminal import terminal
from liere_cli.report.numbers import Unit
from support.synthetic_tables import LIERE, dataset_of, example, table_of


def shown(table: ComparisonTable, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(terminal(table, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("name", ["[red]x[/red]", "[/]", "a[b]c", "\x1b[31mred", "a\nb"])
def test_names_are_neither_markup_nor_control_sequences(name: str) -> None:
    table = table_of(
        dataset_of({"axial": [0.1, 0.2], name: [0.3, 0.5]}, title=name), experiment=name
    )
    text = shown(table, 120)
    assert plain(name) in text
    assert "\x1b" not in text


def test_json_holds_every_number() -> None:
    content = json.loads(FORMATS["json"](example()))
    row = next(row for row in content["tables"][0]["rows"] if row["encoding"] == "liere:block=8")
    assert row["values"] == {str(seed): value for seed, value in enumerate(LIERE)}
    assert row["verdict"] == "better"
    assert row["shared_seeds"] == 10
    assert row["smallest_p_sign_flip"] == row["p_sign_flip"] == 2.0**-9
    numbers_of_row = ("mean", "std", "difference", "low", "high", "low_raw", "high_raw")
    spreads = ("difference_std", "pooled_std", "used_std", "borrowed_freedom")
    for key in (*numbers_of_row, *spreads, "p", "p_own", "p_corrected", "p_equivalent", "bound"):
        assert isinstance(row[key], float), key
    assert row["low"] < row["low_raw"] < row["high_raw"] < row["high"]
    assert (row["far_runs"], row["p_failures"]) == (False, None)
    assert row["failure_rate_high"] == pytest.approx(1 - 0.05**0.1)
    assert content["tables"][1]["rows"][3]["failed"] == 1
    assert (content["correction"], content["earlier_tables"]) == ("Holm", 0)
    assert content["signature"] == example().signature
    assert content["summary"] == summary_lines(example())


def test_csv_is_one_table_that_reads_back() -> None:
    text = FORMATS["csv"](example())
    assert len({len(cells) for cells in csv.reader(io.StringIO(text))}) == 1
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == 10
    liere = lines[2]
    assert (liere["data"], liere["encoding"]) == ("pointing", "liere:block=8")
    assert [liere[f"seed_{seed}"] for seed in range(3)] == ["0.431", "0.447", "0.44"]
    assert [lines[4][f"seed_{seed}"] for seed in range(3)] == ["0.29", "", ""]
    assert [line["baseline"] for line in lines[:2]] == ["False", "True"]
    content = json.loads(FORMATS["json"](example()))["tables"][0]["rows"][2]
    for key in ("mean", "difference", "low", "low_raw", "p", "p_corrected"):
        assert float(liere[key]) == content[key]
    assert lines[5]["undefined"] == "not defined on 2 axes"


def test_data_sets_with_different_seeds_share_the_columns_of_csv() -> None:
    table = table_of(
        dataset_of({"axial": [0.1], "liere": [0.2, 0.3, 0.4]}),
        dataset_of({"axial": [0.5, 0.6]}, title="motion"),
    )
    lines = list(csv.DictReader(io.StringIO(FORMATS["csv"](table))))
    seeds = [[line[f"seed_{seed}"] for seed in range(3)] for line in lines]
    assert seeds == [["0.1", "", ""], ["0.2", "0.3", "0.4"], ["0.5", "0.6", ""]]


def test_the_correlation_over_seeds_is_in_json_only() -> None:
    scores = [0.30, 0.32, 0.31, 0.35, 0.33]
    dataset, outcomes = dataset_of({"axial": scores, "liere": [0.4, 0.45, 0.41, 0.44, 0.43]})
    table = make_table(Plan("quick", (dataset,), tuple(range(5))), outcomes)
    pairing = json.loads(FORMATS["json"](table))["tables"][0]["rows"][1]["pairing"]
    assert pairing["n"] == 5
    assert pairing["low"] < pairing["correlation"] < pairing["high"]
    assert "correlation" not in shown(table, 120)


@pytest.mark.parametrize("name", ["=1+1", "+a", "-a", "@sum", " =x"])
def test_csv_runs_no_formula(name: str) -> None:
    text = FORMATS["csv"](table_of(dataset_of({"axial": [0.1, 0.2], name: [0.3, 0.5]})))
    cell = list(csv.DictReader(io.StringIO(text)))[1]["encoding"]
    assert cell.startswith("'")
    assert cell == csv_cell(name)


def test_markdown_tables_have_equal_columns() -> None:
    text = FORMATS["markdown"](
        table_of(dataset_of({"axial": [0.1, 0.2], "a|b_c*d`e<f>": [0.3, 0.5]}))
    )
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert r"a\|b\_c\*d\`e\<f\>" in text


@given(st.text(max_size=20))
def test_latex_text_has_no_active_character(text: str) -> None:
    escaped = latex(text)
    bare = re.sub(r"\\[a-z]+(\{\})?|\\.|\$[^$]*\$", "", escaped)
    assert not re.search(r"[&%$#_{}~^\\]", bare)


@given(st.text(max_size=20))
def test_escaped_text_stays_on_one_line(text: str) -> None:
    escapes: list[Callable[[str], str]] = [plain, markdown, latex, csv_cell]
    for escape in escapes:
        assert len(escape(text).splitlines()) <= 1


def test_the_summary_has_a_clause_for_every_encoding() -> None:
    images, text = summary_lines(example())
    assert images.startswith(
        "images · pointing: liere:block=8 beats axial by 13.0 points [12.7, 13.2]"
    )
    assert "none loses to axial by 18.8 points" in images
    assert "rope-mixed equals axial within 1.0 points: 0.0" in images
    assert "absolute against axial: -1.0, no verdict below 5 seeds (1 of 10 seeds" in images
    assert "rope is not defined on 2 axes" in images
    assert "(10 seeds)" in images
    assert text.startswith("text · stdlib: liere beats rope by 0.0560 bits/byte [0.03")
    assert "alibi against rope is undecided: -0.0020 [-0.0243, +0.0203] (5 seeds)" in text
    assert "no verdict below 5 seeds (4 of 5 seeds finished)" in text


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ({"axial": [0.3, 0.4]}, "nothing to compare with axial"),
        ({"axial": ["failed"], "liere": [0.5]}, "liere: no seed shared with axial"),
        ({"axial": [0.3], "liere": ["diverged"]}, "1 of 1 diverged"),
        ({"axial": [0.25] * 5, "liere": [0.25] * 5}, "is undecided: 0.0 (5 seeds)"),
        ({"axial": [0.25] * 2, "liere": [0.5] * 2}, "+25.0, no verdict below 5 seeds (2 seeds)"),
    ],
)
def test_the_summary_of_partial_tables(
    results: dict[str, list[float | str]], expected: str
) -> None:
    assert expected in summary_lines(table_of(dataset_of(results)))[0]


def test_runs_without_a_baseline_get_no_verdict() -> None:
    table = table_of(dataset_of({"liere": [0.3, 0.4], "none": [0.1, 0.2]}, baseline=None))
    assert "no baseline" in summary_lines(table)[0]
    assert not any(mark in shown(table, 100) for mark in ("✓", "✗"))


def test_a_small_spread_gets_one_more_decimal() -> None:
    coarse = Unit.of(table_of(dataset_of({"axial": [0.30, 0.34]})).datasets[0])
    fine = Unit.of(table_of(dataset_of({"axial": [0.3001, 0.3002]})).datasets[0])
    assert (coarse.value(0.3), fine.value(0.3)) == ("30.0", "30.00")
    bits = Unit.of(
        table_of(dataset_of({"axial": [2.30, 2.34]}, metric="bits_per_byte")).datasets[0]
    )
    assert (bits.value(2.3), bits.signed(-0.00001), bits.signed(0.5)) == (
        "2.3000",
        "0.0000",
        "+0.5000",
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1234, "1.2k"),
        (99_960, "100k"),
        (812_345, "812k"),
        (999_600, "1.0M"),
        (85_600_000, "85.6M"),
        (2e9, "2.0G"),
    ],
)
def test_counts_are_short(value: float, text: str) -> None:
    assert numbers.count(value) == text


def test_probabilities_and_durations() -> None:
    assert [numbers.probability(p) for p in (None, 0.0004, 0.0123, 0.25, 1.0)] == [
        numbers.NONE,
        "<0.001",
        "0.012",
        "0.25",
        "1.00",
    ]
    assert [numbers.duration(seconds) for seconds in (8.21, 59.96, 3725.0)] == [
        "8.2s",
        "1m 00s",
        "1h 02m",
    ]


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20))
def test_markdown_shows_a_name_unchanged(text: str) -> None:
    page = MarkdownIt("commonmark").enable("table").parse(f"| a |\n| --- |\n| {markdown(text)} |\n")
    inline = [token for token in page if token.type == "inline"]
    assert len(inline) == 2
    shown_text = "".join(child.content for child in inline[1].children or [])
    assert shown_text == plain(text).strip()


def test_undecided_rows_say_what_is_left_open() -> None:
    text = " ".join(shown(example(), 160).split())
    assert "alibi: at most 0.0243 bits/byte either way; 342 seeds or more" in text
    noisy = {"axial": [1.0, 0.0, 1.0, 0.0, 1.0], "liere": [0.0, 1.0, 0.0, 1.0, 0.1]}
    text = shown(table_of(dataset_of(noisy)), 120)
    assert "liere: no difference is ruled out" in text
