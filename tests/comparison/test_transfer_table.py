"""Comparisons at other lengths and resolutions, through the command line."""

import json
import pickle
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from typer.testing import CliRunner, Result

from liere_cli.cli.app import app
from liere_cli.evaluation.conditions import FOLDER, Condition, StoredEvaluation
from liere_cli.launchers.transfer_eval import evaluate_run
from liere_cli.runs.folder import Run
from liere_cli.statistics.paired import paired
from liere_cli.statistics.spread import Pooled, pooled_spread
from liere_cli.utils.files import digest_of
from support.synthetic_runs import summary_in

RECIPE = """
model: {layers: 1, dim: 32, heads: 2}
training: {budget: 4steps, batch: 4, validations: 2, learning_rate: 1e-2, test_limit: 6}
compare:
  seeds: 5
  baseline: [rope, axial]
  transfer: {extend: [ntk, pi]}
  data:
    - data: text:verse.txt,grid=16
      encodings: [none, rope, liere]
      transfer: {grids: [32, 64], limit: 6}
    - data: pointing:train=8,val=8,test=8
      encodings: [axial, absolute, rope]
      transfer: {grids: [144], shuffle: true}
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison that was run once; tests that change its files take a copy."""
    here = tmp_path_factory.mktemp("transfer")
    (here / "verse.txt").write_text("The quick brown fox jumps over the lazy dog. " * 60)
    (here / "both.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        result = liere("both.yaml")
        assert result.exit_code == 0, result.output
        assert "measuring 25 runs at other grids" in result.stderr
    return here


@pytest.fixture
def here(done: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(done)
    return done


def liere(*arguments: str, command: str = "compare") -> Result:
    return CliRunner().invoke(app, [command, *arguments], env={"COLUMNS": "170"})


def transfers(*arguments: str) -> list[dict[str, Any]]:
    result = liere("both.yaml", "--format=json", *arguments)
    assert result.exit_code == 0, result.output
    tables: list[dict[str, Any]] = json.loads(result.stdout)["transfers"]
    return tables


def cells(table: dict[str, Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {
        (row["encoding"], row["extension"], cell["grid"]): cell
        for row in table["rows"]
        for cell in row["cells"]
    }


def folder_of(here: Path, encoding: str, seed: int) -> Path:
    (folder,) = here.glob(f"outputs/both/verse*-{encoding}-s{seed}-*")
    return folder


def test_each_cell_equals_the_eval_command(here: Path) -> None:
    text, images = transfers()
    assert (text["grids"], text["block"], text["count"]) == (["16", "32", "64"], 16, 6 * 16)
    by_cell = cells(text)
    assert set(by_cell) == {
        (name, extension, grid)
        for name, methods in (("none", ["none"]), ("rope", ["none", "ntk", "pi"]),
                              ("liere", ["none", "pi"]))
        for extension in methods
        for grid in ("16", "32", "64")
    }  # fmt: skip
    flags = ["--grid=32", "--grid=64", "--grid=16", "--limit=6", "--json", "--extend=none"]
    for name, extra in (("rope", ["--extend=ntk"]), ("liere", ["--extend=pi"])):
        shown = liere(str(folder_of(here, name, 1)), *flags, *extra, command="eval")
        for row in json.loads(shown.stdout)["rows"]:
            cell = by_cell[name, row["extension"], row["grid"]]
            assert cell["values"]["1"] == pytest.approx(row["value"], rel=1e-6)
    assert images["count"] == 6
    plain = next(row for row in images["rows"] if row["encoding"] == "axial")
    assert plain["shuffled"]["shuffled"]
    assert plain["shuffled"]["shared_seeds"] is None, "a control has no verdict"


def test_the_training_grid_column_equals_the_main_table(here: Path) -> None:
    content = json.loads(liere("both.yaml", "--format=json").stdout)
    for table, main in zip(content["transfers"], content["tables"], strict=True):
        for row in main["rows"]:
            cell = cells(table).get((row["encoding"], "none", table["trained"]))
            if row["undefined"] is None:
                assert cell is not None
                assert cell["values"] == pytest.approx(row["values"], rel=1e-6)


def pooled_at(
    by_cell: dict[tuple[str, str, str], dict[str, Any]], grid: str, trained: str
) -> Pooled | None:
    """What all encodings at one grid tell about the spread, each condition once."""
    scores = {
        (name, extension if grid != trained else "none"): list(cell["values"].values())
        for (name, extension, where), cell in by_cell.items()
        if where == grid and cell["values"]
    }
    return pooled_spread(np.array(list(scores.values())))


def test_differences_and_p_values_corrected_as_one_family(here: Path) -> None:
    p_values: dict[tuple[Any, ...], tuple[float, float]] = {}
    for table in transfers():
        by_cell = cells(table)
        for (name, extension, grid), cell in by_cell.items():
            base = by_cell[table["baseline"], "none", grid]
            if (name, extension) == (table["baseline"], "none"):
                assert cell["verdict"] is None
            if cell["shared_seeds"] is None:
                continue
            ours, theirs = ([side["values"][seed] for seed in "01234"] for side in (cell, base))
            assert cell["difference"] == pytest.approx(np.subtract(ours, theirs).mean())
            estimate = paired(ours, theirs, pooled=pooled_at(by_cell, grid, table["trained"]))
            assert estimate is not None
            assert estimate.p is not None
            assert cell["p"] >= estimate.p - 1e-9  # the test set adds its error
            plain = "none" if grid == table["trained"] else extension
            p_values[table["data"], name, plain, grid] = (cell["p"], cell["p_corrected"])
        assert cell["mean"] == pytest.approx(np.mean(list(cell["values"].values())))
    raw, corrected = zip(*p_values.values(), strict=True)
    assert corrected == pytest.approx(multipletests(raw, method="fdr_bh")[1].tolist())
    assert all(table["comparisons"] == len(raw) for table in transfers())


def test_means_have_student_s_interval(here: Path) -> None:
    for cell in cells(transfers()[0]).values():
        values = list(cell["values"].values())
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (cell["mean_low"], cell["mean_high"]) == pytest.approx(tuple(expected))


def test_nothing_is_evaluated_twice(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = transfers()
    monkeypatch.setattr(
        "liere_cli.evaluation.transfer.evaluate", lambda *_, **__: pytest.fail("again")
    )
    again = liere("both.yaml")
    assert again.exit_code == 0
    assert "measuring" not in again.stderr
    assert transfers() == before
    other = liere("outputs/both/comparison.yaml", "--format=json")
    assert json.loads(other.stdout)["transfers"] == before


def test_damaged_results_are_evaluated_again(here: Path) -> None:
    before = transfers()
    (path,) = folder_of(here, "rope", 0).glob(f"{FOLDER}/64-ntk-*")
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:-70] + bytes([whole[-70] ^ 1]) + whole[-69:], b""):
        path.write_bytes(damaged)
        result = liere("both.yaml")
        assert "measuring 1 runs at other grids: 1 passes" in result.stderr
        assert path.read_bytes() == whole
    assert transfers() == before


def test_results_of_yarn_before_its_forms_had_names_are_of_the_papers(tmp_path: Path) -> None:
    stored = [
        StoredEvaluation(Run(tmp_path), "digest", Condition((32,), method), 6, 16).name
        for method in ("yarn", "yarn-paper")
    ]
    record = [1, "digest", (32,), "yarn", False, 6, 16]
    before = f"{FOLDER}/32-yarn-{digest_of(json.dumps(record), 12)}.safetensors"
    assert stored[1] == before != stored[0]


def test_other_weights_or_items_are_other_results(tmp_path: Path) -> None:
    kept = StoredEvaluation(Run(tmp_path), "digest", Condition((32,)), 6, 16)
    items = {"loss": np.ones(6, np.float32), "weight": np.full(6, 16, np.int32)}
    kept.write(items)
    assert kept.read() is not None
    for other in (
        StoredEvaluation(Run(tmp_path), "another", Condition((32,)), 6, 16),
        StoredEvaluation(Run(tmp_path), "digest", Condition((32,), "ntk"), 6, 16),
        StoredEvaluation(Run(tmp_path), "digest", Condition((32,), shuffle=True), 6, 16),
        StoredEvaluation(Run(tmp_path), "digest", Condition((32,)), None, 16),
        StoredEvaluation(Run(tmp_path), "digest", Condition((32,)), 6, 32),
    ):
        assert other.read() is None
        # even under that file name, which the digest covers
        tmp_path.joinpath(other.name).write_bytes(tmp_path.joinpath(kept.name).read_bytes())
        assert other.read() is None
    worker = pickle.loads(pickle.dumps(partial(evaluate_run, wanted={"id": (kept,)})))
    assert worker.keywords == {"wanted": {"id": (kept,)}}


@pytest.mark.parametrize("form", ["table", "markdown", "latex"])
def test_every_format_of_text_shows_it(here: Path, form: str) -> None:
    result = liere("both.yaml", f"--format={form}", "--verbose")
    assert result.exit_code == 0, result.output
    shown = " ".join(result.stdout.split())
    for text in (
        "verse: at other lengths, minus rope", "at other resolutions", "patches shuffled",
        "the same 96 bytes: blocks of 16", "at most 6 blocks, evenly spaced", "not defined",
        "ntk is not defined for none, liere",
    ):  # fmt: skip
        assert text in shown, text


def test_failed_evaluations_are_reported(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in folder_of(here, "liere", 0).glob(f"{FOLDER}/*"):
        place.unlink()

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("not enough memory: you tried to allocate 9 bytes\nmore")

    with monkeypatch.context() as broken:
        broken.setattr("liere_cli.evaluation.transfer.evaluate", fail)
        result = liere("both.yaml", "--format=json")
    assert result.exit_code == 1
    table = json.loads(result.stdout)["transfers"][0]
    (error,) = table["errors"].values()
    assert error == "at 16: not enough memory: you tried to allocate 9 bytes"
    assert cells(table)["liere", "none", "32"]["missing"] == [0]
    assert cells(table)["liere", "none", "32"]["verdict"] is None
    assert "seed 0 could not be measured: at 16: not enough memory" in result.stderr
    assert liere("both.yaml").exit_code == 0


def test_a_loss_that_is_not_finite_has_no_value(here: Path) -> None:
    (path,) = folder_of(here, "none", 1).glob(f"{FOLDER}/64-none-*")
    whole = path.read_bytes()
    run = Run(path.parent.parent)
    weights = summary_in(run).files["last.safetensors"]
    kept = StoredEvaluation(run, weights, Condition((64,)), 6, 16)
    items = kept.read()
    assert items is not None
    kept.write(items | {"loss": np.full_like(items["loss"], np.nan)})
    cell = cells(transfers()[0])["none", "none", "64"]
    assert (cell["not_finite"], list(cell["values"])) == ([1], ["0", "2", "3", "4"])
    assert (cell["shared_seeds"], cell["verdict"]) == (4, None)
    assert "not finite at 1 seed" in liere("both.yaml", "--format=markdown").stdout
    path.write_bytes(whole)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("compare.transfer.grid=[512]", "unknown key 'compare.transfer.grid'"),
        (
            "compare.transfer.extend=[nkt]",
            "'none', 'pi', 'refit', 'edges', 'ntk', 'yarn' or 'yarn-paper'",
        ),
        ("compare.transfer.grids=[48x48]", "stdlib: the grid is '48x48', but a whole number"),
        ("compare.transfer.shuffle=true", "but stdlib is text: bytes in another order"),
    ],
)
def test_invalid_settings_give_one_line_errors(here: Path, setting: str, words: str) -> None:
    result = liere("--data=stdlib:grid=16", "--encodings=rope", f"--set={setting}", "--dry-run")
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.stderr.split())


def test_grids_must_fit_the_patches_and_are_optional(here: Path) -> None:
    asked = "--set=compare.transfer={grids: [50]}"
    result = liere("--data=pointing", "--encodings=axial", asked, "--dry-run")
    assert result.exit_code == 2
    assert "compare.transfer, pointing: data.pointing: the grid 50x50 is not" in " ".join(
        result.stderr.split()
    )
    nothing = liere(
        "--data=stdlib:grid=16", "--encodings=rope", "--set=compare.transfer={}", "--dry-run"
    )
    assert nothing.exit_code == 0, nothing.output


def test_plots_in_every_format(here: Path) -> None:
    beginnings = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    for suffix, beginning in beginnings.items():
        result = liere("both.yaml", f"--plot=all.{suffix}")
        assert result.exit_code == 0, result.output
        content = Path(f"all.{suffix}").read_bytes()
        assert content.startswith(beginning)
        liere("both.yaml", f"--plot=again.{suffix}")
        assert Path(f"again.{suffix}").read_bytes() == content, "the same table, the same file"
    drawn = Path("all.svg").read_text()
    for text in ("Other lengths", "Training loss over steps", "liere", "ntk", "144x144"):
        assert text in drawn
    runs = liere("outputs/both", "--plot=runs.svg")
    assert runs.exit_code == 0, runs.output
    assert "Training loss over seconds" in Path("runs.svg").read_text()


def test_plots_that_can_not_be_drawn(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = liere("both.yaml", "--plot=all.gif")
    assert result.exit_code == 2
    assert "--plot all.gif ends in '.gif'; allowed are .png, .svg, .pdf" in result.stderr
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = liere("both.yaml", "--plot=all.png")
    assert result.exit_code == 1
    assert "needs matplotlib to be drawn: pip install 'liere[report]'" in result.stderr
