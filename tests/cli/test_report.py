"""``liere report`` as a person runs it; training itself is replaced."""

import shutil
import webbrowser
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import liere_cli
from liere_cli.cli.app import app
from support.synthetic_runs import train

TINY = ("--set=model.layers=1", "--set=model.dim=32", "--set=model.heads=2")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("liere_cli.launchers.local.train_run", train)
    return tmp_path


def liere(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments], env={"COLUMNS": "110"})


def compare(experiment: str = "compare", *arguments: str) -> Result:
    names = ("--data=pointing", "--encodings=none,axial,liere", "--seeds=2")
    return liere("compare", *names, *TINY, f"--set=experiment={experiment}", *arguments)


def test_a_comparison_leaves_a_report_that_can_be_written_again(here: Path) -> None:
    done = compare()
    path = Path("outputs/compare/report.html")
    assert f"report: {path}" in done.stdout
    page = path.read_text()
    path.unlink()
    # by its folder and by its recipe the report is the same, and nothing is trained
    for source in ("outputs/compare", "outputs/compare/comparison.yaml"):
        again = liere("report", source)
        assert again.exit_code == 0, again.output
        assert again.stdout.strip() == str(path)
        assert path.read_text() == page
    assert liere("compare", *map(str, sorted(Path("outputs/compare").iterdir()))).exit_code == 0


def test_the_file_and_the_browser_are_the_users_choice(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare()
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: not opened.append(address))
    done = liere("report", "outputs/compare", "--to=deep/page.html", "--open")
    assert done.exit_code == 0, done.output
    assert opened == [(here / "deep/page.html").as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    assert "no browser could be started" in liere("report", "outputs/compare", "--open").stderr


def test_several_comparisons_have_an_index(here: Path) -> None:
    compare("first")
    compare("second")
    Path("outputs/second").rename("outputs/second & third")
    done = liere("report", "outputs/first", "outputs/second & third")
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(here / "outputs/index.html")
    index = Path("outputs/index.html").read_text()
    assert 'href="first/report.html"' in index
    assert 'href="second%20%26%20third/report.html"' in index
    assert "2 comparisons" in index
    assert "<script" not in index


def test_runs_without_a_usable_recipe_are_judged_as_they_are(here: Path) -> None:
    compare()
    Path("outputs/compare/comparison.yaml").write_text("data: nonsense\n")
    done = liere("report", "outputs/compare")
    assert done.exit_code == 0, done.output
    assert "can't be planned here" in done.stderr
    page = Path("outputs/compare/report.html").read_text()
    assert "can&#39;t be planned here" in page, "the reader of the page is warned too"
    Path("outputs/compare/comparison.yaml").unlink()
    assert liere("report", "outputs/compare").stderr == ""


def test_code_in_a_file_is_not_run(here: Path) -> None:
    compare()
    Path("evil.py").write_text("raise SystemExit('owned')\n")
    recipe = Path("outputs/compare/comparison.yaml")
    recipe.write_text(recipe.read_text().replace("name: liere", "name: evil.py:Evil"))
    done = liere("report", "outputs/compare")
    assert done.exit_code == 0, done.output
    assert "would run the code in 'evil.py'" in done.stderr
    assert "owned" not in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "missing argument 'FOLDER|RECIPE"),
        (["nowhere"], "no recipe file 'nowhere'"),
        (["quikc"], "quick"),
        (["quick"], "none of its runs in outputs is over; liere compare quick trains them"),
        (["empty"], "empty"),
    ],
)
def test_what_has_no_report_is_one_sentence(here: Path, arguments: list[str], words: str) -> None:
    Path("empty").mkdir()
    done = liere("report", *arguments)
    assert done.exit_code == 2, done.output
    assert words in done.stderr
    assert "Traceback" not in done.output
    assert not list(here.rglob("report.html"))


def test_a_report_that_can_not_be_written_is_one_sentence(here: Path) -> None:
    compare()
    Path("file").write_text("")
    done = liere("report", "outputs/compare", "--to=file/report.html")
    assert done.exit_code == 1, done.output
    assert "can't be written" in done.stderr


def test_the_library_writes_reports_too(here: Path) -> None:
    compare("first")
    shutil.copytree("outputs/first", "outputs/copy")
    path = liere_cli.write_report("outputs/first", "outputs/copy", to="all.html")
    assert path == Path("all.html")
    assert 'href="outputs/copy/report.html"' in path.read_text()
