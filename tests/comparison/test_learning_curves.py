"""Learning curves: equal seconds, and what it takes to reach the baseline's final score."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats
from statsmodels.stats.multitest import multipletests

from liere_cli.comparison.tables.build import make_table
from liere_cli.comparison.tables.learning_curves import (
    Curve,
    efficiency,
    judge_efficiency,
    read_curve,
)
from liere_cli.comparison.tables.table import ComparisonTable
from liere_cli.config.recipe import Recipe
from liere_cli.planning.plan import Plan
from liere_cli.report.formats.registry import FORMATS
from liere_cli.report.formats.terminal import terminal
from liere_cli.runs.folder import Run
from liere_cli.statistics.sequential import InterimAnalyses
from liere_cli.utils.files import write_atomically
from support.synthetic_tables import dataset_of


def curve(scores: Sequence[float], speed: float = 1.0) -> Curve:
    """Validations every 100 steps, at ``speed`` seconds a hundred."""
    count = np.arange(1.0, len(scores) + 1)
    return Curve(100 * count, speed * count, np.array(scores))


def test_between_validations_lie_straight_lines() -> None:
    one = curve([0.1, 0.3, 0.4])
    assert one.at_seconds(1.5) == pytest.approx(0.2)
    assert one.reached(0.35) == pytest.approx((250, 2.5))
    assert one.reached(0.1) == (100, 1)
    assert one.reached(0.5) is None


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.floats(0, 1))
def test_a_score_is_reached_where_the_curve_first_has_it(scores: list[float], score: float) -> None:
    one = curve(scores)
    reached = one.reached(score)
    assert (reached is None) == (max(scores) < score)
    if reached is not None:
        steps, seconds = reached
        assert steps == pytest.approx(100 * seconds)
        earlier = [value for value, step in zip(scores, one.steps, strict=True) if step < steps]
        assert all(value < score for value in earlier)


def pairs(count: int = 4) -> list[tuple[Curve, Curve]]:
    """The encoding learns as fast as the baseline once more, at half the speed."""
    generator = np.random.default_rng(0)
    made = []
    for _ in range(count):
        noise = generator.normal(0, 0.01, 4)
        ours = curve((np.array([0.3, 0.5, 0.6, 0.7]) + noise).tolist(), speed=2.0)
        made.append((ours, curve((np.array([0.1, 0.3, 0.4, 0.5]) + noise).tolist())))
    return made


def test_at_equal_seconds_is_a_paired_t_test() -> None:
    found = efficiency("liere", pairs(), True)
    # the baseline ends after 4 seconds, where the encoding is at its second validation
    assert found.seconds == 4
    values = [(ours.scores[1], theirs.scores[3]) for ours, theirs in pairs()]
    expected = stats.ttest_rel(*np.array(values).T)
    assert found.equal_seconds is not None
    assert found.equal_seconds.p == pytest.approx(expected.pvalue)


def test_at_equal_steps_is_a_paired_t_test() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 5, 4))
    made = [
        (curve(ours.tolist(), speed=2.0), curve(theirs[:3].tolist()))
        for ours, theirs in zip(*scores, strict=True)
    ]
    found = efficiency("liere", made, True)
    assert found.steps == 300
    assert found.equal_steps is not None
    assert found.equal_steps.p == pytest.approx(stats.ttest_rel(*scores[:, :, 2]).pvalue)


def test_ratios_are_geometric_means_with_an_interval_on_logarithms() -> None:
    found = efficiency("liere", pairs(), True)
    logs = []
    for ours, theirs in pairs():
        reached = ours.reached(theirs.scores[-1])
        assert reached is not None
        logs.append(np.log(400 / reached[0]))
    expected = stats.ttest_1samp(logs, 0)
    ends = np.exp(expected.confidence_interval(0.95))
    assert found.steps_ratio.value == pytest.approx(stats.gmean(np.exp(logs)))
    assert (found.steps_ratio.low, found.steps_ratio.high) == pytest.approx(tuple(ends))
    assert found.steps_ratio.p == pytest.approx(expected.pvalue)
    assert found.seconds_ratio.value == pytest.approx(found.steps_ratio.value / 2)


def test_a_score_that_was_never_reached_gives_no_ratio() -> None:
    low = [(theirs, ours) for ours, theirs in pairs()]
    found = efficiency("liere", low, True)
    assert found.steps_ratio.missed == 4
    assert found.steps_ratio.value is None


@pytest.mark.parametrize("looks", [None, InterimAnalyses(3, 6)])
def test_everything_is_corrected_in_one_family(interim: InterimAnalyses | None) -> None:
    rows = [efficiency("a", pairs(4), True), efficiency("b", [], True)]
    judged = judge_efficiency(rows, [True, True], interim)
    raw: list[float] = []
    shown: list[float | None] = []
    for before, after in zip(rows, judged, strict=True):
        for one, corrected in (
            (before.equal_seconds, after.p_holm),
            (before.steps_ratio, after.steps_ratio.p_holm),
            (before.seconds_ratio, after.seconds_ratio.p_holm),
            (before.equal_steps, after.p_steps_holm),
        ):
            if one is not None and one.p is not None:
                raw.append(min(1.0, one.p / (interim.share(4) if interim else 1)))
                shown.append(corrected)
    assert shown == pytest.approx(multipletests(raw, method="holm")[1].tolist())
    assert judged[1].label is None


def test_fewer_bits_are_better() -> None:
    # curves hold minus bits per byte: the encoding needs 0.2 fewer
    made = [
        (curve([-3.0, -2.0 + grain]), curve([-3.0, -2.2])) for grain in (0.0, 0.01, -0.01, 0.005)
    ]
    found = judge_efficiency([efficiency("liere", made, False)], [False])[0]
    assert found.equal_seconds is not None
    assert found.equal_seconds.difference == pytest.approx(-0.2, abs=0.01)
    assert found.label == "better"


def write_metrics(run: Run, values: Sequence[float], speed: float) -> None:
    lines: list[dict[str, Any]] = []
    for index, value in enumerate(values, 1):
        lines.append({"step": 100 * index, "seconds": speed * index, "loss": 1.0})
        lines.append({"step": 100 * index, "seconds": speed * index, "val": value})
    write_atomically(run.path("metrics.jsonl"), "".join(json.dumps(line) + "\n" for line in lines))


def test_curves_come_from_the_runs_own_lines(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert read_curve(run, True) is None
    write_metrics(run, [2.5, 2.0], 1.5)
    found = read_curve(run, False)
    assert found is not None
    assert found.scores.tolist() == [-2.5, -2.0]
    assert found.seconds.tolist() == [1.5, 3.0]
    write_atomically(run.path("metrics.jsonl"), '{"val": "x", "step": 1}\n')
    assert read_curve(run, True) is None


def example(folder: Path, asked: bool = True) -> ComparisonTable:
    dataset, found = dataset_of(
        {"axial": [0.40, 0.41, 0.42], "liere": [0.6, 0.62, 0.61], "rope": []}
    )
    rows = []
    for row in dataset.encodings:
        runs = []
        for run in row.runs:
            place = Run(folder / f"{row.label}-{run.seed}")
            start, speed = (0.1, 1.0) if row.label == "axial" else (0.3, 1.5)
            grain = 0.01 * run.seed
            write_metrics(place, [start, start + 0.15 + grain, start + 0.3 - grain], speed)
            runs.append(replace(run, run=place))
        rows.append(replace(row, runs=tuple(runs)))
    dataset = replace(dataset, encodings=tuple(rows))
    recipe = Recipe.validated({"compare": {"efficiency": asked}}, "a test")
    return make_table(Plan("x", (dataset,), (0, 1, 2), recipe), found)


def test_every_format_has_its_own_table(tmp_path: Path) -> None:
    table = example(tmp_path)
    assert [row.encoding for row in table.datasets[0].efficiency] == ["liere"]
    content = json.loads(FORMATS["json"](table))["tables"][0]["efficiency"][0]
    ratio = content["steps_ratio"]["value"]
    assert ratio > 1
    for form in ("markdown", "latex"):
        assert "by learning curves" in FORMATS[form](table)
    for width in (80, 120, 200):
        console = Console(width=width, file=io.StringIO(), force_terminal=False)
        console.print(terminal(table, width))
        assert isinstance(console.file, io.StringIO)
        shown = console.file.getvalue()
        assert max(map(len, shown.splitlines())) <= width
        assert f"{ratio:.2f}x [" in shown
    assert "by learning curves" not in FORMATS["markdown"](example(tmp_path, asked=False))
