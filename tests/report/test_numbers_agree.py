"""The numbers of a comparison are the same in all formats."""

import csv
import io
import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from liere_cli.comparison.tables.build import ComparisonTable, make_table
from liere_cli.planning.plan import Plan
from liere_cli.report import numbers
from liere_cli.report.formats.latex import CAPTION_WORDS
from liere_cli.report.formats.registry import FORMATS
from liere_cli.report.formats.terminal import terminal
from liere_cli.report.numbers import NONE, Unit
from support.judged_tables import judged_example
from support.synthetic_tables import dataset_of

#: what is compared, by column
COLUMNS = ("score", "difference", "interval", "p", "verdict")


def expected(table: ComparisonTable) -> list[tuple[str, ...]]:
    """The numbers of each row as they are shown, from those of JSON."""
    rows = []
    for dataset, data in zip(
        table.datasets, json.loads(FORMATS["json"](table))["tables"], strict=True
    ):
        unit = Unit.of(dataset)
        for row in data["rows"]:
            rows.append(
                (
                    unit.spread(row["mean"], row["std"]),
                    unit.signed(row["difference"]),
                    unit.interval(row["low"], row["high"]),
                    numbers.probability(row["p_corrected"]),
                    row["shown"],
                )
            )
    return rows


def in_csv(table: ComparisonTable) -> list[tuple[str, ...]]:
    lines = csv.DictReader(io.StringIO(FORMATS["csv"](table)))
    units = {dataset.title: Unit.of(dataset) for dataset in table.datasets}
    rows = []
    for line in lines:
        unit = units[line["data"]]
        values = {key: float(line[key]) if line[key] else None for key in (
            "mean", "std", "difference", "low", "high", "p_corrected",
        )}  # fmt: skip
        rows.append(
            (
                unit.spread(values["mean"], values["std"]),
                unit.signed(values["difference"]),
                unit.interval(values["low"], values["high"]),
                numbers.probability(values["p_corrected"]),
                line["shown"],
            )
        )
    return rows


def by_header(header: list[str], cells: list[str]) -> tuple[str, ...]:
    difference = next(index for index, text in enumerate(header) if text.startswith("minus "))
    columns = (difference - 1, difference, header.index("95% interval"))
    p = header.index("p") if "p" in header else None
    rest = (NONE if p is None else cells[p], cells[header.index("verdict")])
    return (*(cells[column] for column in columns), *rest)


def in_markdown(table: ComparisonTable) -> list[tuple[str, ...]]:
    tokens = MarkdownIt("commonmark").enable("table").parse(FORMATS["markdown"](table))
    lines: list[list[str]] = []
    for index, token in enumerate(tokens):
        if token.type == "tr_open":
            lines.append([])
        if token.type in ("th_open", "td_open"):
            children = tokens[index + 1].children or []
            lines[-1].append("".join(child.content for child in children))
    return rows_of(lines)


def in_latex(table: ComparisonTable) -> list[tuple[str, ...]]:
    lines = []
    for line in FORMATS["latex"](table).splitlines():
        if line.endswith(r" \\"):
            cells = line.removesuffix(r" \\").split(" & ")
            lines.append([unescaped(cell) for cell in cells])
    return rows_of(lines)


def unescaped(cell: str) -> str:
    for written, char in ((r"$\pm$", "±"), (r"\%", "%"), (r"\textless{}", "<"), ("$", "")):
        cell = cell[1:-1].replace(written, char).join("{}")
    return cell[1:-1]


def rows_of(lines: list[list[str]]) -> list[tuple[str, ...]]:
    rows, header = [], lines[0]
    for cells in lines:
        if cells[0] == "encoding":
            header = cells
        else:
            rows.append(by_header(header, cells))
    return rows


def on_a_terminal(table: ComparisonTable, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(terminal(table, width))
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


def check(table: ComparisonTable) -> None:
    rows = expected(table)
    for shown in (in_csv(table), in_markdown(table), in_latex(table)):
        assert shown == rows
    for width in (60, 100, 200):
        text = on_a_terminal(table, width)
        for score, difference, interval, p, verdict in rows:
            parts = [score, f"{difference} {interval}", verdict]
            for part in parts + ([p] if width == 200 else []):
                if NONE not in part:
                    # spreads are below one another, so their spaces vary
                    assert re.sub(r"\s+", " ", part) in text


def test_numbers_agree_over_all_formats() -> None:
    check(judged_example())


scores = st.lists(st.floats(0, 1).map(lambda score: round(score, 4)), min_size=5, max_size=5)


@settings(max_examples=15, deadline=None)
@given(scores, scores, scores, st.sampled_from(["top1", "bits_per_byte"]))
def test_numbers_agree_for_any_scores(
    first: list[float], second: list[float], third: list[float], metric: str
) -> None:
    dataset, outcomes = dataset_of({"axial": first, "a": second, "b": third}, metric=metric)
    check(make_table(Plan("quick", (dataset,), tuple(range(5))), outcomes))


def test_every_format_has_the_tables_in_one_order_and_the_count_after_them() -> None:
    table = judged_example()
    names = [dataset.title for dataset in table.datasets]
    for text in (on_a_terminal(table, 100), FORMATS["markdown"](table)):
        places = [text.index(name) for name in (*names, "1 better · 2 worse")]
        assert places == sorted(places)


def test_captions_of_latex_are_short_and_the_method_is_below() -> None:
    text = FORMATS["latex"](judged_example())
    captions = re.findall(r"\\caption\{(.*)\}", text)
    assert len(captions) == 2
    assert all(len(caption.split()) <= CAPTION_WORDS for caption in captions)
    assert "Null hypothesis" not in "".join(captions)
    for block in text.split(r"\end{tabular}")[1:]:
        assert "Null hypothesis" in block
        assert "1 better" in block
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\end{table}"):
        assert text.count(rule) == 2
