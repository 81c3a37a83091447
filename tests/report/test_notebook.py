"""What a notebook shows of a comparison."""

import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from liere_cli.report.formats.notebook import notebook
from liere_cli.report.numbers import Unit
from support.synthetic_tables import RESULTS, dataset_of, table_of


class _Reader(HTMLParser):
    """Texts, tags and attributes, as a browser reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[str] = []

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]


def read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    return reader


def test_it_has_every_row_with_its_numbers_and_verdict() -> None:
    table = table_of(dataset_of(RESULTS))
    html = notebook(table)
    (dataset,) = table.datasets
    unit = Unit.of(dataset)
    for row in dataset.rows:
        assert f"<th>{row.encoding}</th>" in html
        if row.verdict and row.estimate and row.verdict.label:
            assert row.verdict.label in html
            assert unit.signed(row.estimate.difference) in html
            assert unit.interval(row.verdict.low, row.verdict.high) in html
    bars = [row for row in dataset.rows if row.estimate and row.estimate.low is not None]
    assert html.count("<svg") == len(bars) > 1
    for number in map(float, re.findall(r' (?:x1|x2|cx)="([^"]+)"', html)):
        assert 0 <= number <= 160


@given(st.text(min_size=1, max_size=40))
def test_names_are_shown_as_text(name: str) -> None:
    hostile = f"{name}<script>alert(1)</script>\" onload='x'"
    results = {"axial": [0.3, 0.31, 0.32], hostile: [0.4, 0.41, 0.43]}
    reader = read(notebook(table_of(dataset_of(results, title=hostile))))
    allowed = {"div", "ul", "li", "table", "caption", "b", "thead", "tbody", "tr", "th", "td",
               "svg", "line", "circle"}  # fmt: skip
    assert set(reader.tags) <= allowed
    assert "onload" not in reader.attributes
    assert any("<script>alert(1)</script>" in text for text in reader.texts)
