"""Interactions in tables: pairs of data sets, undefined cases, and every format."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from liere_cli.cli.app import app
from liere_cli.comparison.tables.build import ComparisonTable, make_table
from liere_cli.config.compare import CompareSettings
from liere_cli.config.recipe import Recipe
from liere_cli.errors import UsageError
from liere_cli.planning.from_recipe import plan_comparison
from liere_cli.planning.plan import Plan
from liere_cli.report.content import summary_lines
from liere_cli.report.formats.registry import FORMATS
from liere_cli.report.formats.terminal import terminal
from liere_cli.runs.build import RunSpec
from liere_cli.runs.context import Context
from liere_cli.runs.summary import RunSummary
from support.synthetic_runs import TINY, train, write_summary
from support.synthetic_tables import Result, dataset_of

IMAGES: dict[str, Sequence[Result]] = {
    "none": [0.10, 0.11, 0.10, 0.12, 0.11],
    "axial": [0.30, 0.32, 0.31, 0.30, 0.31],
    "liere": [0.40, 0.42, 0.40, 0.41, 0.41],
}
TEXT: dict[str, Sequence[Result]] = {
    "none": [2.80, 2.82, 2.79, 2.81, 2.80],
    "rope": [2.30, 2.31, 2.30, 2.29, 2.30],
    "liere": [2.31, 2.31, 2.30, 2.30, 2.31],
}


def example(text: dict[str, Sequence[Result]] = TEXT, **asked: Any) -> ComparisonTable:
    datasets = [
        dataset_of(text, metric="bits_per_byte", title="stdlib", baseline="rope"),
        dataset_of(IMAGES, title="pointing"),
    ]
    recipe = Recipe.validated({"compare": {"interaction": asked}}, "a test")
    plan = Plan(
        "x",
        tuple(dataset for dataset, _ in datasets),
        tuple(range(5)),
        recipe.compare or CompareSettings(),
    )
    return make_table(plan, {key: state for _, by_id in datasets for key, state in by_id.items()})


def test_interaction_of_images_against_text() -> None:
    table = example()
    assert [one.encoding for one in table.interactions] == ["liere"]
    one = table.interactions[0]
    assert one.on.value == pytest.approx((0.408 - 0.308) / (0.308 - 0.108))
    # fewer bits are a gain
    assert one.against.value == pytest.approx((2.3 - 2.306) / (2.804 - 2.3))
    assert one.label == "larger"
    assert summary_lines(table)[-1].startswith(
        "interaction · pointing against stdlib: liere's gain is larger on images than on text: +5"
    )


def test_every_format_shows_interactions() -> None:
    table = example()
    for form in ("markdown", "latex"):
        text = FORMATS[form](table)
        assert "Relative gain between data sets" in text
        assert "larger on images than on text" in text or form == "latex"
    content = json.loads(FORMATS["json"](table))["interactions"][0]
    assert content["verdict"] == "larger"
    assert content["on"]["low"] < content["on"]["gain"] < content["on"]["high"]
    assert content["on"]["values"].keys() == {"0", "1", "2", "3", "4"}
    for width in (80, 120, 200):
        console = Console(width=width, file=io.StringIO(), force_terminal=False)
        console.print(terminal(table, width))
        assert isinstance(console.file, io.StringIO)
        shown = console.file.getvalue()
        assert max(map(len, shown.splitlines())) <= width
        assert "larger" in shown


def test_four_seeds_have_numbers_but_no_verdict() -> None:
    table = example({name: results[:4] for name, results in TEXT.items()})
    assert summary_lines(table)[-1].endswith("liere has no verdict: fewer than 5 shared seeds")
    content = json.loads(FORMATS["json"](table))["interactions"][0]
    assert content["verdict"] is None
    assert content["low"] <= content["difference"] <= content["high"]
    assert content["p_holm"] < 0.05


@pytest.mark.parametrize(
    ("text", "asked", "reason"),
    [
        ({"rope": TEXT["rope"], "liere": TEXT["liere"]}, {}, "none is not compared on stdlib"),
        (TEXT, {"encodings": ["axial"]}, "axial is not compared on stdlib"),
        (TEXT | {"none": TEXT["rope"]}, {}, "rope doesn't clearly beat the control on stdlib"),
        (TEXT | {"liere": [2.3, "failed", "diverged", "missing", "missing"]}, {}, "fewer than 2"),
        (TEXT | {"liere": []}, {}, "liere is not defined"),
    ],
)
def test_undefined_interactions_state_the_reason(
    text: dict[str, Sequence[Result]], asked: dict[str, Any], reason: str
) -> None:
    table = example(text, **asked)
    assert reason in summary_lines(table)[-1]
    assert json.loads(FORMATS["json"](table))["interactions"][0]["verdict"] is None
    for name, render in FORMATS.items():
        assert name == "csv" or "undefined" in render(table)
        assert "nan" not in render(table).lower().split()


def train_better_without_qk_norm(run_spec: RunSpec, **where: Any) -> RunSummary:
    """LieRE gains 0.2 over axial with qk_norm, and 0.4 without; axial gains 0.3 over none."""
    seed, model = run_spec.recipe.seed, run_spec.recipe.model
    gain = {"none": 0.0, "axial": 0.3, "liere": 0.5 if model.qk_norm else 0.7}
    own = ((7 * seed + 3 * len(run_spec.encoding) + model.qk_norm) % 5) * 1e-3
    value = 0.1 + gain[run_spec.encoding] + 0.02 * (seed % 3) + own
    return write_summary(run_spec, where["outputs"], test=value, val=value)


def test_settings_of_the_model_are_a_dimension_beside_data_and_encodings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("liere_cli.launchers.local.train_run", train_better_without_qk_norm)
    recipe = {
        "experiment": "over",
        "model": TINY,
        "compare": {
            "encodings": ["none", "axial", "liere"],
            "data": ["motion", "pointing"],
            "over": {"model.qk_norm": [False, True]},
            "interaction": {"control": "none"},
            "seeds": 5,
        },
    }
    Path("over.yaml").write_text(json.dumps(recipe))
    for source in ("over.yaml", "outputs/over/comparison.yaml"):
        result = CliRunner().invoke(app, ["compare", source, "--format=json"])
        assert result.exit_code == 0, result.output
        table = json.loads(result.stdout)
        titles = [part["title"] for part in table["tables"]]
        assert titles == [
            f"{data} (model.qk_norm={value})"
            for data in ("motion", "pointing")
            for value in ("false", "true")
        ]
        rows = table["interactions"]
        assert [(row["encoding"], row["on"]["setting"], row["verdict"]) for row in rows] == [
            ("liere", "model.qk_norm=true", "smaller")
        ] * 2
        assert [row["against"]["setting"] for row in rows] == ["model.qk_norm=false"] * 2
    shown = CliRunner().invoke(app, ["compare", "over.yaml"])
    assert "smaller with model.qk_norm=true than with model.qk_norm=false" in " ".join(
        shown.stdout.split()
    )
    varied = CliRunner().invoke(app, ["compare", "over.yaml", "--set=model.qk_norm=true"])
    assert varied.exit_code == 2
    assert "compare.over compares several values of model.qk_norm" in " ".join(
        varied.stderr.split()
    )


@pytest.mark.parametrize(
    ("over", "words"),
    [
        (
            {"training.batch": [8, 16]},
            "training.batch, which a data set in compare.data has one of",
        ),
        ({"model.qk_nrm": [True, False]}, "did you mean 'model.qk_norm'"),
        ({"qk_norm": [True]}, "unknown key in compare.over 'qk_norm'"),
        ({"model.qk_norm": True}, "needs a list of values for 'model.qk_norm'"),
        ({"model.heads": [4, 5]}, "can't be split into model.heads 5"),
        ({"model.qk_norm": [False, False]}, "compare.over: 'model.qk_norm=false' is listed twice"),
        (
            {"model.kv_heads": [None, 2]},
            "'model.kv_heads=null' and 'model.kv_heads=2' are the same",
        ),
        ({"model.size": ["nano", "tiny"]}, "'model.size=nano' and 'model.size=tiny' are the same"),
    ],
)
def test_settings_that_can_t_be_compared_are_refused(
    over: dict[str, Any], words: str, tmp_path: Path
) -> None:
    data = [{"data": "motion", "training": {"batch": 4}}]
    settings = {"model": TINY, "compare": {"over": over, "data": data}}
    with pytest.raises(UsageError, match=words):
        plan_comparison(Recipe.validated(settings, "a test"), Context(tmp_path))


@given(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=3, unique=True), st.booleans())
def test_a_mapping_spans_all_combinations(registers: list[int], nested: bool) -> None:
    lists = {"qk_norm": [False, True], "registers": registers}
    keys = {f"model.{key}": values for key, values in lists.items()}
    recipe = Recipe.validated({"compare": {"over": {"model": lists} if nested else keys}}, "x")
    assert recipe.compare is not None
    assert recipe.compare.over == [
        {"model.qk_norm": norm, "model.registers": n} for norm in (False, True) for n in registers
    ]


def test_the_command_shows_it_and_refuses_unknown_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("liere_cli.launchers.local.train_run", train)
    tiny = ["--set=model.layers=1", "--set=model.dim=32", "--set=model.heads=2"]
    command = ["compare", "--encodings=none,axial,liere", "--data=motion,pointing", *tiny]
    shown = CliRunner().invoke(app, [*command, "--set=compare.interaction.against=images"])
    assert shown.exit_code == 0, shown.output
    assert "interaction · Relative gain between data sets" in " ".join(shown.stdout.split())
    refused = CliRunner().invoke(app, [*command, "--set=compare.interaction.against=image"])
    assert refused.exit_code == 2
    assert "did you mean 'images'" in " ".join(refused.stderr.split())
    absent = CliRunner().invoke(app, [*command, "--set=compare.interaction.against=text"])
    assert absent.exit_code == 0
    assert "Relative gain" not in absent.stdout
