"""``liere init``, ``liere schema`` and shell completion."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from liere_cli.cli import completion
from liere_cli.cli.app import app
from liere_cli.config.files import apply_overrides, builtin_recipes, load_recipe
from liere_cli.config.names import names_of
from liere_cli.config.recipe import Recipe
from liere_cli.config.reference import keys
from liere_cli.config.schema import FILE, recipe_schema
from liere_cli.data import available as data_sets
from liere_cli.encodings import available as encodings
from support.documents import BLOCKS, ROOT

needs_jsonschema = pytest.mark.skipif(
    importlib.util.find_spec("jsonschema") is None, reason="jsonschema is not installed"
)


def liere(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_init_writes_a_recipe_that_plans(here: Path) -> None:
    result = liere("init", "mine")
    assert result.exit_code == 0, result.output
    planned = liere("compare", "mine.yaml", "--dry-run", "--device=cpu")
    assert planned.exit_code == 0, planned.output
    assert "9 runs: 9 missing" in planned.stdout
    again = liere("init", "mine.yaml")
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    assert liere("init").exit_code == 0
    assert Path("recipe.yaml").is_file()
    for name in ("../a b", "quick"):
        assert liere("init", name).exit_code == 2


def test_what_init_comments_out_is_valid_and_the_default(here: Path) -> None:
    liere("init", "mine")
    text = Path("mine.yaml").read_text()
    used = re.sub(r"^(\s*)# (?=[a-z_]+: )(?!yaml-lang)", r"\1", text, flags=re.M)
    assert len(used) < len(text)
    Path("used.yaml").write_text(re.sub(r"^ +- data: cifar100\n(?: .*\n){2}", "", used, flags=re.M))
    full, short = load_recipe("used.yaml"), load_recipe("mine.yaml")
    assert full.training == short.training
    assert full.model == short.model
    assert full.compare is not None
    assert full.compare.transfer is not None


def test_the_schema_beside_the_recipes_is_that_of_the_command(here: Path) -> None:
    printed = liere("schema").stdout
    stored = ROOT / "recipes" / FILE
    assert printed == stored.read_text(), f"run liere schema > {stored}"
    for path in builtin_recipes().values():
        assert f"# yaml-language-server: $schema={FILE}\n" in path.read_text()
        assert path.with_name(FILE).is_file()
    liere("init", "mine")
    (line,) = re.findall(r"\$schema=file://(.+)", Path("mine.yaml").read_text())
    assert json.loads(Path(line).read_text()) == recipe_schema()


def as_yaml_1_2(value: Any) -> Any:
    """Numbers such as 1e-3, which PyYAML reads as text and editors as numbers."""
    if isinstance(value, dict):
        return {key: as_yaml_1_2(part) for key, part in value.items()}
    if isinstance(value, list):
        return list(map(as_yaml_1_2, value))
    number = isinstance(value, str) and re.fullmatch(r"[\d.]+e-?\d+", value)
    return float(value) if number else value


@needs_jsonschema
def test_recipes_are_valid_by_the_schema() -> None:
    import jsonschema

    validator = jsonschema.Draft202012Validator(recipe_schema())
    texts = [path.read_text() for path in builtin_recipes().values()]
    texts += [block.content for block in BLOCKS if block.language == "yaml" and not block.reason]
    for text in texts:
        settings = yaml.safe_load(text)
        assert not list(validator.iter_errors(as_yaml_1_2(settings))), text
    for recipe in map(load_recipe, builtin_recipes()):
        assert not list(validator.iter_errors(recipe.model_dump(mode="json")))


@needs_jsonschema
@pytest.mark.parametrize(
    "settings",
    [
        {"training": {"lr": 1}},
        {"compare": {"data": [{"data": "stdlib", "encodigns": ["rope"]}]}},
        {"compare": {"data": [{"data": "stdlib", "training": {"lr": 1}}]}},
        {"encoding": {"block": 8}},
        {"model": {"size": "huge"}},
    ],
)
def test_the_schema_refuses_what_a_recipe_refuses(settings: dict[str, Any]) -> None:
    import jsonschema

    assert list(jsonschema.Draft202012Validator(recipe_schema()).iter_errors(settings))


def test_every_key_of_a_recipe_can_be_listed_and_set() -> None:
    listed = liere("schema", "--keys").stdout
    for key in keys():
        assert key.meaning
        section = liere("schema", key.section or "recipe").stdout if key.section else listed
        assert key.key.rpartition(".")[2] in section
        optional = key.section.startswith(("compare", "parent", "training.clip"))
        if key.default in (None, "empty") or optional:
            continue
        settings = apply_overrides({}, [f"{key.key}={key.default}"])
        assert Recipe.validated(settings, "a test") == Recipe(), key.key
    refused = liere("schema", "trainig")
    assert refused.exit_code == 2
    assert "did you mean 'training'" in refused.stderr


def test_help_of_train_says_where_keys_are_listed() -> None:
    for command in ("train", "compare"):
        shown = liere(command, "--help").stdout.replace("│", " ")
        assert "liere schema --keys" in " ".join(shown.split())


def test_names_are_completed_without_importing_their_modules() -> None:
    assert set(names_of("encoding")) == set(encodings())
    assert set(names_of("data set")) == set(data_sets())
    assert set(completion.complete_recipe("")) == set(builtin_recipes())
    assert completion.complete_encodings("rope,lie") == ["rope,liere"]
    assert ("training.batch=", "examples per step, over all parts and processes") in (
        completion.complete_assignment("training.ba")
    )
    assert completion.complete_assignment("model.size=") == [
        (f"model.size={size}", "") for size in ("nano", "micro", "tiny", "base", "large")
    ]


def completed(*words: str) -> list[str]:
    """What bash is offered for the last word."""
    code = "import sys\nfrom liere_cli.cli import main\ntry:\n    main()\nfinally:\n"
    code += "    assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    environment = os.environ | {
        "_LIERE_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["liere", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert "Error" not in done.stderr
    return done.stdout.split()


def test_a_shell_is_offered_names_keys_and_runs(here: Path) -> None:
    run = here / "outputs" / "mine" / "pointing-liere-s0-0123456789ab"
    run.mkdir(parents=True)
    (run / "recipe.yaml").write_text("")
    assert completed("train", "--encoding", "rope-") == ["rope-mixed"]
    assert completed("train", "--set", "training.learn") == ["training.learning_rate="]
    assert completed("runs", "show", "0123") == ["0123456789ab"]
    assert completed("compare", "qui") == ["quick"]


RECIPE = """
model: {layers: 1, dim: 32, heads: 2}
training: {budget: 3steps, batch: 4, test_limit: 8, validation_limit: 8}
compare:
  seeds: [3]
  baseline: axial
  encodings: [axial, liere]
  data:
    - data: motion:train=16,val=8,test=8
      training: {budget: 2steps}
    - data: pointing:train=16,val=8,test=8
      model: {dim: 16}
"""


@pytest.mark.parametrize("data", ["motion", "pointing:train=16,val=8,test=8"])
def test_train_repeats_a_run_of_a_comparison(data: str, here: Path) -> None:
    Path("both.yaml").write_text(RECIPE)
    run = ("train", "--recipe=both.yaml", "--encoding=liere", "--seed=3", "--json")
    assert liere("compare", "both.yaml", "--jobs=1").exit_code == 0
    again = liere(*run, f"--data={data}")
    assert again.exit_code == 0, again.output
    assert "already finished" in again.stderr
    other = liere(*run, f"--data={data}", "--budget=1steps")
    assert "already finished" not in other.stderr
    assert json.loads(other.stdout)["steps"] == 1
    unclear = liere(*run)
    assert unclear.exit_code == 2
    assert "compares 2 data sets; choose one with --data" in unclear.stderr
