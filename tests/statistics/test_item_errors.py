"""The error of a finite test set: variance components, clusters, and its effect on verdicts."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS

from liere_cli.statistics import paired, power
from liere_cli.statistics.item_errors import (
    ItemDifferences,
    ItemError,
    adjacent_blocks,
    degrees_of_freedom,
    satterthwaite_freedom,
)
from liere_cli.statistics.scores import pair_of
from liere_cli.statistics.student import Source, combined_p
from liere_cli.statistics.verdicts import judge


def error_of(sums: np.ndarray, weights: np.ndarray) -> ItemError:
    """The test set's error of differences that are the same at every seed."""
    result = ItemDifferences(np.tile(sums, (2, 1)), weights).test_set(2)
    assert result is not None
    return result


def test_equal_clusters_equal_statsmodels() -> None:
    """Where clusters weigh the same, the leverage correction is that of statsmodels, G / (G - 1)"""
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 15)
    differences = generator.integers(-1, 2, 180) + generator.normal(0, 0.3, 12)[groups]
    fit = OLS(differences, np.ones(180)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    ours = error_of(np.bincount(groups, weights=differences), np.bincount(groups).astype(float))
    # statsmodels multiplies by (N - 1) / (N - K) = 1 here, for one parameter
    assert ours.error == pytest.approx(float(fit.bse[0]), rel=1e-9)
    # of 12 values with Laplace's tails
    assert ours.freedom == pytest.approx(2 / (2 / 11 + 3 / 12))


def test_single_item_clusters_equal_the_standard_error_of_a_mean() -> None:
    values = np.random.default_rng(2).normal(size=40)
    assert error_of(values, np.ones(40)).error == pytest.approx(stats.sem(values))


@given(st.lists(st.floats(0.05, 20), min_size=2, max_size=12), st.integers(0, 100))
def test_unequal_clusters_equal_dense_matrices(weights: list[float], seed: int) -> None:
    """CR2 and Satterthwaite's degrees of freedom from the matrices of Bell and McCaffrey (2002)."""
    w = np.array(weights)
    means = np.random.default_rng(seed).normal(size=w.size)
    design, weighting = np.ones((w.size, 1)), np.diag(w)
    bread = np.linalg.inv(design.T @ weighting @ design)
    residual_maker = np.eye(w.size) - design @ bread @ design.T @ weighting
    # the working covariance of means is I, so that of residuals is M M'; each is scaled to 1
    adjusted = residual_maker / np.sqrt(np.diag(residual_maker @ residual_maker.T))[:, None]
    rows = (bread @ design.T @ weighting).ravel()[:, None] * adjusted
    form = rows.T @ rows
    ours = error_of(w * means, w)
    assert ours.error**2 == pytest.approx(means @ form @ means, rel=1e-6, abs=1e-12)
    freedom = np.trace(form) ** 2 / np.trace(form @ form)
    assert satterthwaite_freedom(w / w.sum()) == pytest.approx(freedom, rel=1e-6)
    assert 1 <= ours.freedom <= max(freedom, 1) * (1 + 1e-6)
    # unbiased under the working model
    assert np.trace(form) == pytest.approx(np.sum((w / w.sum()) ** 2))


@given(st.lists(st.floats(0.05, 20), min_size=2, max_size=30))
def test_degrees_of_freedom_lie_between_one_and_those_of_equal_clusters(
    weights: list[float],
) -> None:
    freedom = satterthwaite_freedom(np.array(weights) / np.sum(weights))
    assert 1 <= freedom <= len(weights) - 1


@pytest.mark.parametrize("clusters", [5, 20, 100])
def test_tails_of_clusters_spread_their_variance_as_the_limit_assumes(clusters: int) -> None:
    variances = np.random.default_rng(0).laplace(size=(20_000, clusters)).var(axis=1, ddof=1)
    freedom = 2 / (variances.std() / variances.mean()) ** 2
    shares = np.full(clusters, 1 / clusters)
    assert degrees_of_freedom(shares) == pytest.approx(freedom, rel=0.1)


def test_repeated_views_of_items_change_no_error() -> None:
    generator = np.random.default_rng(3)
    sums = generator.normal(0.1, 1, (4, 30))
    once = ItemDifferences(sums, np.ones(30)).test_set(4)
    views = ItemDifferences(15 * sums, np.full(30, 15.0)).test_set(4)
    assert once is not None
    assert views == ItemError(pytest.approx(once.error), 30, pytest.approx(2 / (2 / 29 + 3 / 30)))


@given(st.integers(0, 100), st.floats(-100, 100))
def test_what_shifts_a_whole_seed_is_no_error_of_the_test_set(seed: int, shift: float) -> None:
    generator = np.random.default_rng(seed)
    weights = generator.uniform(1, 5, 12)
    sums = weights * generator.normal(size=(3, 12))
    shifted = sums + weights * np.array([[shift], [0], [-shift]])
    plain, moved = (ItemDifferences(each, weights).test_set(3) for each in (sums, shifted))
    assert plain is not None
    assert moved is not None
    assert moved.error == pytest.approx(plain.error, abs=1e-6)


@given(st.integers(0, 20_000))
def test_blocks_of_windows_are_contiguous_and_nearly_equal(windows: int) -> None:
    blocks = adjacent_blocks(windows)
    assert blocks.size == windows
    if windows < 2:
        return
    assert set(np.diff(blocks)) <= {0, 1}
    sizes = np.bincount(blocks)
    assert sizes.size >= 2
    assert sizes.max() - sizes.min() <= 1
    if windows >= 100:
        assert 1.5 * windows ** (1 / 3) <= sizes.mean() <= 2.5 * windows ** (1 / 3)


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
    test_set = ItemError(error, clusters, clusters - 1)
    result = paired.paired(values, np.zeros(n), test_set)
    alone = paired.paired(values, np.zeros(n))
    assert result is not None
    assert alone is not None
    assert result.p is not None
    assert alone.p is not None
    assert result.p >= alone.p - 1e-12
    if 1e-9 < result.p < 1:
        edge = result.interval(result.p)
        assert edge is not None
        assert min(map(abs, edge)) == pytest.approx(0, abs=1e-6)


def test_a_large_test_set_adds_no_error() -> None:
    values, zeros = [0.01, 0.02, 0.015], [0.0] * 3
    result = paired.paired(values, zeros, ItemError(1e-9, 10_000, 9_999))
    assert result is not None
    assert result.p == pytest.approx(float(stats.ttest_rel(values, zeros).pvalue), rel=1e-4)


def test_a_small_test_set_may_need_more_seeds_than_any() -> None:
    test_set = ItemError(0.01, 100, 99)
    assert power.seeds_needed(0.01, 0.001, test_set=test_set) is None
    with_items = power.seeds_needed(0.04, 0.02, test_set=test_set)
    alone = power.seeds_needed(0.04, 0.02)
    assert with_items is not None
    assert alone is not None
    assert with_items >= alone


def test_equivalence_includes_the_error_of_the_test_set() -> None:
    values, zeros = [0.001, -0.001, 0.0005, 0.0, 0.0] * 2, [0.0] * 10
    alone, both = (
        paired.equivalence_p(estimate, 0.01)
        for test_set in (None, ItemError(0.004, 50, 49))
        if (estimate := paired.paired(values, zeros, test_set))
    )
    assert alone is not None
    assert both is not None
    assert both > alone


def test_a_verdict_uses_both_sources_of_error() -> None:
    sums = np.array([[3.0, -1.0, 2.0, 0.0]] * 5)
    items = ItemDifferences(sums, np.full(4, 10.0))
    values = [0.11, 0.10, 0.09, 0.10, 0.10]
    alone, both = (
        judge([pair_of(values, [0.0] * 5, True, items=each)])[0] for each in (None, items)
    )
    assert alone.label == "better"
    assert both.label == "undecided"
    assert both.seeds_needed is None
