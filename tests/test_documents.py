"""The documents and the recipes agree with the code and with the published results.

What their code blocks do is tested in test_document_blocks.py.
"""

import importlib.machinery
import importlib.util
import json
import re
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from liere_cli.cli.app import app
from liere_cli.config.files import builtin_recipes, load_recipe
from liere_cli.data import dataset_class
from liere_cli.encodings import available, resolve_spec
from liere_cli.planning.overrides import dataset_recipe
from support.documents import BLOCKS, DOCUMENTS, ROOT

README = (ROOT / "README.md").read_text()
DOCS = ROOT / "docs"
each_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: f"{path.parent.name}-{path.stem}"
)


def test_the_readme_is_short_and_opens_with_the_commands_that_ci_runs() -> None:
    assert len(README.splitlines()) <= 120
    first = next(block for block in BLOCKS if block.language == "sh")
    assert first.document == ROOT / "README.md"
    script = (ROOT / ".ci" / "run").read_text()
    assert first.content.splitlines() == ["pip install .", "liere compare"]
    assert "pip install --quiet ." in script
    assert "liere compare" in script


def test_the_readme_leads_to_every_page() -> None:
    for page in DOCS.glob("*.md"):
        assert f"(docs/{page.name})" in README


def test_every_encoding_data_set_and_recipe_is_listed() -> None:
    encodings = (DOCS / "encodings.md").read_text()
    for name in available():
        assert f"| `{name}` |" in encodings
    for name in builtin_recipes():
        assert f"| `{name}` |" in README
    listed = CliRunner().invoke(app, ["data", "--json"]).stdout
    names = re.findall(r'"name": "([a-z0-9]+)",\n *"summary"', listed)
    assert names
    for name in names:
        assert re.search(rf"`{name}[`:]", README), name


def anchors(document: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_document
def test_links_inside_the_repository_lead_somewhere(document: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", document.read_text()):
        path = document.parent / target if target else document
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


@each_document
def test_files_named_in_the_text_exist(document: Path) -> None:
    named = re.findall(
        r"`((?:liere_cli|scripts|tests|recipes|docs)/[\w./-]+)", document.read_text()
    )
    if document.name == "speed.md":
        files = re.findall(r"`((?:[a-z]+/)?\w+\.(?:py|c))`", document.read_text())
        named += [f"liere_cli/rotations/{file}" for file in files]
        assert len(named) > 10
    if document.name == "architecture.md":
        files = re.findall(r"`([a-z]+/\w+\.py)`", document.read_text())
        named += [file if file.startswith("tests/") else f"liere_cli/{file}" for file in files]
    for name in named:
        assert (ROOT / name).exists(), name


def recipe_reference() -> ModuleType:
    """scripts/recipe-reference as a module."""
    path = str(ROOT / "scripts" / "recipe-reference")
    loader = importlib.machinery.SourceFileLoader("recipe_reference", path)
    spec = importlib.util.spec_from_loader("recipe_reference", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_reference_of_recipe_keys_is_up_to_date() -> None:
    page = (DOCS / "recipes.md").read_text()
    assert recipe_reference().updated(page) == page, "run scripts/recipe-reference"


def test_the_page_on_run_folders_lists_every_file_and_key(tmp_path: Path) -> None:
    page = (DOCS / "run-folder.md").read_text()
    small = ["layers=1", "dim=16", "heads=2"]
    words = ["train", "--data=motion:train=40,val=8,test=8", "--budget=2steps", f"--out={tmp_path}"]
    words += [f"--set=model.{setting}" for setting in small]
    result = CliRunner().invoke(app, [*words, "--set=training.log_every=1", "--json"])
    assert result.exit_code == 0, result.output
    folder = Path(json.loads(result.stdout)["folder"])
    files = [path.name for path in folder.iterdir()]
    assert len(files) >= 9
    for name in files:
        assert f"    {name}" in page
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    keys = {key for line in lines for key in json.loads(line)}
    for name in ("summary.json", "environment.json"):
        keys |= json.loads((folder / name).read_text()).keys()
    assert len(keys) >= 40
    for key in keys:
        assert f"`{key}`" in page, key
    for part in (folder / "signature.txt").read_text().split("|"):
        assert f"`{part.partition(':')[0]}`" in page


def section(title: str, end: str) -> str:
    return README.partition(title)[2].partition(end)[0]


def published_intervals() -> set[str]:
    """``0.149 [0.100, 0.198]`` of every published difference, with and without its sign."""
    intervals = set()
    for path in (ROOT / "outputs" / "published").glob("*/table.json"):
        for table in json.loads(path.read_text())["tables"]:
            scale, last = (100, "0.1") if table["metric"] == "top1" else (1, "0.001")
            for row in table["rows"]:
                if row["low"] is None:
                    continue
                numbers = [scale * row[key] for key in ("difference", "low", "high")]
                for sign in (1, -1):
                    middle, *ends = [sign * number for number in numbers]
                    # rounded from the four decimals that the tables show
                    shown = [Decimal(f"{number:.4f}") for number in (middle, *sorted(ends))]
                    texts = [number.quantize(Decimal(last), ROUND_HALF_UP) for number in shown]
                    intervals.add(f"{texts[0]} [{texts[1]}, {texts[2]}]")
    return intervals


def test_numbers_in_the_readme_are_the_published_ones() -> None:
    published = published_intervals()
    text = section("## LieRE or rotary", "\n## ").replace("+", "").replace(" points", "")
    found = re.findall(r"-?[\d.]+ \[-?[\d.]+, -?[\d.]+\]", text)
    assert len(found) == len(re.findall(r"\[-?\d", text))
    assert len(found) > 8
    for interval in found:
        assert interval in published, interval


def test_numbers_of_the_first_comparison_are_those_of_its_picture() -> None:
    shown = re.sub(r"<[^>]+>", "", (DOCS / "quick.svg").read_text()).replace("&#160;", " ")
    text = section("docs/quick.svg", "\n## ")
    found = re.findall(r"\[[+-]?[\d.]+, [+-]?[\d.]+\]", text)
    assert len(found) == 6
    for interval in found:
        assert interval in shown, interval
    tutorial = (DOCS / "tutorial.md").read_text()
    for line in re.findall(r"^  [a-z-]+ {2,}[ \d.]+ ± .*$", tutorial, re.MULTILINE):
        for number in re.findall(r"\d+\.\d+", line):
            assert number in shown, line


@pytest.mark.parametrize(
    "name", ["quick", "enwik8", "cifar100", "ucf101", "text-vs-image", "blocks"]
)
def test_every_recipe_validates_down_to_its_options(name: str) -> None:
    path = builtin_recipes()[name]
    assert path.read_text().startswith("# "), "a recipe opens with its question"
    assert f"liere compare{'' if name == 'quick' else ' ' + name}" in path.read_text()
    recipe = load_recipe(name)
    assert recipe.compare is not None
    for index, dataset in enumerate(recipe.compare.data):
        dataset_recipe(recipe, index)
        options = {key: value for key, value in dataset.data.items() if key != "name"}
        dataset_class(dataset.data["name"]).Options.validated(options, name)
        for spec in dataset.encodings or recipe.compare.encodings:
            resolve_spec(spec)


def test_the_recipe_of_real_images_plans(real_data: Path, tmp_path: Path) -> None:
    arguments = [
        "compare",
        "cifar100",
        "--dry-run",
        f"--data-root={real_data}",
        f"--out={tmp_path}",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "30 runs: 30 missing" in result.stdout
