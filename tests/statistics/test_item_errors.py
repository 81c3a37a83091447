"""The error of a finite test set: variance components, clusters, and its effect on verdicts."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS, WLS

from liere_cli.statistics import paired, power
from liere_cli.statistics.item_errors import (
    ItemDifferences,
    ItemError,
    clustered_error,
)
from liere_cli.statistics.student import Source, combined_p
from liere_cli.statistics.verdicts import Pair, judge


def test_clusters_equal_statsmodels() -> None:
    generator = np.random.default_rng(0)
    groups = generator.integers(0, 12, 200)
    differences = generator.integers(-1, 2, 200) + generator.normal(0, 0.3, 12)[groups]
    fit = OLS(differences, np.ones(200)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    ours = clustered_error(np.bincount(groups, weights=differences), np.bincount(groups))
    # statsmodels multiplies by (N - 1) / (N - K) = 1 here, for one parameter
    assert ours == pytest.approx(float(fit.bse[0]), rel=1e-9)


def test_weighted_windows_equal_statsmodels() -> None:
    generator = np.random.default_rng(1)
    weights = generator.integers(1, 9, 60).astype(float)
    bits = generator.normal(2, 0.3, 60)
    groups = np.arange(60) // 3
    fit = WLS(bits, np.ones(60), weights).fit(cov_type="cluster", cov_kwds={"groups": groups})
    sums, totals = np.bincount(groups, weights * bits), np.bincount(groups, weights)
    assert clustered_error(sums, totals) == pytest.approx(float(fit.bse[0]), rel=1e-9)


def test_single_item_clusters_equal_the_standard_error_of_a_mean() -> None:
    values = np.random.default_rng(2).normal(size=40)
    assert clustered_error(values, np.ones(40)) == pytest.approx(stats.sem(values))


def test_repeated_views_of_items_change_no_error() -> None:
    generator = np.random.default_rng(3)
    sums = generator.normal(0.1, 1, (4, 30))
    once = ItemDifferences(sums, np.ones(30)).test_set(4)
    views = ItemDifferences(15 * sums, np.full(30, 15.0)).test_set(4)
    assert once is not None
    assert views == ItemError(pytest.approx(once.error), 30)


def layout(
    generator: np.random.Generator, seeds: int, items: int, levels: tuple[float, float, float]
) -> np.ndarray:
    """Differences [n, N] with standard deviations over seeds, over items, and of the residuals."""
    over_seeds, over_items, rest = levels
    return np.asarray(
        over_seeds * generator.normal(size=(seeds, 1))
        + over_items * generator.normal(size=items)
        + rest * generator.normal(size=(seeds, items))
    )


def test_components_equal_a_two_way_analysis_of_variance() -> None:
    table = layout(np.random.default_rng(4), 5, 40, (0.3, 1.0, 0.8))
    seeds, items = table.shape
    mean_square_items = seeds * table.mean(axis=0).var(ddof=1)
    residuals = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    mean_square_rest = (residuals**2).sum() / ((seeds - 1) * (items - 1))
    component = (mean_square_items - mean_square_rest) / seeds
    result = ItemDifferences(table, np.ones(items)).test_set(seeds)
    assert result is not None
    assert result.error**2 == pytest.approx(component / items)


def test_noise_by_seed_and_item_is_counted_once() -> None:
    """Without a component of items alone, the spread over seeds is the whole uncertainty."""
    generator = np.random.default_rng(5)
    errors = []
    for _ in range(200):
        result = ItemDifferences(layout(generator, 5, 100, (0, 0, 1)), np.ones(100)).test_set(5)
        assert result is not None
        errors.append(result.error)
    assert np.median(errors) < 0.3 * (1 / np.sqrt(500))


@pytest.mark.parametrize("levels", [(0.1, 1.0, 1.0), (0.3, 1.0, 1.0), (0.0, 1.0, 0.3)])
def test_combined_intervals_cover_the_truth(levels: tuple[float, float, float]) -> None:
    """Over new seeds and new test items; intervals over seeds alone are too narrow."""
    generator = np.random.default_rng(6)
    covered, alone = [], []
    for _ in range(1500):
        table = layout(generator, 5, 60, levels)
        items = ItemDifferences(table, np.ones(60))
        scores, zeros = table.mean(axis=1), np.zeros(5)
        for coverage, test_set in ((covered, items.test_set(5)), (alone, None)):
            result = paired.paired(scores, zeros, test_set)
            assert result is not None
            assert result.low is not None
            assert result.high is not None
            coverage.append(result.low <= 0 <= result.high)
    assert 0.94 <= np.mean(covered) <= 0.985
    assert np.mean(alone) < 0.94


@pytest.mark.parametrize("mean", [5e-324, 1e-300, 1e-17])
def test_a_mean_of_rounding_errors_has_p_one(mean: float) -> None:
    sources = [Source(0.5, 3), Source(1.0, 1)]
    assert combined_p(mean, sources) == pytest.approx(1.0)


@given(
    st.integers(2, 12),
    st.floats(1e-4, 1.0),
    st.floats(1e-4, 1.0),
    st.floats(-1.0, 1.0),
    st.integers(2, 500),
)
@example(n=4, std=1.0, error=1.0, shift=0.0, clusters=2)  # the mean is a rounding error
def test_p_is_the_level_whose_interval_ends_at_zero(
    n: int, std: float, error: float, shift: float, clusters: int
) -> None:
    base = np.linspace(-1, 1, n)
    values = shift + std * base / base.std(ddof=1)
    test_set = ItemError(error, clusters)
    result = paired.paired(values, np.zeros(n), test_set)
    alone = paired.paired(values, np.zeros(n))
    assert result is not None
    assert alone is not None
    assert result.p is not None
    assert alone.p is not None
    assert result.p >= alone.p - 1e-12
    if 1e-9 < result.p < 1:
        edge = paired.paired(values, np.zeros(n), test_set, 1 - result.p)
        assert edge is not None
        assert edge.low is not None
        assert edge.high is not None
        assert min(abs(edge.low), abs(edge.high)) == pytest.approx(0, abs=1e-6)


def test_a_large_test_set_adds_no_error() -> None:
    values, zeros = [0.01, 0.02, 0.015], [0.0] * 3
    result = paired.paired(values, zeros, ItemError(1e-9, 10_000))
    assert result is not None
    assert result.p == pytest.approx(float(stats.ttest_rel(values, zeros).pvalue), rel=1e-4)


def test_a_small_test_set_may_need_more_seeds_than_any() -> None:
    test_set = ItemError(0.01, 100)
    assert power.seeds_needed(0.01, 0.001, test_set=test_set) is None
    with_items = power.seeds_needed(0.04, 0.02, test_set=test_set)
    alone = power.seeds_needed(0.04, 0.02)
    assert with_items is not None
    assert alone is not None
    assert with_items >= alone


def test_equivalence_includes_the_error_of_the_test_set() -> None:
    values, zeros = [0.001, -0.001, 0.0005, 0.0], [0.0] * 4
    alone = paired.equivalence_p(values, zeros, 0.01)
    both = paired.equivalence_p(values, zeros, 0.01, ItemError(0.004, 50))
    assert alone is not None
    assert both is not None
    assert both > alone


def test_a_verdict_uses_both_sources_of_error() -> None:
    sums = np.array([[3.0, -1.0, 2.0, 0.0]] * 3)
    items = ItemDifferences(sums, np.full(4, 10.0))
    values = [0.11, 0.10, 0.09]
    alone, both = (judge([Pair(values, [0.0] * 3, True, items=each)])[0] for each in (None, items))
    assert alone.label == "better"
    assert both.label == "undecided"
    assert both.seeds_needed is None
