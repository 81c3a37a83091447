"""Adding seeds until settled: error rates, order, limits, and resuming after an interruption."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from typer.testing import CliRunner
from typer.testing import Result as Invoked

from liere_cli.bench.verdicts.calibration import DESIGNS, judge_tables, simulate_verdicts
from liere_cli.cli.app import app
from liere_cli.comparison.adaptive_seeds import begun_part, next_runs
from liere_cli.comparison.tables.build import make_table
from liere_cli.config.compare import CompareSettings
from liere_cli.config.recipe import Recipe
from liere_cli.planning.plan import Plan
from liere_cli.planning.progress import Outcome
from liere_cli.statistics.scores import pair_of
from liere_cli.statistics.sequential import InterimAnalyses
from liere_cli.statistics.verdicts import judge
from support.flags import last_of_each
from support.synthetic_runs import train
from support.synthetic_tables import Result, dataset_of, outcome

INTERIM = InterimAnalyses(3, 6)


def test_all_interim_analyses_together_spend_the_error_rate() -> None:
    for interim in (INTERIM, InterimAnalyses(2, 10), InterimAnalyses(5, 5)):
        assert sum(map(interim.share, interim.sizes)) == pytest.approx(1)
    # the power family at a third of the information: 0.05 * (1/3)**2, Jennison and Turnbull 2000
    assert 0.05 * InterimAnalyses(3, 9).share(3) == pytest.approx(0.05 / 9)


@given(st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4))
def test_the_sequential_p_value_is_a_union_bound(p_values: list[float]) -> None:
    corrected = [
        float(INTERIM.corrected(np.array(p), n))
        for p, n in zip(p_values, INTERIM.sizes, strict=True)
    ]
    for level in (0.001, 0.05, 0.5):
        crossed = any(
            p <= level * INTERIM.share(n) for p, n in zip(p_values, INTERIM.sizes, strict=True)
        )
        gap = min(abs(each - level) for each in corrected)
        assert (min(corrected) <= level) == crossed or gap < 1e-12


def test_every_design_keeps_error_rate_and_coverage() -> None:
    figures = simulate_verdicts(tables=800)
    assert [row["design"] for row in figures["designs"]] == [
        "fixed-3",
        "fixed-5",
        "fixed-10",
        "until-settled-10",
    ]
    for row in figures["designs"]:
        assert row["tables"] == 800
        assert row["wrong_table_rate"] <= 0.05 + 3 * row["mc_error"]
        assert 0.94 <= row["coverage"] <= 0.96
    for row in figures["power"]:
        assert row["coverage"] == pytest.approx(0.95, abs=0.03)
    settled = [row for row in figures["power"] if row["design"] == "until-settled-10"]
    assert [row["power"] for row in settled] == sorted(row["power"] for row in settled)
    assert settled[-1]["seeds"] < 5
    found = {row["correlation"]: row["power_paired"] for row in figures["pairing"]}
    assert found[0.9] > found[0.6] > found[0.3] > found[0.0]
    for row in figures["test_set"]:
        assert row["coverage"] >= 0.94
        assert row["coverage"] >= row["coverage_seeds_alone"]
    for row in figures["interaction"]:
        assert row["wrong_rate"] <= 0.05 + 3 * (0.05 * 0.95 / 800) ** 0.5
        assert row["coverage"] >= 0.93


def test_simulated_power_equals_the_noncentral_t_distribution() -> None:
    generator = np.random.default_rng(0)
    differences = generator.standard_normal((4000, 1, 5)) + 1.5
    judged = judge_tables(differences, np.array([1.5]), None)
    critical = stats.t.isf(0.025, 4)
    expected = stats.nct.sf(critical, 4, 1.5 * 5**0.5)
    assert judged.differs.mean() == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("interim", [None, InterimAnalyses(3, 8)])
def test_simulated_tables_and_runs_get_the_same_verdicts(interim: InterimAnalyses | None) -> None:
    generator = np.random.default_rng(1)
    differences = generator.standard_normal((40, 4, 8)) + np.array([0.0, 1.0, 2.0, 4.0])[:, None]
    simulated = judge_tables(differences, np.zeros(4), interim)
    for table, differs, seeds in zip(differences, simulated.differs, simulated.seeds, strict=True):
        pairs = [
            pair_of(row[:n], np.zeros(n), True)
            for row, n in zip(table, seeds.tolist(), strict=True)
        ]
        verdicts = judge(pairs, interim)
        assert [verdict.label in ("better", "worse") for verdict in verdicts] == differs.tolist()


def plan_of(
    results: dict[str, Sequence[Result]], margin: float | None = None, time: str | None = None
) -> tuple[Plan, dict[str, Outcome]]:
    dataset, found = dataset_of(results, margin=margin)
    recipe = Recipe.validated(
        {"compare": {"until_settled": {"max_seeds": INTERIM.last, "time": time}}}, "a test"
    )
    return Plan(
        "x", (dataset,), tuple(range(INTERIM.last)), recipe.compare or CompareSettings(), INTERIM
    ), found


def settle(
    results: dict[str, Sequence[Result]],
    known: int = 0,
    margin: float | None = None,
    time: str | None = None,
) -> tuple[dict[str, int], list[str]]:
    """Runs a comparison with given results; returns runs of each encoding, and their order."""
    plan, truth = plan_of(results, margin, time)
    found = {
        run.run_id: truth[run.run_id] if run.seed < known else Outcome("missing")
        for run in plan.runs
    }
    order = []
    while coming := next_runs(plan, found).runs:
        for run in coming:
            assert not found[run.run_id].over
            found[run.run_id] = truth[run.run_id]
            order.append(f"{run.encoding} {run.seed}")
    rows = make_table(begun_part(plan, found), found).datasets[0].rows
    return {row.encoding: row.planned for row in rows}, order


NOISE = np.array([0.004, -0.003, 0.001, -0.002, 0.003, -0.003])
AXIAL = [0.30, 0.31, 0.29, 0.30, 0.32, 0.31]
FAR = (np.array(AXIAL) + 0.2 + NOISE / 10).tolist()
NEAR = (np.array(AXIAL) + 0.006 + NOISE).tolist()


def test_a_settled_comparison_gets_no_more_seeds() -> None:
    counts, order = settle({"axial": AXIAL, "far": FAR, "near": NEAR})
    assert counts["far"] == 3
    assert counts["near"] == counts["axial"] > 3
    assert order[:9] == [f"{name} {seed}" for seed in range(3) for name in ("axial", "far", "near")]


def test_a_futile_comparison_stops() -> None:
    # differences of nearly zero: in a table of six, no number of seeds up to 6 would show them
    same = np.array(AXIAL) + np.array([0.001, -0.001, 0.0, 0.001, -0.001, 0.0])
    results = {"axial": AXIAL} | {f"same{number}": same.tolist() for number in range(6)}
    counts, _ = settle(results)
    assert max(counts.values()) < INTERIM.last
    counts, _ = settle(results, margin=0.05)
    assert set(counts.values()) == {3}


@given(st.integers(0, 6))
@settings(max_examples=7)
def test_an_interrupted_comparison_ends_as_an_uninterrupted_one(known: int) -> None:
    results: dict[str, Sequence[Result]] = {"axial": AXIAL, "far": FAR, "near": NEAR}
    whole, order = settle(results)
    plan, truth = plan_of(results)
    found = {run.run_id: Outcome("missing") for run in plan.runs}
    done = set(order[: 2 * known])
    for run in plan.runs:
        if f"{run.encoding} {run.seed}" in done:
            found[run.run_id] = truth[run.run_id]
    while coming := next_runs(plan, found).runs:
        found |= {run.run_id: truth[run.run_id] for run in coming}
    rows = make_table(begun_part(plan, found), found).datasets[0].rows
    assert {row.encoding: row.planned for row in rows} == whole


def test_limited_time_goes_to_the_closest_verdict() -> None:
    # every run takes 12.3 seconds; three seeds of three encodings are 110.7
    results: dict[str, Sequence[Result]] = {
        "axial": AXIAL,
        "near": (np.array(AXIAL) + 0.004 + NOISE).tolist(),
        "nearer": (np.array(AXIAL) + 0.012 + NOISE).tolist(),
    }
    counts, _ = settle(results, time="140s")
    assert counts == {"axial": 4, "near": 3, "nearer": 4}
    plan, found = plan_of(results, time="140s")
    few = {
        key: one if key.endswith(("/0", "/1", "/2")) else Outcome("missing")
        for key, one in found.items()
    }
    assert next_runs(replace(plan), few).runs
    plan, _ = plan_of(results, time="100s")
    assert next_runs(plan, few).out_of_time


def test_a_diverged_seed_is_skipped_and_a_failed_one_stops() -> None:
    results: dict[str, Sequence[Result]] = {
        "axial": AXIAL,
        "near": [*NEAR[:3], "diverged", *NEAR[4:]],
    }
    counts, _ = settle(results)
    assert counts["near"] > 4
    plan, found = plan_of({"axial": AXIAL, "near": [*NEAR[:3], "failed", *NEAR[4:]]})
    later = {key: Outcome("missing") if key[-1] in "45" else one for key, one in found.items()}
    failed = "pointing/near/3"
    assert [run.run_id for run in next_runs(plan, later).runs] == [failed]
    assert not next_runs(plan, later, {failed}).runs


def test_seeds_behind_a_gap_are_not_analysed() -> None:
    plan, found = plan_of({"axial": AXIAL, "near": NEAR})
    gap = found | {"pointing/near/3": outcome(plan.runs[0], "missing", "top1")}
    verdict = make_table(plan, gap).datasets[0].rows[1].verdict
    assert verdict is not None
    assert verdict.estimate is not None
    assert verdict.estimate.n == 3
    assert [analysis.n for analysis in verdict.interim] == [3]


def test_intervals_of_settled_comparisons_are_wider() -> None:
    verdict = judge([pair_of(FAR, AXIAL, True)], INTERIM)[0]
    assert verdict.label == "better"
    assert verdict.estimate is not None
    expected = stats.ttest_rel(FAR, AXIAL).confidence_interval(0.965)
    assert (verdict.estimate.low, verdict.estimate.high) == pytest.approx(tuple(expected))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("liere_cli.launchers.local.train_run", train)
    return tmp_path


def liere(*arguments: str) -> Invoked:
    tiny = ("--set=model.layers=1", "--set=model.dim=32", "--set=model.heads=2")
    own = ["--data=pointing", "--name=compare", *tiny, *arguments]
    command = ["compare", *last_of_each(own)]
    return CliRunner().invoke(app, command, env={"COLUMNS": "120"})


SETTLED = ("--encodings=axial,rope-mixed,liere", "--seeds=3", "--until-settled")


def test_the_command_adds_seeds_and_reports_interim_analyses(here: Path) -> None:
    result = liere(*SETTLED, "--max-seeds=5", "--format=json")
    assert result.exit_code == 0, result.output
    assert "then more seeds where they are needed, 5 at most" in result.stderr
    content = json.loads(result.stdout)
    rows = {row["encoding"]: row for row in content["tables"][0]["rows"]}
    assert rows["liere"]["verdict"] == "better"
    assert list(rows["liere"]["interim_p"]) == ["3"]
    assert rows["rope-mixed"]["planned"] == 5
    assert rows["rope-mixed"]["interim_p_corrected"]["3"] >= rows["rope-mixed"]["interim_p"]["3"]
    assert content["interim_analyses"] == [3, 4, 5]
    assert "spending2(3..5)" in content["signature"]


def test_a_settled_comparison_repeats_itself(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = liere(*SETTLED, "--max-seeds=5")
    assert "3-5" in first.stdout
    assert "with an interim analysis at every number of seeds from 3 to 5" in " ".join(
        first.stdout.split()
    )
    monkeypatch.setattr("liere_cli.launchers.local.train_run", None)
    assert liere(*SETTLED, "--max-seeds=5").stdout == first.stdout
    written = CliRunner().invoke(
        app, ["compare", "outputs/compare/comparison.yaml"], env={"COLUMNS": "120"}
    )
    assert written.stdout == first.stdout


def test_its_runs_without_the_recipe_come_with_a_warning(here: Path) -> None:
    liere(*SETTLED, "--max-seeds=4")
    alone = CliRunner().invoke(app, ["compare", "outputs/compare"], env={"COLUMNS": "120"})
    assert alone.exit_code == 0
    assert "'liere compare outputs/compare/comparison.yaml' does" in alone.stderr
    liere("--encodings=axial,liere", "--seeds=2", "--set=experiment=fixed")
    assert "warning" not in CliRunner().invoke(app, ["compare", "outputs/fixed"]).stderr


def test_time_ends_a_comparison(here: Path) -> None:
    # every run takes 2 seconds
    result = liere(*SETTLED, "--time=19s")
    assert result.exit_code == 0, result.output
    assert "the time is up; 1 comparison not settled" in result.stderr
    assert "9/9" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--max-seeds=5"], ["--max-seeds 5", "--until-settled"]),
        (["--time=2h"], ["--time 2h", "--until-settled"]),
        (["--until-settled", "--seeds=1"], ["at least 2"]),
        (["--until-settled", "--max-seeds=2"], ["max_seeds", "3 seeds"]),
        (["--until-settled", "--time=2000steps"], ["time"]),
        (["--until-settled", "--max-seeds=1"], ["max_seeds"]),
    ],
)
def test_invalid_settings_give_one_line_errors(
    here: Path, arguments: list[str], parts: list[str]
) -> None:
    result = liere(*arguments)
    assert result.exit_code == 2, result.output
    for part in parts:
        assert part in result.stderr


def test_designs_have_at_most_ten_interim_analyses() -> None:
    assert all(design.interim is None or len(design.interim.sizes) <= 10 for design in DESIGNS)
