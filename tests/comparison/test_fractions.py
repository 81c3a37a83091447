"""Scores by fraction of the training data, and subsets of data."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from typer.testing import CliRunner, Result

from liere_cli.cli.app import app
from liere_cli.data import ByteStream, Examples
from liere_cli.data.subset import subset
from liere_cli.runs.build import RunSpec
from liere_cli.runs.summary import RunSummary
from support.flags import last_of_each
from support.synthetic_runs import write_summary

#: top-1 on all of the data, and what is lost whenever it is halved
CURVES = {"none": (0.2, 0.0), "axial": (0.5, 0.1), "liere": (0.6, 0.05)}


def train_by_fraction(
    run_spec: RunSpec, *, outputs: Path, device: torch.device, fresh: bool, callbacks: Any
) -> RunSummary:
    full, lost = CURVES[run_spec.encoding]
    seed = run_spec.recipe.seed
    value = full + lost * math.log2(run_spec.recipe.training.fraction) + 0.002 * seed * (lost + 1)
    return write_summary(run_spec, outputs, test=value, val=value)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("liere_cli.launchers.local.train_run", train_by_fraction)
    return tmp_path


def liere(*arguments: str) -> Result:
    tiny = ("--set=model.layers=1", "--set=model.dim=32", "--set=model.heads=2")
    own = ("--data=pointing", "--encodings=none,axial,liere", "--seeds=3", "--name=compare", *tiny)
    return CliRunner().invoke(
        app, ["compare", *last_of_each([*own, *arguments])], env={"COLUMNS": "110"}
    )


def test_ratio_of_data_to_the_baseline_s_score(here: Path) -> None:
    asked = "--set=compare.fractions=[0.1, 0.25, 0.5]"
    result = liere(asked, "--format=json")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert len(content["tables"]) == 4
    (table,) = content["fractions"]
    assert table["fractions"] == [0.1, 0.25, 0.5, 1.0]
    none, axial, liere_ = table["rows"]
    # a tenth of the data is enough for none's score on all of it; axial needs more
    assert (none["at_smallest"], none["baseline_at_smallest"]) == (3, 0)
    axial_needs = [2 ** (-3 - 0.002 * seed) for seed in range(3)]
    assert none["data_ratio"]["value"] == pytest.approx(stats.gmean(axial_needs) / 0.1)
    assert axial["data_ratio"] is None
    assert axial["scores"]["0.25"]["mean"] == pytest.approx(0.3 + 0.0022)
    # the curve loses 0.05 a halving and ends 0.1 and a little less above the baseline
    needed = [0.25 * 2 ** (0.002 * seed * 0.05 / 0.05) for seed in range(3)]
    interval = stats.ttest_1samp(-np.log(needed), 0).confidence_interval(0.95)
    ratio = liere_["data_ratio"]
    assert ratio["value"] == pytest.approx(math.exp(-np.log(needed).mean()))
    assert ratio["low"] == pytest.approx(math.exp(interval.low))
    assert ratio["high"] == pytest.approx(math.exp(interval.high))
    assert ratio["p_holm"] <= 0.05
    again = CliRunner().invoke(app, ["compare", "outputs/compare/comparison.yaml", "--format=json"])
    assert json.loads(again.stdout)["fractions"] == content["fractions"]
    runs = CliRunner().invoke(app, ["compare", "outputs/compare", "--format=json"])
    rows = json.loads(runs.stdout)["fractions"][0]["rows"]
    assert sorted(rows, key=lambda row: row["encoding"]) == [axial, liere_, none]


@pytest.mark.parametrize("form", ["table", "markdown", "latex"])
def test_every_format_of_text_shows_them(here: Path, form: str) -> None:
    result = liere("--set=compare.fractions=[0.5]", f"--format={form}")
    assert result.exit_code == 0, result.output
    assert "less data" in result.stdout


def test_invalid_settings_give_one_line_errors(here: Path) -> None:
    for wrong in ("[2]", "[0]", "half"):
        result = liere(f"--set=compare.fractions={wrong}")
        assert result.exit_code == 2
        assert "compare.fractions" in result.stderr
    result = liere("--set=compare.fractions=[0.5]", "--set=training.fraction=0.5")
    assert result.exit_code == 2
    assert "give one" in result.stderr


SHARES = st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted)


@given(SHARES, st.integers(0, 100), st.integers(1, 200))
def test_smaller_subsets_lie_inside_larger_ones(shares: list[float], seed: int, n: int) -> None:
    every = Examples(torch.arange(n)[:, None, None], torch.arange(n), torch.arange(n))
    small, large = (subset(every, share, seed) for share in shares)
    assert isinstance(small, Examples)
    assert isinstance(large, Examples)
    assert len(small) == max(round(shares[0] * n), 1)
    assert set(small.labels.tolist()) <= set(large.labels.tolist())
    assert torch.equal(small.inputs[:, 0, 0], small.labels)


@given(SHARES, st.integers(0, 100), st.integers(1, 200))
def test_a_subset_of_a_text_is_contiguous(shares: list[float], seed: int, n: int) -> None:
    every = ByteStream(torch.arange(n, dtype=torch.uint8))
    small, large = (subset(every, share, seed) for share in shares)
    assert isinstance(small, ByteStream)
    assert isinstance(large, ByteStream)
    assert len(small) == max(round(shares[0] * n), 1)
    if shares[1] < 1:
        assert torch.equal(small.data, large.data[: len(small)])
    steps = small.data.int().diff()
    assert set(steps.tolist()) <= {1, 1 - n}


def test_a_run_trains_on_its_subset(tmp_path: Path) -> None:
    arguments = [
        "train", "--encoding=axial", "--data=motion:train=40,val=16,test=16", "--json",
        f"--out={tmp_path}", "--budget=3steps", "--set=model.layers=1", "--set=model.dim=32",
        "--set=model.heads=2", "--set=training.batch=4",
    ]  # fmt: skip
    losses, ids = [], []
    for fraction in ("1.0", "0.1"):
        result = CliRunner().invoke(app, [*arguments, f"--set=training.fraction={fraction}"])
        assert result.exit_code == 0, result.output
        summary = json.loads(result.stdout)
        ids.append(summary["id"])
        losses.append(summary["val_loss"])
        assert ("fraction:0.1" in summary["signature"]) == (fraction == "0.1")
    assert losses[0] != losses[1]
    plain = CliRunner().invoke(app, arguments)
    assert json.loads(plain.stdout)["id"] == ids[0] != ids[1]
