"""Every code block of the documents is run, or states why not.

Commands run through the command line in a folder with small generated files. They are as typed, but
for what :func:`in_short` appends to keep them small: a tiny model, two steps, two seeds. Named data
sets are replaced by local ones of the same modality, and comparisons of recipes that would download
data are planned and not trained.
"""

import itertools
import re
import runpy
import shlex
import shutil
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from PIL import Image
from typer.testing import CliRunner

import liere_cli
from liere_cli.cli.app import app
from liere_cli.config.files import builtin_recipes, parse_settings
from liere_cli.config.recipe import Recipe
from support.documents import BLOCKS, DOCUMENTS, LANGUAGES, ROOT, Block, blocks_of
from support.flags import last_of_each
from support.other_libraries import imported

#: documents whose blocks other tests follow
FOLLOWED_ELSEWHERE = {"add-your-encoding.md": "conformance/test_conformance.py"}
#: local data in place of named data sets
LOCAL_DATA = {
    "enwik8": "text:my.txt",
    "cifar100": "images:my/folder,grid=32x32",
    "ucf101": "motion",
    "text-vs-image": "text:my.txt,images:my/folder",
}
SMALL = [
    "model.layers=2", "model.dim=16", "model.heads=2", "training.batch=4",
    "training.validations=1", "training.validation_limit=4", "training.test_limit=4",
]  # fmt: skip
#: libraries of other models, which a test can do without
OTHER_LIBRARIES = ("timm", "transformers", "x_transformers")
PYTHON_DOCUMENTS = sorted({block.document for block in BLOCKS if block.language == "python"})


def needed(block: Block) -> list[str]:
    imports = re.findall(r"^(?:import|from) (\w+)", block.content, re.MULTILINE)
    return [name for name in imports if name in OTHER_LIBRARIES]


def importable(name: str) -> bool:
    try:
        imported(name)
    except ImportError:
        return False
    return True


def runnable(language: str) -> list[Block]:
    return [
        block
        for block in BLOCKS
        if block.language == language
        and block.reason is None
        and block.document.name not in FOLLOWED_ELSEWHERE
    ]


def run(words: list[str]) -> str:
    """What a command prints to stdout."""
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, f"liere {shlex.join(words)}\n{result.output}"
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the documents take for granted: ``my.txt``, ``my/folder``, scores, a recipe and runs."""
    folder = tmp_path_factory.mktemp("documents")
    shutil.copytree(ROOT / "docs" / "judge", folder / "docs" / "judge")
    shutil.copy(ROOT / "docs" / "judge" / "scores.csv", folder)
    random = np.random.default_rng(0)
    (folder / "my.txt").write_bytes(random.integers(97, 123, 200_000, dtype=np.uint8).tobytes())
    for label in ("cat", "dog"):
        (folder / "my" / "folder" / label).mkdir(parents=True)
        for number in range(20):
            pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "my" / "folder" / label / f"{number}.png")
    recipe = next(block for block in runnable("yaml") if block.document.name == "recipes.md")
    (folder / "my-recipe.yaml").write_text(recipe.content)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, encoding in [("enwik8", "rope"), ("cifar100", "axial"), ("cifar100", "liere")]:
            run(in_short(["train", "--recipe", name, f"--encoding={encoding}"]))
    return folder


def expanded(word: str) -> list[str]:
    """A path with ``*``, or with ``RUN`` for the name of a run, as paths that exist."""
    if word.endswith("/RUN"):
        parent = Path(word).parent
        return [
            str(next(path for name in ("rope", "axial") for path in parent.glob(f"*-{name}-*")))
        ]
    return sorted(map(str, Path().glob(word))) if word.endswith("/*") else [word]


def in_short(words: list[str]) -> list[str]:
    """A command's arguments with what keeps it small; the last of a repeated flag counts."""
    command, *arguments = words
    return [command, *last_of_each(_with_small(command, arguments))]


def _with_small(command: str, arguments: list[str]) -> list[str]:
    recipe = next((name for name in LOCAL_DATA if name in arguments), None)
    if recipe is not None:
        arguments.append(f"--data={LOCAL_DATA[recipe]}")
    small = [f"--set={assignment}" for assignment in SMALL]
    if command == "train":
        return [*arguments, "--budget=2steps", "--device=cpu", *small]
    if command == "compare" and recipe is not None:
        return [*arguments, "--dry-run"]
    finished = any(word.startswith("outputs/") for word in arguments)
    if command == "compare" and not finished and "--dry-run" not in arguments:
        if arguments and arguments[0] in builtin_recipes():
            arguments.append(f"--name={arguments[0]}")  # the flags below make it another one
        arguments += ["--budget=2steps", "--seeds=2", "--device=cpu", *small]
        return [*arguments, *(["--max-seeds=5"] if "--until-settled" in arguments else [])]
    if command == "eval":
        return [*arguments, "--limit=2", "--device=cpu"]
    return ["verdicts", "--tables=100"] if arguments == ["verdicts"] else arguments


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_blocks_that_are_not_code_contain_no_commands(document: Path) -> None:
    for language, content in re.findall(
        r"^```(\w*)\n(.*?)^```$", document.read_text(), re.DOTALL | re.MULTILINE
    ):
        assert language in (*LANGUAGES, "text", ""), "a language that no test knows"
        if language in ("text", ""):
            assert not re.search(r"^(liere|pip|python|uv) ", content, re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_is_run_or_states_why_not(block: Block) -> None:
    if block.reason is not None:
        assert len(block.reason) > 10, "state the reason"
    elif block.document.name in FOLLOWED_ELSEWHERE:
        test = ROOT / "tests" / FOLLOWED_ELSEWHERE[block.document.name]
        assert block.document.name in test.read_text()
    elif block.language == "sh":
        others = [words for words in block.commands if words[0] != "liere"]
        assert not others, "only commands of liere can be run: mark the block with '<!-- not run'"


@pytest.mark.parametrize("block", runnable("sh"), ids=str)
def test_commands_work(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for words in block.commands:
        arguments, target = words[1:], None
        if ">" in arguments:
            *arguments, _, target = arguments
        printed = run(in_short([path for word in arguments for path in expanded(word)]))
        assert printed.strip() or "--plot" in words
        if target is not None:
            Path(target).write_text(printed)
        for flag, value in itertools.pairwise(words):
            assert flag != "--plot" or Path(value).stat().st_size, value


def test_rope_is_compared_as_axial_on_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    commands = [words for block in runnable("sh") for words in block.commands]
    [command] = [words for words in commands if "text:my.txt,images:my/folder" in words]
    printed = run(in_short(command[1:]))
    assert "vs rope" in printed
    assert "vs axial" in printed


def test_flags_and_values_of_all_commands_are_valid() -> None:
    command = typer.main.get_command(app)
    commands = []
    for block in BLOCKS:
        for words in block.commands if block.language == "sh" else []:
            if words[:1] == ["liere"]:
                commands.append(words[1:])
            elif "liere_cli" in words:
                commands.append(words[words.index("liere_cli") + 1 :])
    assert len(commands) > 30
    for name, *arguments in commands:
        if ">" in arguments:
            arguments = arguments[: arguments.index(">")]
        command.commands[name].make_context(name, arguments)  # type: ignore[attr-defined]


@pytest.mark.parametrize("block", runnable("yaml"), ids=str)
def test_recipes_in_the_documents_are_valid(block: Block) -> None:
    settings = parse_settings(block.content.encode(), str(block))
    Recipe.validated(settings, str(block))


@pytest.mark.parametrize("block", runnable("toml"), ids=str)
def test_toml_in_the_documents_is_valid(block: Block) -> None:
    assert tomllib.loads(block.content)


@pytest.fixture
def small_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """``liere_cli.compare``, ``train`` and ``evaluate`` with what keeps them small."""

    def small(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            options["assignments"] = [*options.get("assignments", []), *SMALL]
            options["budget"] = "2steps"
            if "seeds" in options:
                options["seeds"] = 2
            if arguments and arguments[0] in builtin_recipes():
                options["name"] = arguments[0]
            return function(*arguments, **options)

        return call

    for name in ("compare", "train"):
        monkeypatch.setattr(liere_cli, name, small(getattr(liere_cli, name)))
    monkeypatch.setattr(liere_cli, "evaluate", partial(liere_cli.evaluate, limit=2))


@pytest.mark.parametrize(
    "document",
    [path for path in PYTHON_DOCUMENTS if path.name not in FOLLOWED_ELSEWHERE],
    ids=lambda path: path.name,
)
@pytest.mark.usefixtures("small_api")
def test_python_blocks_of_a_document_run_in_order(
    document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    names: dict[str, Any] = {}
    missing = set()
    for block in blocks_of(document):
        if block.language == "python" and block.reason is None:
            if unavailable := [name for name in needed(block) if not importable(name)]:
                missing.update(unavailable)
                continue
            if file := re.match(r"# (\w+\.py)\n", block.content):  # later blocks import it
                Path(file[1]).write_text(block.content)
            lines = "\n" * (block.line - 1)
            exec(compile(lines + block.content, str(document), "exec"), names)
    if missing:
        pytest.skip(f"blocks that need {', '.join(sorted(missing))} were left out")


def test_the_example_script_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "docs" / "example.py"), run_name="__main__")
    assert "| liere |" in capsys.readouterr().out
