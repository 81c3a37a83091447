"""The HTML report in a real Chromium: nothing fails, nothing is loaded, everybody can use it.

Skipped where no Chromium is installed. LIERE_AXE is the path of axe-core's axe.min.js, as in the
package that ``npm pack axe-core`` fetches.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from liere_cli.report.html.index import Entry, index_page
from liere_cli.report.html.page import html_page
from support.browser import Page, installed, open_browser
from support.pages import HOSTILE, example_result, hostile_result

pytestmark = pytest.mark.skipif(
    installed() is None, reason="needs Chromium: apt-get install chromium"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with open_browser() as page:
        yield page


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages by what they show."""
    folder = tmp_path_factory.mktemp("pages")
    example, hostile = example_result(folder / "example"), hostile_result(folder / "hostile")
    index = [Entry(example.table, "quick", "quick/report.html")]
    pages = {
        "example": html_page(example),
        "hostile": html_page(hostile),
        "index": index_page(index),
    }
    paths = {name: folder / f"{name}.html" for name in pages}
    for name, content in pages.items():
        paths[name].write_text(content)
    return paths


def opened(browser: Page, path: Path, **settings: Any) -> Page:
    browser.logged.clear()
    browser.requested.clear()
    browser.open(path, **settings)
    return browser


@pytest.mark.parametrize("name", ["example", "hostile", "index"])
def test_nothing_is_logged_and_nothing_but_the_file_is_loaded(
    browser: Page, files: dict[str, Path], name: str
) -> None:
    page = opened(browser, files[name])
    page.run("new Promise(done => setTimeout(done, 100))")
    assert page.logged == []
    assert {url for url in page.requested if not url.startswith("data:image/png;")} == {
        files[name].resolve().as_uri()
    }


@pytest.mark.parametrize("name", ["example", "hostile", "index"])
def test_every_plot_has_marks_inside_its_frame(
    browser: Page, files: dict[str, Path], name: str
) -> None:
    page = opened(browser, files[name])
    plots = page.run(
        """Array.from(document.querySelectorAll("svg"), svg => {
             const frame = svg.getBoundingClientRect();
             const marks = [...svg.querySelectorAll("path, circle, image, text")];
             const outside = marks.filter(mark => {
               const box = mark.getBoundingClientRect();
               return box.left < frame.left - 2 || box.right > frame.right + 2
                   || box.top < frame.top - 2 || box.bottom > frame.bottom + 2;
             }).map(mark => mark.outerHTML.slice(0, 120));
             return {marks: marks.length, area: frame.width * frame.height, outside};
           })"""
    )
    assert plots
    for plot in plots:
        assert plot["marks"] > 3
        assert plot["area"] > 10_000
        assert plot["outside"] == []


def test_hostile_text_does_not_act(browser: Page, files: dict[str, Path]) -> None:
    page = opened(browser, files["hostile"])
    assert page.run("document.title") == HOSTILE[3]
    assert page.run("document.querySelectorAll('img, [onerror], [onmouseover]').length") == 0
    text = page.run("document.body.textContent")
    assert all(name in text for name in HOSTILE if name.isprintable())


def cells(page: Page, column: int) -> list[str]:
    """A column of the table of all runs."""
    found = page.run(
        f"""Array.from([...document.querySelectorAll("table")].at(-1).tBodies[0].rows)
              .filter(row => !row.hidden).map(row => row.cells[{column}].textContent)"""
    )
    assert isinstance(found, list)
    return found


def test_tables_are_sorted_by_keyboard(browser: Page, files: dict[str, Path]) -> None:
    page = opened(browser, files["example"])
    before = cells(page, 4)
    page.run('[...document.querySelectorAll("table")].at(-1).querySelectorAll("button")[4].focus()')
    page.press("Enter", 13, "\r")
    numbers = [float(cell) for cell in cells(page, 4) if cell != "–"]  # noqa: RUF001
    assert numbers == sorted(numbers)
    assert numbers != [float(cell) for cell in before if cell != "–"]  # noqa: RUF001
    heading = 'document.activeElement.closest("th").getAttribute("aria-sort")'
    assert page.run(heading) == "ascending"
    page.press(" ", 32, " ")
    assert page.run(heading) == "descending"
    numbers = [float(cell) for cell in cells(page, 4) if cell != "–"]  # noqa: RUF001
    assert numbers == sorted(numbers, reverse=True)
    # rows without a value are last in both directions
    assert cells(page, 4)[-1] == "–"  # noqa: RUF001
    assert sorted(before) == sorted(cells(page, 4))


def test_rows_are_filtered_by_every_word(browser: Page, files: dict[str, Path]) -> None:
    page = opened(browser, files["example"])
    page.run(
        """(() => { const input = [...document.querySelectorAll(".filter input")].at(-1);
             input.value = "Diverged absolute";
             input.dispatchEvent(new Event("input")); })()"""
    )
    assert cells(page, 1) == ["absolute"]
    status = page.run('[...document.querySelectorAll(".filter [role=status]")].at(-1).textContent')
    rows = page.run('[...document.querySelectorAll("table")].at(-1).tBodies[0].rows.length')
    assert status == f"1 of {rows} rows"


def test_everything_interactive_is_reached_by_tab(browser: Page, files: dict[str, Path]) -> None:
    page = opened(browser, files["example"])
    selector = "a[href], button, input, summary, [tabindex='0']"
    expected = page.run(f'document.querySelectorAll("{selector}").length')
    page.run("document.activeElement.blur(); window.visited = new Set(); undefined")
    page.press("Tab", 9)
    assert page.run("document.activeElement.textContent") == "Skip to the results"
    for _ in range(expected):
        page.run("window.visited.add(document.activeElement); undefined")
        page.press("Tab", 9)
    assert page.run(f'[...document.querySelectorAll("{selector}")].filter('
                    "element => !window.visited.has(element)).map("
                    "element => element.outerHTML.slice(0, 99))") == []  # fmt: skip


def test_without_scripts_the_numbers_are_the_same(browser: Page, files: dict[str, Path]) -> None:
    texts = []
    for scripts in (True, False):
        page = opened(browser, files["example"], scripts=scripts)
        root = page.call("DOM.getDocument", depth=0)["root"]["nodeId"]
        main = page.call("DOM.querySelector", nodeId=root, selector="main")["nodeId"]
        html = page.call("DOM.getOuterHTML", nodeId=main)["outerHTML"]
        texts.append(html.count("<td"))
        assert ("Filter rows" in html) == scripts
    assert texts[0] == texts[1] > 100
    browser.call("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.parametrize("width", [320, 390, 768, 1440])
@pytest.mark.parametrize("name", ["example", "hostile", "index"])
def test_a_page_is_never_wider_than_the_window(
    browser: Page, files: dict[str, Path], name: str, width: int
) -> None:
    browser.show(width)
    page = opened(browser, files[name])
    assert page.run("document.documentElement.scrollWidth") <= width
    browser.show(1280)


@pytest.mark.parametrize(
    ("name", "dark"),
    [("example", False), ("example", True), ("hostile", False), ("index", True)],
)
def test_axe_finds_no_violation(
    browser: Page, files: dict[str, Path], name: str, dark: bool
) -> None:
    axe = Path(os.environ.get("LIERE_AXE", "nowhere"))
    if not axe.is_file():
        pytest.skip("needs axe-core: npm pack axe-core, and LIERE_AXE=path of its axe.min.js")
    browser.show(1280, dark=dark)
    page = opened(browser, files[name])
    page.run(axe.read_text() + "; undefined")
    passed, violations = page.run(
        "axe.run().then(result => [result.passes.length, result.violations.map(v => [v.id, v.help, "
        "v.nodes.slice(0, 3).map(n => n.html.slice(0, 200))])])"
    )
    assert violations == []
    assert passed > 20
    browser.show(1280)
