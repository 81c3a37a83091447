"""Verdicts: their error rates on simulated truth, their symmetries, and what withholds them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from liere_cli.statistics.correction import (
    FALSE_DISCOVERY_RATE,
    HOLM,
    benjamini_hochberg,
)
from liere_cli.statistics.scores import Pair, Scores, highest_failure_rate, pair_of
from liere_cli.statistics.sequential import InterimAnalyses
from liere_cli.statistics.spread import moderated, pooled_spread, pooled_variance, prior_freedom
from liere_cli.statistics.verdicts import MIN_SEEDS, Looks, Verdict, judge


def simulated(
    generator: np.random.Generator, n: int, effect: float, margin: float | None = None
) -> Pair:
    """Two encodings whose differences over seeds have standard deviation 0.01."""
    shared = generator.normal(0.5, 0.03, n)
    noise = generator.normal(0, 0.01 / 2**0.5, (2, n))
    return pair_of(shared + noise[0] + effect, shared + noise[1], True, margin)


def table(
    values: np.ndarray, failed: np.ndarray | None = None, higher_is_better: bool = True
) -> list[Pair]:
    """Every row of scores [E, n] against the first."""
    lost = np.zeros(values.shape, dtype=bool) if failed is None else failed
    scores = Scores(np.where(lost, np.nan, values), lost, higher_is_better)
    return [Pair(scores, row, 0) for row in range(1, len(values))]


@pytest.mark.parametrize("n", [5, 10])
def test_tables_without_any_difference_are_rarely_wrong(n: int) -> None:
    generator = np.random.default_rng(n)
    tables = 1000
    wrong = sum(
        any(verdict.label in ("better", "worse") for verdict in judge(table(values)))
        for values in generator.standard_normal((tables, 5, n))
    )
    # 5% and three Monte Carlo standard errors
    assert wrong / tables <= 0.05 + 3 * (0.05 * 0.95 / tables) ** 0.5


def test_raw_intervals_of_two_encodings_cover_the_truth() -> None:
    generator = np.random.default_rng(1)
    verdicts = judge([simulated(generator, 5, 0.02) for _ in range(3000)])
    estimates = [verdict.estimate for verdict in verdicts if verdict.estimate]
    covered = np.mean([each.low <= 0.02 <= each.high for each in estimates])  # type: ignore[operator]
    assert covered == pytest.approx(0.95, abs=0.012)


def test_a_true_difference_at_the_margin_is_rarely_called_equivalent() -> None:
    generator = np.random.default_rng(2)
    labels = [judge([simulated(generator, 10, 0.01, margin=0.01)])[0].label for _ in range(2000)]
    assert labels.count("equivalent") / 2000 <= 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5


def test_large_effects_are_found_and_have_a_direction() -> None:
    generator = np.random.default_rng(3)
    higher, lower = simulated(generator, 5, 0.2), simulated(generator, 5, -0.2)
    assert [verdict.label for verdict in judge([higher, lower])] == ["better", "worse"]
    fewer_bits = pair_of(higher.values(), higher.baseline_values(), higher_is_better=False)
    assert judge([fewer_bits])[0].label == "worse"


@given(st.integers(0, 10_000), st.floats(-0.1, 0.1), st.integers(5, 12))
def test_swapping_encoding_and_baseline_swaps_the_label(seed: int, effect: float, n: int) -> None:
    pair = simulated(np.random.default_rng(seed), n, effect, margin=0.02)
    swapped = pair_of(pair.baseline_values(), pair.values(), True, 0.02)
    opposite = {"better": "worse", "worse": "better"}
    label, reverse = judge([pair])[0].label, judge([swapped])[0].label
    assert label is not None
    assert reverse == opposite.get(label, label)


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_more_comparisons_never_make_a_verdict_easier(seed: int, others: int) -> None:
    generator = np.random.default_rng(seed)
    pair = simulated(generator, 5, 0.03)
    alone = judge([pair])[0].p_corrected
    together = judge([pair, *(simulated(generator, 5, 0.0) for _ in range(others))])[0].p_corrected
    assert alone is not None
    assert together is not None
    assert together >= alone - 1e-12


SCORES = st.integers(0, 10_000).flatmap(
    lambda seed: st.tuples(st.just(seed), st.integers(2, 6), st.integers(5, 9))
)


@given(SCORES, st.floats(-3, 3))
def test_intervals_agree_with_labels(shape: tuple[int, int, int], effect: float) -> None:
    seed, encodings, n = shape
    values = np.random.default_rng(seed).standard_normal((encodings, n))
    values[1:] += effect * np.arange(encodings - 1)[:, None]
    for verdict in judge(table(values)):
        assert verdict.low is not None
        assert verdict.high is not None
        assert verdict.estimate is not None
        assert verdict.low <= verdict.estimate.difference <= verdict.high
        found = verdict.label in ("better", "worse")
        assert found == (not verdict.low <= 0 <= verdict.high)
        assert found == (verdict.p_corrected is not None and verdict.p_corrected <= 0.05)


@given(SCORES, st.floats(0.01, 100), st.floats(-100, 100), st.randoms())
def test_units_order_and_names_of_seeds_change_no_verdict(
    shape: tuple[int, int, int], scale: float, shift: float, random: np.random.Generator
) -> None:
    seed, encodings, n = shape
    values = np.random.default_rng(seed).standard_normal((encodings, n))
    values[1] += 2
    order = list(range(n))
    random.shuffle(order)  # type: ignore[arg-type]
    expected = judge(table(values))
    for other in (judge(table(shift + scale * values)), judge(table(values[:, order]))):
        for mine, theirs in zip(expected, other, strict=True):
            assert theirs.p_corrected == pytest.approx(mine.p_corrected, rel=1e-6)
            assert theirs.label == mine.label


def test_the_moderated_t_test_equals_limma_by_hand() -> None:
    """Smyth 2004, equations 5 to 7, with d0 and s0 given: an example computed step by step."""
    values = np.array(
        [
            [10.0, 11.0, 12.0, 13.0, 14.0],
            [11.0, 12.5, 13.0, 13.5, 15.0],
            [10.0, 10.0, 13.0, 12.0, 15.0],
            [12.0, 11.0, 12.0, 14.0, 13.0],
            [10.5, 11.0, 12.5, 12.5, 14.5],
        ]
    )
    differences = values[1] - values[0]
    mean, own = differences.mean(), differences.var(ddof=1)
    residuals = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    prior = 2 * (residuals**2).sum() / 16  # 4 x 4 degrees of freedom
    posterior = (2 * prior + 4 * own) / 6
    expected = 2 * stats.t.sf(abs(mean) / (posterior / 5) ** 0.5, 6)
    verdict = judge(table(values))[0]
    assert verdict.estimate is not None
    assert verdict.estimate.p == pytest.approx(expected, rel=1e-12)
    assert verdict.p_own == pytest.approx(stats.ttest_rel(values[1], values[0]).pvalue)
    assert float(moderated(own, prior, 5, 2.0, False)) == pytest.approx(posterior)


def test_two_encodings_have_the_paired_t_test() -> None:
    values = np.random.default_rng(0).standard_normal((2, 6))
    verdict = judge(table(values))[0]
    assert verdict.estimate is not None
    assert verdict.estimate.p == pytest.approx(stats.ttest_rel(values[1], values[0]).pvalue)
    assert verdict.estimate.spread is not None
    assert verdict.estimate.spread.pooled is None


@given(st.integers(0, 10_000), st.integers(3, 6), st.integers(3, 8))
def test_an_incomplete_layout_equals_least_squares(seed: int, encodings: int, n: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.standard_normal((encodings, n)) + generator.standard_normal((encodings, 1))
    scores[generator.random(scores.shape) < 0.25] = np.nan
    pooled = pooled_spread(scores)
    kept = scores[np.isfinite(scores).sum(1) >= 2]
    if len(kept) < 3:
        assert pooled is None
        return
    rows, columns = np.nonzero(np.isfinite(kept))
    design = np.zeros((rows.size, sum(kept.shape)))
    design[np.arange(rows.size), rows] = design[np.arange(rows.size), len(kept) + columns] = 1
    observed = kept[rows, columns]
    solution, _, rank, _ = np.linalg.lstsq(design, observed, rcond=None)
    freedom = rows.size - rank
    expected = 2 * ((observed - design @ solution) ** 2).sum() / max(freedom, 1)
    assert pooled is not None
    assert pooled.variance == pytest.approx(expected, abs=1e-9)
    assert pooled.prior == pytest.approx(prior_freedom(freedom, n))
    if np.isfinite(kept).all():
        assert pooled.variance == pytest.approx(float(pooled_variance(kept)))


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 3), st.floats(0, 4))
def test_a_failed_seed_never_makes_an_encoding_better(
    seed: int, failures: int, effect: float
) -> None:
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((4, 8))
    values[1] += effect
    failed = np.zeros(values.shape, dtype=bool)
    before = judge(table(values[:, : 8 - failures]))[0]
    failed[1, 8 - failures :] = True
    after = judge(table(values, failed))[0]
    assert before.label == "better" or after.label != "better"


def test_diverged_seeds_withhold_the_verdict_that_they_explain() -> None:
    """An encoding whose bad seeds diverge looks better at the seeds that are left."""
    generator = np.random.default_rng(0)
    values = generator.normal(0.5, 0.01, (3, 20))
    values[1] = np.sort(generator.normal(0.5, 0.01, 20))
    failed = np.zeros(values.shape, dtype=bool)
    failed[1, :12] = True
    verdict = judge(table(values, failed))[0]
    assert verdict.estimate is not None
    assert verdict.estimate.n == 8
    assert verdict.estimate.p is not None
    assert verdict.estimate.p < 0.01
    assert verdict.p_failures == 1.0
    assert verdict.label == "undecided"


@pytest.mark.parametrize(("failed", "runs"), [(0, 5), (1, 5), (3, 10), (5, 5)])
def test_the_highest_failure_rate_is_clopper_pearson(failed: int, runs: int) -> None:
    expected = stats.binomtest(failed, runs, alternative="less").proportion_ci(0.95).high
    assert highest_failure_rate(failed, runs) == pytest.approx(expected)


def test_comparisons_that_only_failures_prevent_count_in_the_correction() -> None:
    generator = np.random.default_rng(4)
    values = generator.standard_normal((5, 6))
    failed = np.zeros(values.shape, dtype=bool)
    failed[2:, :3] = True
    first, *others = judge(table(values, failed))
    assert [verdict.label for verdict in others] == [None] * 3
    assert first.estimate is not None
    assert first.p_corrected == pytest.approx(min(4 * (first.estimate.p or 0), 1))


def test_a_far_run_of_any_encoding_raises_the_spread_of_all() -> None:
    values = np.random.default_rng(5).normal(0, 0.1, (5, 10))
    values[1] += 3
    calm = judge(table(values))[0]
    values[4, 3] = -30
    wary = judge(table(values))[0]
    assert calm.label == "better"
    assert wary.label == "undecided"
    assert wary.estimate is not None
    assert wary.estimate.spread is not None
    assert wary.estimate.spread.far


@pytest.mark.parametrize("n", [1, 2, 4, 5])
def test_few_seeds_give_numbers_without_a_verdict(n: int) -> None:
    verdict = judge([simulated(np.random.default_rng(6), n, 0.5)])[0]
    assert verdict.estimate is not None
    assert verdict.estimate.difference == pytest.approx(0.5, abs=0.05)
    assert (verdict.low is not None) == (n > 1)
    assert verdict.label == (None if n < MIN_SEEDS else "better")
    assert (verdict.p_corrected is None) == (n < MIN_SEEDS)


def test_undecided_states_what_is_possible_and_seeds_needed() -> None:
    values = [0.51, 0.52, 0.50, 0.51, 0.50], [0.50, 0.50, 0.505, 0.51, 0.51]
    verdict = judge([pair_of(*values)])[0]
    assert verdict.label == "undecided"
    assert verdict.estimate is not None
    assert verdict.detectable is not None
    assert verdict.bound is not None
    assert min(verdict.detectable, verdict.bound) > abs(verdict.estimate.difference)
    assert verdict.seeds_needed is not None
    assert verdict.seeds_range is not None
    fewest, most = verdict.seeds_range
    assert 5 < fewest <= verdict.seeds_needed
    assert most is None or verdict.seeds_needed <= most


@pytest.mark.parametrize(
    ("seeds", "label"), [(5, "undecided"), (9, "undecided"), (10, "equivalent")]
)
def test_equal_runs_are_equivalent_only_with_a_margin_and_seeds(seeds: int, label: str) -> None:
    same = [0.25] * seeds
    pairs = [pair_of(same, same), pair_of(same, same, margin=0.01)]
    assert [verdict.label for verdict in judge(pairs)] == ["undecided", label]


def test_equal_encodings_lie_within_the_margin() -> None:
    generator = np.random.default_rng(7)
    verdict = judge([simulated(generator, 12, 0.0, margin=0.03)])[0]
    assert verdict.label == "equivalent"
    assert verdict.low is not None
    assert verdict.high is not None
    assert -0.03 <= verdict.low <= verdict.high <= 0.03


def test_earlier_tables_are_corrected_for() -> None:
    pair = simulated(np.random.default_rng(8), 10, 0.01)
    first = judge([pair])[0].p_corrected
    again = judge([pair], looks=Looks(2, 12))[0]
    assert first is not None
    assert again.p_corrected == pytest.approx(min(first * 4 * 12, 1.0))
    assert again.low is not None
    assert again.high is not None
    assert (again.label in ("better", "worse")) == (not again.low <= 0 <= again.high)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_the_false_discovery_rate_equals_statsmodels(p_values: list[float]) -> None:
    expected = multipletests(p_values, method="fdr_bh")[1]
    assert benjamini_hochberg(p_values) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1) | st.just(np.nan), min_size=1, max_size=12), st.integers(0, 20))
def test_levels_exclude_zero_exactly_where_p_is_small(p_values: list[float], tests: int) -> None:
    p = np.array(p_values)
    for correction in (HOLM, FALSE_DISCOVERY_RATE):
        corrected = correction.correct(p, tests)
        levels = correction.levels(p, corrected, tests)
        for raw, value, level in zip(p, corrected, levels, strict=True):
            if not np.isnan(raw) and abs(raw - level) > 1e-12:
                assert (raw <= level) == (value <= 0.05)


def test_interim_intervals_agree_with_labels() -> None:
    interim = InterimAnalyses(5, 12)
    generator = np.random.default_rng(9)
    for effect in (0.0, 0.01, 0.03, 0.1):
        verdict: Verdict = judge([simulated(generator, 12, effect)], interim)[0]
        assert [analysis.n for analysis in verdict.interim] == list(range(5, 13))
        assert verdict.low is not None
        assert verdict.high is not None
        assert (verdict.label == "undecided") == (verdict.low <= 0 <= verdict.high)


def test_seeds_outside_the_analysis_are_not_used() -> None:
    pair = simulated(np.random.default_rng(10), 9, 0.1)
    verdict = judge([replace(pair, seeds=(0, 1, 2, 3, 4, 5))])[0]
    assert verdict.estimate is not None
    assert verdict.estimate.n == 6


def test_one_shared_seed_gives_a_difference_but_no_verdict() -> None:
    single, empty = judge([pair_of([0.5], [0.25], True, 0.01), pair_of([], [], True)])
    assert single.label is None
    assert single.estimate is not None
    assert single.estimate.difference == 0.25
    assert empty.estimate is None


def test_no_pairs_give_no_verdicts() -> None:
    assert judge([]) == []
