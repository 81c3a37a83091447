"""The interaction: relative gains, their difference, and what becomes of poor data."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats
from typer.testing import CliRunner

from liere_cli.cli.app import app
from liere_cli.comparison.tables.build import make_table
from liere_cli.comparison.tables.table import ComparisonTable
from liere_cli.config.recipe import Recipe
from liere_cli.planning.plan import Plan
from liere_cli.report.content import summary_lines
from liere_cli.report.formats.registry import FORMATS
from liere_cli.report.formats.terminal import terminal
from liere_cli.statistics.interaction import Interaction, Side, judge_interactions, relative_gain
from liere_cli.statistics.sequential import InterimAnalyses
from support.synthetic_runs import train
from support.synthetic_tables import Result, dataset_of


def side(
    generator: np.random.Generator,
    n: int,
    gain: float,
    baseline_gain: float = 10.0,
    noise: float = 1.0,
) -> Side:
    """Encoding, baseline and floor with independent noise over seeds; the share is gain / worth."""
    ours, base, control = generator.normal(0, noise, (3, n))
    return Side(
        "set",
        "images",
        "axial",
        tuple(range(n)),
        tuple((ours - base + gain).tolist()),
        tuple((base - control + baseline_gain).tolist()),
    )


def judged(on: Side, against: Side, margin: float | None = None) -> Interaction:
    one = Interaction("liere", "none", relative_gain(on), relative_gain(against))
    return judge_interactions([one], margin)[0]


def test_the_gain_is_a_ratio_of_means() -> None:
    one = side(np.random.default_rng(0), 5, 3.0)
    gain = relative_gain(one)
    assert gain.value == pytest.approx(np.mean(one.gains) / np.mean(one.baseline_gain))
    assert np.mean(gain.values) == pytest.approx(gain.value)


def test_the_error_of_the_ratio_equals_the_delta_method() -> None:
    """Var(x / y) from the covariance matrix of both means (Casella and Berger 2002, 5.5.4)."""
    one = side(np.random.default_rng(1), 8, 3.0)
    gain = relative_gain(one)
    covariance = np.cov(one.gains, one.baseline_gain) / 8
    x, y = np.mean(one.gains), np.mean(one.baseline_gain)
    gradient = np.array([1 / y, -x / y**2])
    assert gain.seed_error == pytest.approx(float(np.sqrt(gradient @ covariance @ gradient)))


def test_the_difference_equals_welch() -> None:
    generator = np.random.default_rng(2)
    on, against = side(generator, 5, 3.0), side(generator, 7, 1.0, noise=0.3)
    result = judged(on, against)
    expected = stats.ttest_ind(result.on.values, result.against.values, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert result.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert (result.low, result.high) == pytest.approx(tuple(interval), rel=1e-9)


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("worth", [10.0, 30.0])
def test_equal_gains_are_rarely_told_apart(n: int, baseline_gain: float) -> None:
    generator = np.random.default_rng(n)
    words, covered = [], []
    for _ in range(800):
        # the second side in another unit, and noisier
        result = judged(
            side(generator, n, 0.2 * baseline_gain, baseline_gain),
            side(generator, n, 0.6 * baseline_gain, 3 * baseline_gain, 2),
        )
        if result.low is not None and result.high is not None:
            words.append(result.label)
            covered.append(result.low <= 0 <= result.high)
    assert len(covered) > 700
    limit = 0.05 + 3 * (0.05 * 0.95 / 800) ** 0.5
    assert (words.count("larger") + words.count("smaller")) / len(words) <= limit
    assert np.mean(covered) >= 0.93


def test_a_large_interaction_is_found_and_has_a_direction() -> None:
    generator = np.random.default_rng(3)
    small, large = side(generator, 5, 0.0, noise=0.1), side(generator, 5, 5.0, noise=0.1)
    assert judged(large, small).label == "larger"
    assert judged(small, large).label == "smaller"
    assert judged(small, small, margin=0.2).label == "equivalent"


@given(st.integers(0, 1000), st.floats(0.01, 100.0))
def test_units_do_not_matter(seed: int, unit: float) -> None:
    generator = np.random.default_rng(seed)
    on, against = side(generator, 4, 2.0), side(generator, 4, 1.0)
    scaled = Side(
        "set",
        "images",
        "axial",
        on.seeds,
        tuple(unit * gain for gain in on.gains),
        tuple(unit * baseline_gain for baseline_gain in on.baseline_gain),
    )
    first, second = judged(on, against), judged(scaled, against)
    assert second.p == pytest.approx(first.p)
    assert second.difference == pytest.approx(first.difference)


@pytest.mark.parametrize("worth", [0.0, -10.0])
def test_a_baseline_that_beats_no_floor_leaves_it_undefined(baseline_gain: float) -> None:
    generator = np.random.default_rng(4)
    result = judged(side(generator, 5, 1.0, baseline_gain), side(generator, 5, 1.0))
    assert result.label is None
    assert result.difference is None
    assert "axial doesn't clearly beat the floor" in str(result.undefined)


def test_one_shared_seed_leaves_it_undefined() -> None:
    generator = np.random.default_rng(5)
    result = judged(side(generator, 5, 1.0), side(generator, 1, 1.0))
    assert "fewer than 2 shared seeds" in str(result.undefined)


def test_looks_cost_both_sides_their_share() -> None:
    generator = np.random.default_rng(6)
    interim = InterimAnalyses(3, 6)
    one = Interaction(
        "liere",
        "none",
        relative_gain(side(generator, 4, 2.0)),
        relative_gain(side(generator, 6, 1.0)),
    )
    fixed, repeated = (judge_interactions([one], interim=use)[0] for use in (None, interim))
    assert fixed.p_holm is not None
    expected = min(1.0, fixed.p_holm / (interim.share(4) * interim.share(6)))
    assert repeated.p_holm == pytest.approx(expected)
    pairs = [interim.share(n) * interim.share(m) for n in interim.sizes for m in interim.sizes]
    assert sum(pairs) == pytest.approx(1)


IMAGES: dict[str, Sequence[Result]] = {
    "none": [0.10, 0.11, 0.10, 0.12],
    "axial": [0.30, 0.32, 0.31, 0.30],
    "liere": [0.40, 0.42, 0.40, 0.41],
}
TEXT: dict[str, Sequence[Result]] = {
    "none": [2.80, 2.82, 2.79, 2.81],
    "rope": [2.30, 2.31, 2.30, 2.29],
    "liere": [2.31, 2.31, 2.30, 2.30],
}


def example(text: dict[str, Sequence[Result]] = TEXT, **asked: Any) -> ComparisonTable:
    datasets = [
        dataset_of(text, metric="bits_per_byte", title="stdlib", baseline="rope"),
        dataset_of(IMAGES, title="pointing"),
    ]
    recipe = Recipe.validated({"compare": {"interaction": asked}}, "a test")
    found = {key: one for _, outcomes in datasets for key, one in outcomes.items()}
    return make_table(
        Plan("x", tuple(dataset for dataset, _ in datasets), (0, 1, 2, 3), recipe), found
    )


def test_a_table_holds_images_against_text() -> None:
    table = example()
    assert [one.encoding for one in table.interactions] == ["liere"]
    one = table.interactions[0]
    assert one.on.value == pytest.approx(0.4075 / 0.2 - 0.3075 / 0.2)
    # fewer bits are a gain
    assert one.against.value == pytest.approx((2.3 - 2.305) / (2.805 - 2.3))
    assert one.label == "larger"
    assert summary_lines(table)[-1].startswith(
        "interaction · pointing against stdlib: liere's gain is larger on images than on text: +5"
    )


def test_every_format_has_its_own_table() -> None:
    table = example()
    for form in ("markdown", "latex"):
        text = FORMATS[form](table)
        assert "Relative gain between data sets" in text
        assert "larger on images than on text" in text or form == "latex"
    content = json.loads(FORMATS["json"](table))["interactions"][0]
    assert content["verdict"] == "larger"
    assert content["on"]["values"].keys() == {"0", "1", "2", "3"}
    for width in (80, 120, 200):
        console = Console(width=width, file=io.StringIO(), force_terminal=False)
        console.print(terminal(table, width))
        assert isinstance(console.file, io.StringIO)
        shown = console.file.getvalue()
        assert max(map(len, shown.splitlines())) <= width
        assert "larger" in shown


@pytest.mark.parametrize(
    ("text", "asked", "reason"),
    [
        ({"rope": TEXT["rope"], "liere": TEXT["liere"]}, {}, "none is not compared on stdlib"),
        (TEXT, {"encodings": ["axial"]}, "axial is not compared on stdlib"),
        (TEXT | {"none": TEXT["rope"]}, {}, "rope doesn't clearly beat the floor on stdlib"),
        (TEXT | {"liere": [2.3, "failed", "diverged", "missing"]}, {}, "fewer than 2"),
        (TEXT | {"liere": []}, {}, "liere is not defined"),
    ],
)
def test_what_is_undefined_says_why(
    text: dict[str, Sequence[Result]], asked: dict[str, Any], reason: str
) -> None:
    table = example(text, **asked)
    assert reason in summary_lines(table)[-1]
    assert json.loads(FORMATS["json"](table))["interactions"][0]["verdict"] is None
    for name, render in FORMATS.items():
        assert name == "csv" or "undefined" in render(table)
        assert "nan" not in render(table).lower().split()


def test_the_command_shows_it_and_refuses_unknown_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("liere_cli.launchers.local.train_run", train)
    tiny = ["--set=model.layers=1", "--set=model.dim=32", "--set=model.heads=2"]
    command = ["compare", "--encodings=none,axial,liere", "--data=motion,pointing", *tiny]
    shown = CliRunner().invoke(app, [*command, "--set=compare.interaction.against=images"])
    assert shown.exit_code == 0, shown.output
    assert "interaction · motion against pointing" in " ".join(shown.stdout.split())
    refused = CliRunner().invoke(app, [*command, "--set=compare.interaction.against=image"])
    assert refused.exit_code == 2
    assert "did you mean 'images'" in " ".join(refused.stderr.split())
    absent = CliRunner().invoke(app, [*command, "--set=compare.interaction.against=text"])
    assert absent.exit_code == 0
    assert "Relative gain" not in absent.stdout
