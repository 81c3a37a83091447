"""Tuning before a comparison: equal searches, on validation data, at seeds of their own."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from liere_cli.cli.app import app
from liere_cli.errors import LiereError
from liere_cli.planning.tuning_result import Trial, TuningResult
from liere_cli.runs.build import RunSpec
from liere_cli.runs.folder import Run
from liere_cli.runs.summary import RunSummary
from support.synthetic_runs import summary_in, train, write_summary

RECIPE = """
data: pointing
model: {layers: 1, dim: 32, heads: 2}
training: {budget: 10steps}
compare:
  encodings: [none, axial, liere]
  seeds: 2
  tuning:
    grid: {learning_rate: [1e-3, 2e-3, 4e-3], encoding_rate: [1, 3], encoding.scale: [1, 2]}
    seeds: [100, 101]
    budget: 5steps
"""


def train_by_rate(
    run_spec: RunSpec, *, outputs: Path, device: torch.device, fresh: bool, callbacks: Any
) -> RunSummary:
    """Best at a learning rate of 2e-3 and a scale of 2; 4e-3 diverges for ``axial``."""
    settings = run_spec.recipe.training
    if settings.tested:
        return train(run_spec, outputs=outputs, device=device, fresh=fresh, callbacks=callbacks)
    value = (
        0.5 - abs(settings.learning_rate - 2e-3) + 0.01 * run_spec.recipe.encoding.get("scale", 0)
    )
    changes: dict[str, Any] = {"test": None, "tested": "none", "val": value}
    if (
        run_spec.encoding == "axial"
        and settings.learning_rate == 4e-3
        and run_spec.recipe.seed == 101
    ):
        changes |= {"status": "diverged", "val": None, "error": "the loss was nan"}
    if run_spec.encoding.startswith("sinusoidal"):
        raise LiereError("the disk is full")
    if run_spec.encoding == "absolute":
        changes |= {"status": "diverged", "val": None, "error": "the loss was nan"}
    return write_summary(run_spec, outputs, **changes)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("liere_cli.launchers.local.train_run", train_by_rate)
    (tmp_path / "fair.yaml").write_text(RECIPE)
    return tmp_path


def liere(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["compare", *arguments], env={"COLUMNS": "110"})


def tuning(result: Result) -> dict[str, Any]:
    return {one["encoding"]: one for one in json.loads(result.stdout)["tables"][0]["tuning"]}


def finals(here: Path, encoding: str) -> list[Run]:
    return [Run(path) for path in sorted((here / "outputs/fair").glob(f"pointing-{encoding}*"))]


def test_every_encoding_is_tuned_by_the_same_search(here: Path) -> None:
    result = liere("fair.yaml", "--format=json")
    assert result.exit_code == 0, result.output
    found = tuning(result)
    # no encoding rate and no scale where there is nothing that they could change
    assert {name: len(one["candidates"]) for name, one in found.items()} == {
        "none": 3,
        "axial": 3,
        "liere": 12,
    }
    assert found["liere"]["chosen"] == {
        "learning_rate": 2e-3,
        "encoding_rate": 1.0,
        "encoding.scale": 2.0,
    }
    assert found["liere"]["edges"] == {"encoding_rate": 1.0, "encoding.scale": 2.0}
    first = found["none"]["candidates"][0]
    assert first["values"] == {"learning_rate": 1e-3}
    assert first["scores"] == {"100": 0.499, "101": 0.499}
    assert first["validation"] == pytest.approx(0.499)


def test_final_runs_have_the_best_values_and_tuning_runs_no_test_score(here: Path) -> None:
    liere("fair.yaml")
    for run in finals(here, "liere"):
        recipe = run.recipe()
        assert (recipe.training.learning_rate, recipe.encoding["scale"]) == (2e-3, 2.0)
        assert recipe.training.budget.text == "10steps"
    tried = [Run(path.parent) for path in here.glob("outputs/fair-tuning/*/summary.json")]
    assert len(tried) == (3 + 3 + 12) * 2
    for run in tried:
        assert not run.recipe().training.tested
        assert "tested:none" in run.path("signature.txt").read_text()
        assert summary_in(run).test is None


def test_a_candidate_that_diverges_at_one_seed_is_not_chosen(here: Path) -> None:
    one = tuning(liere("fair.yaml", "--format=json"))["axial"]["candidates"][2]
    assert (one["validation"], one["diverged"], one["errors"]) == (None, 1, ["the loss was nan"])
    shown = " ".join(liere("fair.yaml", "--verbose").stdout.split())
    assert "learning_rate=0.004: diverged" in shown


def test_a_tuned_comparison_resumes_and_is_reproducible(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(run_spec: RunSpec, **arguments: Any) -> dict[str, Any]:
        if run_spec.encoding.startswith("liere"):
            raise KeyboardInterrupt
        return train_by_rate(run_spec, **arguments)

    monkeypatch.setattr("liere_cli.launchers.local.train_run", stop)
    assert liere("fair.yaml").exit_code == 130
    monkeypatch.setattr("liere_cli.launchers.local.train_run", train_by_rate)
    again = liere("fair.yaml", "--format=json")
    assert "36 runs: 6 finished, 30 missing" in again.stderr
    monkeypatch.setattr("liere_cli.launchers.local.train_run", None)
    assert liere("outputs/fair/comparison.yaml", "--format=json").stdout == again.stdout
    apart = liere("outputs/fair")
    assert "only 'liere compare outputs/fair/comparison.yaml' puts them into one table" in " ".join(
        apart.stderr.split()
    )


def test_an_encoding_that_cannot_be_tuned_keeps_its_row(here: Path) -> None:
    result = liere("fair.yaml", "--encodings=axial,absolute,liere", "--format=json")
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout)["tables"][0]["rows"][1]
    assert (row["shown"], row["planned"]) == ("not tuned", 0)
    assert "every one of 6 candidates diverged (the loss was nan)" in tuning(result)["absolute"][
        "error"
    ]  # fmt: skip
    result = liere("fair.yaml", "--encodings=axial,sinusoidal,liere")
    assert result.exit_code == 1
    assert "24 of 24 tuning runs failed (the disk is full)" in " ".join(result.stdout.split())
    result = liere("fair.yaml", "--encodings=absolute,liere", "--baseline=absolute")
    assert "absolute: not tuned: every one of 6 candidates diverged" in " ".join(
        result.stdout.split()
    )


def test_seeds_are_added_after_tuning(here: Path) -> None:
    result = liere("fair.yaml", "--until-settled", "--max-seeds=6", "--jobs=2", "--format=json")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert (
        "tuning:learning_rate=0.001,0.002,0.004;encoding_rate=1,3;encoding.scale=1,2"
        in (content["signature"])
    )
    assert "@5steps,seeds=100,101" in content["signature"]
    assert content["tables"][0]["rows"][2]["finished"] >= 5


def test_a_data_set_may_have_a_search_of_its_own(here: Path) -> None:
    settings = (
        "--set=compare.data=[pointing, {data: motion, tuning: "
        "{candidates: [{learning_rate: 1e-3}, {learning_rate: 5e-3}], budget: 7steps}}]"
    )
    result = liere("fair.yaml", settings, "--format=json")
    assert result.exit_code == 0, result.output
    tables = json.loads(result.stdout)["tables"]
    assert [len(table["tuning"][2]["candidates"]) for table in tables] == [12, 2]
    assert tables[1]["tuning"][0]["budget"] == "7steps"


def test_a_dry_run_lists_tuning_runs(here: Path) -> None:
    result = liere("fair.yaml", "--dry-run")
    assert "missing 100 101 (24 runs)" in result.stdout
    assert "from what tuning chooses" in result.stderr
    assert not (here / "outputs").exists()


def test_an_option_in_a_spec_is_not_tuned(here: Path) -> None:
    result = liere("fair.yaml", "--encodings=axial,liere:scale=1", "--format=json")
    found = tuning(result)["liere:scale=1.0"]
    assert all("encoding.scale" not in one["values"] for one in found["candidates"])


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--seeds=100,7"], ["compare.tuning.seeds", "uses seed 100"]),
        (
            ["--set=compare.tuning.seeds=3", "--until-settled"],
            ["may add seed 3", "0 to 19", "1019"],
        ),
        (["--set=compare.tuning.grid.learning_rat=[1]"], ["did you mean 'learning_rate'"]),
        (["--set=compare.tuning.grid={encoding: {scal: [1]}}"], ["did you mean 'encoding.scale'"]),
        (["--set=compare.tuning.grid.learning_rate=[-1, 1]"], ["learning_rate", "above 0"]),
        (["--set=compare.tuning.grid.learning_rate=3"], ["learning_rate", "a list"]),
        (["--set=compare.tuning.grid={encoding.scale: [a]}"], ["scale", "a number"]),
        (["--set=compare.tuning.grid.budget=[5steps]"], ["unknown key", "budget"]),
        (["--set=compare.tuning.grid.batch=[8, 16]"], ["5steps", "examples, tokens or time"]),
        (["--set=compare.tuning.grid={}"], ["needs a 'grid'"]),
        (["--set=compare.tuning.budget=5stepz"], ["budget", "5stepz"]),
        (["--set=compare.tuning.sedes=[1]"], ["did you mean 'seeds'"]),
        (["--set=training.learning_rate=1"], ["compare.tuning chooses it"]),
        (["--set=training.tested=false"], ["tested"]),
    ],
)
def test_invalid_settings_give_one_line_errors(
    here: Path, arguments: list[str], parts: list[str]
) -> None:
    result = liere("fair.yaml", *arguments)
    assert result.exit_code == 2, result.output
    for part in parts:
        assert part in " ".join(result.stderr.split())


def test_tuning_runs_are_refused_as_results(here: Path) -> None:
    liere("fair.yaml")
    result = liere("outputs/fair-tuning")
    assert result.exit_code == 2
    assert "never scored on the test split" in result.stderr


def test_an_untested_run_reads_no_test_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from liere_cli.data.synthetic.pointing import Pointing

    loaded: list[str] = []
    real = Pointing.load
    monkeypatch.setattr(
        Pointing, "load", lambda self, split: loaded.append(split) or real(self, split)
    )
    arguments = [
        "train", "--encoding=axial", "--data=pointing:cells=4,arrows=4,letters=2", "--json",
        f"--out={tmp_path}", "--budget=2steps", "--set=model.layers=1",
        "--set=model.dim=32", "--set=model.heads=2",
        "--set=training.validation_limit=8", "--set=training.test_limit=8",
        "--set=training.tested=false",
    ]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["test"] is None
    assert summary["val"] is not None
    assert set(loaded) == {"train", "val"}
    assert not (Path(summary["folder"]) / "items-test.safetensors").exists()


def trial(rate: float, *scores: float | None) -> Trial:
    known = {seed: score for seed, score in enumerate(scores) if score is not None}
    return Trial({"learning_rate": rate}, known, len(scores), len(scores) - len(known))


def test_the_first_candidate_with_the_best_mean_is_chosen() -> None:
    trials = (trial(1, 0.2, 0.4), trial(2, 0.3, 0.3), trial(3, 0.9, None))
    assert TuningResult(trials, True, "", ()).chosen is trials[0]
    trials = (trial(1, 0.9, 0.9), trial(2, 0.3, 0.1), trial(3, 0.0, None))
    assert TuningResult(trials, False, "", ()).chosen is trials[1]
    assert TuningResult(trials, False, "", ()).edges == {}
    assert TuningResult(trials, True, "", ()).edges == {"learning_rate": 1}
    assert (
        TuningResult(trials[2:], True, "", ()).fault
        == "not tuned: every one of 1 candidates diverged"
    )
