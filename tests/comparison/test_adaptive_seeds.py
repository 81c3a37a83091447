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

from liere_cli.bench.verdicts import calibration
from liere_cli.bench.verdicts.calibration import DESIGNS, Design, world_rows
from liere_cli.bench.verdicts.judging import judge_tables
from liere_cli.bench.verdicts.pairing import pairing_rows
from liere_cli.bench.verdicts.worlds import WORLDS
from liere_cli.cli.app import app
from liere_cli.comparison.adaptive_seeds import begun_part, next_runs
from liere_cli.comparison.tables.build import make_table
from liere_cli.config.compare import CompareSettings, SettleSettings
from liere_cli.config.recipe import Recipe
from liere_cli.planning.plan import Plan
from liere_cli.planning.progress import Outcome
from liere_cli.statistics.paired import EQUIVALENCE_SEEDS
from liere_cli.statistics.scores import Pair, Scores, pair_of
from liere_cli.statistics.sequential import InterimAnalyses
from liere_cli.statistics.verdicts import MIN_SEEDS, judge
from support.flags import last_of_each
from support.synthetic_runs import train
from support.synthetic_tables import Result, dataset_of, outcome

INTERIM = InterimAnalyses(5, 8)


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


@pytest.mark.parametrize(
    ("worlds", "designs"),
    [
        (("normal, correlation .5", "lognormal", "25 or 100%, ± 0.3"), DESIGNS),
        (("one bad seed in ten",), DESIGNS[:2]),
        (("worst 40% diverge",), DESIGNS[:1]),
    ],
)
def test_designs_keep_error_rate_and_coverage(
    worlds: tuple[str, ...], designs: tuple[Design, ...]
) -> None:
    chosen = [world for world in WORLDS if world.name in worlds]
    rows = world_rows(chosen, 400, designs=designs)
    assert [row["design"] for row in rows] == [design.name for design in designs] * len(worlds)
    for row in rows:
        assert row["equal"] == "laws"
        assert row["tables"] == 400
        assert row["wrong_rate"] <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5
        if "diverge" not in row["world"]:  # where the seeds that are left are better ones
            assert row["coverage"] >= 0.95


def test_moderated_tests_find_more_than_paired_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "DESIGNS", (DESIGNS[0], DESIGNS[-1]))
    monkeypatch.setattr(calibration, "EFFECTS", (1.5, 2.0, 3.0))
    rows = calibration.power_rows(1500)
    assert [row["tables"] for row in rows] == [300] * 6
    fixed, settled = rows[:3], rows[3:]
    for by_effect in (fixed, settled):
        powers = [row["power"] for row in by_effect]
        assert powers == sorted(powers)
        assert all(row["coverage"] >= 0.95 for row in by_effect)
    for row in fixed:
        assert row["power"] > row["power_paired"]
    power = {row["effect"]: row["power"] for row in fixed}
    assert power[2.0] >= 0.5 - 3 * (0.25 / 300) ** 0.5
    assert power[3.0] >= 0.9 - 3 * (0.09 / 300) ** 0.5
    assert all(MIN_SEEDS <= row["seeds"] <= 20 for row in settled)
    assert settled[-1]["seeds"] < 7


def test_shared_seeds_are_worth_more_with_a_higher_correlation() -> None:
    found = {row["correlation"]: row["power_paired"] for row in pairing_rows(800)}
    assert found[0.9] > found[0.6] > found[0.3] > found[0.0]


def test_simulated_power_equals_the_noncentral_t_distribution() -> None:
    generator = np.random.default_rng(0)
    scores = np.zeros((4000, 1, 2, 5))
    scores[:, 0, 1] = generator.standard_normal((4000, 5)) + 1.5
    judged = judge_tables(scores, truth=1.5)
    critical = stats.t.isf(0.025, 4)
    expected = stats.nct.sf(critical, 4, 1.5 * 5**0.5)
    assert judged.differs.mean() == pytest.approx(expected, abs=0.03)
    assert judged.covered.mean() == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    ("n", "interim"),
    [(5, None), (8, None), (18, None), (8, InterimAnalyses(5, 8)), (17, InterimAnalyses(5, 17))],
)
@pytest.mark.parametrize("encodings", [2, 4])
def test_simulated_tables_and_runs_get_the_same_verdicts(
    n: int, interim: InterimAnalyses | None, encodings: int
) -> None:
    generator = np.random.default_rng(n)
    scores = generator.standard_normal((40, 2, encodings, n))
    scores += np.array([0.0, 1.0, 2.0, 4.0])[:encodings, None]
    # a run far from the others in some tables
    scores[:5, 0, 1, 2] -= 40
    simulated = judge_tables(scores, interim)
    comparisons = [(data, row) for data in range(2) for row in range(1, encodings)]
    for index, table in enumerate(scores):
        of_data_sets = [Scores(part, np.zeros(part.shape, dtype=bool), True) for part in table]
        pairs = [
            Pair(of_data_sets[data], row, 0, seeds=tuple(range(seeds)))
            for (data, row), seeds in zip(comparisons, simulated.seeds[index], strict=True)
        ]
        verdicts = judge(pairs, interim)
        differs = [verdict.label in ("better", "worse") for verdict in verdicts]
        assert differs == simulated.differs[index].tolist()
        for verdict, covered in zip(verdicts, simulated.covered[index], strict=True):
            assert verdict.low is not None
            assert verdict.high is not None
            assert (verdict.low <= 0 <= verdict.high) == covered


def test_tables_without_failures_are_judged_alike_one_by_one() -> None:
    scores = np.random.default_rng(2).standard_normal((30, 2, 4, 6))
    scores[:, :, 2] += 2
    at_once = judge_tables(scores)
    one_by_one = judge_tables(scores, failed=np.zeros(scores.shape, dtype=bool))
    for name in ("differs", "covered", "seeds"):
        assert np.array_equal(getattr(at_once, name), getattr(one_by_one, name)), name
    assert one_by_one.difference == pytest.approx(at_once.difference)


def plan_of(
    results: dict[str, Sequence[Result]],
    margin: float | None = None,
    time: str | None = None,
    interim: InterimAnalyses = INTERIM,
) -> tuple[Plan, dict[str, Outcome]]:
    dataset, found = dataset_of(results, margin=margin)
    recipe = Recipe.validated(
        {"compare": {"until_settled": {"max_seeds": interim.last, "time": time}}}, "a test"
    )
    return Plan(
        "x", (dataset,), tuple(range(interim.last)), recipe.compare or CompareSettings(), interim
    ), found


def settle(
    results: dict[str, Sequence[Result]],
    known: int = 0,
    margin: float | None = None,
    time: str | None = None,
    interim: InterimAnalyses = INTERIM,
) -> tuple[dict[str, int], list[str]]:
    """Runs a comparison with given results; returns runs of each encoding, and their order."""
    plan, truth = plan_of(results, margin, time, interim)
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


NOISE = np.array([0.004, -0.003, 0.001, -0.002, 0.003, -0.003, 0.002, -0.002])
AXIAL = [0.30, 0.31, 0.29, 0.30, 0.32, 0.31, 0.30, 0.29]
FAR = (np.array(AXIAL) + 0.2 + NOISE / 10).tolist()
NEAR = (np.array(AXIAL) + 0.002 + NOISE).tolist()


def test_a_settled_comparison_gets_no_more_seeds() -> None:
    counts, order = settle({"axial": AXIAL, "far": FAR, "near": NEAR})
    assert counts["far"] == 5
    assert counts["near"] == counts["axial"] > 5
    names = ("axial", "far", "near")
    assert order[:15] == [f"{name} {seed}" for seed in range(5) for name in names]


def nearly_equal(seeds: int) -> dict[str, Sequence[Result]]:
    """Six encodings whose differences to the baseline are too small for any number of seeds."""
    generator = np.random.default_rng(0)
    baseline = np.resize(AXIAL, seeds)
    noise = 0.001 * generator.permuted(np.tile(np.resize([1, -1, 0], seeds), (6, 1)), axis=1)
    rows = {f"same{number}": (baseline + noise[number]).tolist() for number in range(6)}
    return {"axial": baseline.tolist(), **rows}


def test_a_futile_comparison_stops() -> None:
    counts, _ = settle(nearly_equal(8))
    assert max(counts.values()) < INTERIM.last


def test_equal_encodings_get_the_seeds_that_equivalence_takes() -> None:
    counts, _ = settle(nearly_equal(14), margin=0.05, interim=InterimAnalyses(5, 14))
    assert counts.pop("axial") >= EQUIVALENCE_SEEDS
    assert set(counts.values()) == {EQUIVALENCE_SEEDS}
    # where the last analysis comes before, no seed is spent on it
    assert settle(nearly_equal(8), margin=0.05) == settle(nearly_equal(8))


@given(st.integers(0, 8))
@settings(max_examples=9)
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
    # every run takes 12.3 seconds; five seeds of three encodings are 184.5
    results: dict[str, Sequence[Result]] = {
        "axial": AXIAL,
        "near": (np.array(AXIAL) + 0.001 + NOISE).tolist(),
        "nearer": (np.array(AXIAL) + 0.002 + NOISE).tolist(),
    }
    assert min(settle(results)[0].values()) > 5
    counts, _ = settle(results, time="215s")
    assert counts == {"axial": 6, "near": 5, "nearer": 6}
    plan, found = plan_of(results, time="215s")
    few = {
        key: outcome if int(key[-1]) < 5 else Outcome("missing") for key, outcome in found.items()
    }
    assert next_runs(replace(plan), few).runs
    plan, _ = plan_of(results, time="170s")
    assert next_runs(plan, few).out_of_time


def test_a_diverged_seed_is_skipped_and_a_failed_one_stops() -> None:
    results: dict[str, Sequence[Result]] = {
        "axial": AXIAL,
        "near": [*NEAR[:3], "diverged", *NEAR[4:]],
    }
    counts, _ = settle(results)
    assert counts["near"] > 5
    plan, found = plan_of({"axial": AXIAL, "near": [*NEAR[:5], "failed", *NEAR[6:]]})
    later = {key: Outcome("missing") if key[-1] in "67" else one for key, one in found.items()}
    failed = "pointing/near/5"
    assert [run.run_id for run in next_runs(plan, later).runs] == [failed]
    assert not next_runs(plan, later, {failed}).runs


def test_an_encoding_that_mostly_diverges_gets_no_more_seeds() -> None:
    diverging: list[Result] = ["diverged"] * 8
    assert settle({"axial": AXIAL, "bad": diverging})[0]["bad"] == 5
    # at this rate, eight seeds would not leave the five that a verdict needs
    assert settle({"axial": AXIAL, "bad": [*NEAR[:2], *diverging[2:]]})[0]["bad"] == 5


def test_seeds_behind_a_gap_are_not_analysed() -> None:
    plan, found = plan_of({"axial": AXIAL, "near": NEAR})
    gap = found | {"pointing/near/6": outcome(plan.runs[0], "missing", "top1")}
    verdict = make_table(plan, gap).datasets[0].rows[1].verdict
    assert verdict is not None
    assert verdict.estimate is not None
    assert verdict.estimate.n == 6
    assert [analysis.n for analysis in verdict.interim] == [5, 6]


def test_intervals_of_settled_comparisons_hold_at_every_analysis() -> None:
    far = (np.array(AXIAL) + 0.2 + NOISE).tolist()
    verdict = judge([pair_of(far, AXIAL, True)], INTERIM)[0]
    assert verdict.label == "better"
    assert verdict.estimate is not None
    raw = stats.ttest_rel(far, AXIAL).confidence_interval(0.95)
    assert (verdict.estimate.low, verdict.estimate.high) == pytest.approx(tuple(raw))
    each = [
        stats.ttest_rel(far[:n], AXIAL[:n]).confidence_interval(1 - 0.05 * INTERIM.share(n))
        for n in INTERIM.sizes
    ]
    low, high = max(interval.low for interval in each), min(interval.high for interval in each)
    assert (verdict.low, verdict.high) == pytest.approx((low, high))
    assert low < raw.low < raw.high < high


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
    result = liere(*SETTLED, "--max-seeds=7", "--format=json")
    assert result.exit_code == 0, result.output
    assert "then more seeds where they are needed, 7 at most" in result.stderr
    content = json.loads(result.stdout)
    rows = {row["encoding"]: row for row in content["tables"][0]["rows"]}
    assert rows["liere"]["verdict"] == "better"
    assert list(rows["liere"]["interim_p"]) == ["5"]
    assert rows["rope-mixed"]["planned"] == 7
    assert rows["rope-mixed"]["interim_p_corrected"]["5"] >= rows["rope-mixed"]["interim_p"]["5"]
    assert content["interim_analyses"] == [5, 6, 7]
    assert "spending2(5..7)" in content["signature"]


def test_a_settled_comparison_repeats_itself(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settled = (*SETTLED, "--max-seeds=7", "--verbose")
    first = liere(*settled)
    assert "5 to 7 seeds" in first.stdout
    assert "with an interim analysis at every number of seeds from 5 to 7" in " ".join(
        first.stdout.split()
    )
    monkeypatch.setattr("liere_cli.launchers.local.train_run", None)
    assert liere(*settled).stdout == first.stdout
    written = CliRunner().invoke(
        app, ["compare", "outputs/compare/comparison.yaml", "--verbose"], env={"COLUMNS": "120"}
    )
    assert written.stdout == first.stdout


def test_its_runs_without_the_recipe_come_with_a_warning(here: Path) -> None:
    liere(*SETTLED, "--max-seeds=6")
    alone = CliRunner().invoke(app, ["compare", "outputs/compare"], env={"COLUMNS": "120"})
    assert alone.exit_code == 0
    assert "'liere compare outputs/compare/comparison.yaml' does" in alone.stderr
    liere("--encodings=axial,liere", "--seeds=2", "--set=experiment=fixed")
    assert "warning" not in CliRunner().invoke(app, ["compare", "outputs/fixed"]).stderr


def test_time_ends_a_comparison(here: Path) -> None:
    # every run takes 2 seconds
    result = liere(*SETTLED, "--time=31s")
    assert result.exit_code == 0, result.output
    assert "the time is up; 1 comparison not settled" in result.stderr
    assert "15/15" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--max-seeds=5"], ["--max-seeds 5", "--until-settled"]),
        (["--time=2h"], ["--time 2h", "--until-settled"]),
        (["--until-settled", "--max-seeds=4"], ["max_seeds is 4", "5 seeds; raise it"]),
        (["--until-settled", "--seeds=1", "--max-seeds=4"], ["max_seeds is 4", "5 seeds"]),
        (["--until-settled", "--seeds=7", "--max-seeds=6"], ["7 seeds", "or give fewer seeds"]),
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


def test_designs_until_settled_are_those_of_the_default() -> None:
    interim = InterimAnalyses(MIN_SEEDS, SettleSettings().max_seeds)
    assert [design.interim for design in DESIGNS if design.interim] == [interim]
