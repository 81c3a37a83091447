"""What the README and the recipes promise holds."""

import re
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from liere_cli.cli.app import app
from liere_cli.config.files import builtin_recipes, load_recipe
from liere_cli.data import dataset_class
from liere_cli.encodings import available, resolve_spec
from liere_cli.planning.overrides import dataset_recipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "outputs" / "published").rglob("README.md")),
]


def code_blocks(language: str, document: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document, re.DOTALL)


def test_the_library_example_runs_as_it_stands() -> None:
    blocks = code_blocks("python")
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_commands_in_the_documents_have_only_flags_that_exist() -> None:
    command = typer.main.get_command(app)
    lines = [
        line.partition("#")[0].split()
        for document in DOCUMENTS
        for block in code_blocks("sh", document.read_text())
        for line in block.splitlines()
        if line.startswith("liere ")
    ]
    assert len(lines) > 8
    for words in lines:
        name = words[1]
        known = {flag for option in command.commands[name].params for flag in option.opts}  # type: ignore[attr-defined]
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert used <= known, words


def test_the_readme_names_every_encoding_data_set_and_recipe() -> None:
    for name in [*available(), *builtin_recipes()]:
        assert f"`{name}`" in README
    listed = CliRunner().invoke(app, ["data", "--json"]).stdout
    for name in re.findall(r'"name": "([a-z0-9]+)",\n *"summary"', listed):
        assert re.search(rf"`{name}[`:]", README), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_links_inside_the_repository_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("name", ["quick", "enwik8", "cifar100", "ucf101", "text-vs-image"])
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
    assert "18 runs: 18 missing" in result.stdout
