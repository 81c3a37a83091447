"""The HTML report: complete, self-contained, escaped, and small."""

import base64
import csv
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liere_cli.report.content import text_tables
from liere_cli.report.escape import plain
from liere_cli.report.formats.registry import FORMATS
from liere_cli.report.html.index import Entry, index_page
from liere_cli.report.html.page import html_page
from liere_cli.report.html.view import sort_key
from support.pages import HOSTILE, example_result, hostile_result, result_of, with_files
from support.synthetic_tables import dataset_of


class Parsed(HTMLParser):
    """Elements with their attributes, texts of table rows, and the text that is shown."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._stack: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._stack.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._stack and self._stack.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._stack and self._stack[-1] in ("style", "script"):
            return
        self.text += data
        if {"td", "th"} & set(self._stack):
            self.rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return html_page(example_result(tmp_path_factory.mktemp("runs")))


def test_every_cell_of_the_tables_is_on_the_page(page: str, tmp_path: Path) -> None:
    rows = {tuple(re.sub(r"^[✓✗≈?] ", "", cell) for cell in row) for row in Parsed(page).rows}
    for table in text_tables(example_result(tmp_path).table):
        assert tuple(column.header for column in table.columns) in rows
        for index in range(table.rows):
            assert tuple(column.cells[index] for column in table.columns) in rows


def test_failed_runs_are_listed_with_their_reason(page: str) -> None:
    rows = [row for row in Parsed(page).rows if "the loss was nan, absolute" in row]
    assert [row[:4] for row in rows] == [["pointing", "absolute", "1", "diverged"]]
    assert "None: each of the 6 runs finished" in html_page(
        result_of(dataset_of({"axial": [0.1, 0.2, 0.3], "liere": [0.2, 0.3, 0.4]}))
    )


def test_plots_show_differences_seeds_curves_and_items(page: str) -> None:
    for title in (
        "Difference to axial", "Every seed", "Training loss over steps",
        "Training loss over seconds", "Validation over steps", "Validation over seconds",
        "Items lost and won against axial",
    ):  # fmt: skip
        assert f"<figcaption>{title}</figcaption>" in page
    # every run's difference and score is a dot that names it
    assert "liere:block=8, seed 1: +12.7" in page
    assert "liere:block=8, seed 1: 44.7" in page
    assert page.count("What does this mean?") > 8


def test_without_validations_the_training_loss_is_drawn(tmp_path: Path) -> None:
    plan, outcomes = dataset_of({"axial": [0.1, 0.2, 0.3], "liere": [0.2, 0.3, 0.4]})
    shown = html_page(result_of((with_files(tmp_path, plan, validations=1), outcomes)))
    assert "Training loss over steps" in shown
    assert "Validation over" not in shown
    assert "training.validations sets how often" in shown


def test_a_page_has_no_address_but_fragments_and_its_own_data(page: str) -> None:
    parsed = Parsed(page)
    addresses = [
        value
        for _, attributes in parsed.elements
        for name, value in attributes.items()
        if name in ("href", "src", "srcset", "action", "data", "xlink:href")
    ]
    assert addresses
    assert all(re.match(r"#|data:(image/png|application/|text/csv)", str(a)) for a in addresses)
    assert not re.search(r"url\(|@import", page)


def test_only_the_style_and_script_of_the_package_are_allowed(page: str) -> None:
    (policy,) = [
        str(meta["content"])
        for meta in Parsed(page).all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
        assert content.count("\n") <= 300
    # neither attribute would be allowed
    assert not [
        a for _, a in Parsed(page).elements if "style" in a or any(k[:2] == "on" for k in a)
    ]


def test_downloads_are_the_files_themselves(page: str, tmp_path: Path) -> None:
    table = example_result(tmp_path).table
    files = {
        str(link["download"]): base64.b64decode(str(link["href"]).partition("base64,")[2]).decode()
        for link in Parsed(page).all("a")
        if "download" in link
    }
    assert (
        json.loads(files["table.json"])["summary"] == json.loads(FORMATS["json"](table))["summary"]
    )
    assert next(csv.reader(io.StringIO(files["table.csv"])))[:2] == ["data", "modality"]


def test_hostile_text_is_shown_as_text(tmp_path: Path) -> None:
    result = hostile_result(tmp_path)
    shown = html_page(result)
    parsed = Parsed(shown)
    assert len(parsed.all("script")) == 1
    assert parsed.all("img") == []
    for name in HOSTILE:
        assert plain(name) in parsed.text
    for _, attributes in parsed.elements:
        assert not [key for key in attributes if key.startswith("on")]
    index = Parsed(index_page([Entry(result.table, HOSTILE[0], "javascript:alert(1)/x.html")]))
    assert not index.all("script")
    assert "javascript%3Aalert" in str(index.all("a")[1]["href"])


@settings(max_examples=20)
@given(st.text(max_size=30), st.text(max_size=30))
def test_any_name_and_error_is_text(name: str, error: str) -> None:
    plan, outcomes = dataset_of({"axial": [0.1, 0.2], f"a{name}": [0.3, "failed"]})
    outcomes = {
        key: replace(state, error=f"e{error}" if state.error else None)
        for key, state in outcomes.items()
    }
    parsed = Parsed(html_page(result_of((plan, outcomes)), maps=False))
    assert len(parsed.all("script")) == 1
    cells = {cell for row in parsed.rows for cell in row}
    assert {plain(f"a{name}"), plain(f"e{error}")} <= cells


@settings(max_examples=25)
@given(
    st.lists(st.floats(-1e99, 1e99), min_size=3, max_size=3),
    st.lists(st.floats(-1e99, 1e99), min_size=3, max_size=3),
    st.sampled_from(["top1", "bits_per_byte"]),
)
def test_any_scores_have_a_page(ours: list[float], theirs: list[float], metric: str) -> None:
    plan = dataset_of({"axial": theirs, "liere": ours}, metric=metric)
    shown = html_page(result_of(plan), maps=False)
    coordinates = " ".join(re.findall(r' (?:d|x|y|cx|cy|width|height)="([^"]*)"', shown))
    assert not re.search("nan|inf", coordinates)


def test_equal_runs_give_equal_pages(page: str, tmp_path: Path) -> None:
    assert html_page(example_result(tmp_path)) == page


@pytest.mark.parametrize(
    "results",
    [
        {"axial": [0.3]},
        {"axial": ["failed", "failed"], "liere": ["diverged", "missing"]},
        {"axial": [0.25, 0.25, 0.25], "liere": [0.25, 0.25, 0.25]},
        {"axial": [0.3, 0.4], "rope": []},
    ],
)
def test_pages_of_partial_comparisons(results: dict[str, list[float | str]]) -> None:
    shown = html_page(result_of(dataset_of(results)))
    assert "nan" not in re.findall(r'd="([^"]*)"', shown)
    assert "No run of this data set has logged a step." in shown


def test_a_comparison_without_baseline_has_a_page() -> None:
    shown = html_page(result_of(dataset_of({"liere": [0.3, 0.4]}, baseline=None)))
    assert "No comparison with a baseline." in shown


def test_names_of_elements_are_unique_and_references_exist(page: str) -> None:
    parsed = Parsed(page)
    names = [str(attributes["id"]) for _, attributes in parsed.elements if "id" in attributes]
    assert len(names) == len(set(names))
    references = [
        name
        for _, attributes in parsed.elements
        for key in ("aria-labelledby", "aria-controls")
        for name in (attributes.get(key) or "").split()
    ]
    links = [str(a["href"])[1:] for a in parsed.all("a") if str(a["href"]).startswith("#")]
    assert {*references, *links} <= set(names)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("43.9 ± 0.8", 43.9),
        ("812k (1.2k)", 812e3),
        ("+0.0006", 0.0006),
        ("[-0.4, +1.2]", -0.4),
        ("<0.001", 0.001),
        ("2h 10m", 7800.0),
        ("8.2s", 8.2),
        ("1,234", 1234.0),
        ("50.5k tok/s (+3.9%)", 50_500.0),
        ("2/3", 2.0),
        ("1.09x [1.00, 1.20]", 1.09),
        ("–", None),  # noqa: RUF001
        ("missed at 2 of 5", None),
        ("", None),
    ],
)
def test_cells_are_sorted_by_their_first_number(text: str, key: float | None) -> None:
    assert sort_key(text) == key


def test_a_page_of_many_runs_is_small(tmp_path: Path) -> None:
    """100 runs, each with a curve; 1,000 take under 10 s and 5 MB."""
    names = ("axial", "none", "liere", "rope-mixed", "absolute")
    scores = {name: [0.3 + 0.01 * seed for seed in range(20)] for name in names}
    plan, outcomes = dataset_of(scores)
    assert len(html_page(result_of((with_files(tmp_path, plan), outcomes)))) < 600_000
