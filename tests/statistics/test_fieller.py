"""Fieller's intervals of ratios, and differences of two ratios."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from liere_cli.statistics.ratios.fieller import CovarianceSource, RatioDifference, RatioOfMeans


def ratio(x: np.ndarray, y: np.ndarray, *more: CovarianceSource) -> RatioOfMeans:
    seeds = CovarianceSource.projected(np.cov(x, y) / x.size, x.size - 1)
    return RatioOfMeans(float(x.mean()), float(y.mean()), (seeds, *more))


def sample(seed: int, n: int, worth: float) -> tuple[np.ndarray, np.ndarray]:
    encoding, baseline, control = np.random.default_rng(seed).normal(size=(3, n))
    return encoding - baseline + 0.3 * worth, baseline - control + worth


@given(st.integers(0, 500), st.integers(3, 8), st.sampled_from([3.0, 5.0, 10.0]))
def test_the_interval_holds_the_ratios_that_a_t_test_does_not_reject(
    seed: int, n: int, worth: float
) -> None:
    x, y = sample(seed, n, worth)
    interval = ratio(x, y).interval(0.05)
    p_denominator = float(stats.ttest_1samp(y, 0).pvalue)
    assert (interval is None) == (p_denominator >= 0.05)
    if interval is None:
        return
    grid = np.linspace(interval[0] - 1, interval[1] + 1, 301)
    p = stats.ttest_1samp(x[:, None] - grid * y[:, None], 0).pvalue
    inside = (grid >= interval[0]) & (grid <= interval[1])
    assert np.array_equal(inside, p >= 0.05)


@given(st.integers(0, 500), st.floats(0.01, 3), st.floats(-1, 1), st.floats(0.01, 3))
def test_a_second_source_adds_its_squared_half_width(
    seed: int, x_error: float, correlation: float, y_error: float
) -> None:
    covariance = correlation * x_error * y_error
    items = CovarianceSource(x_error**2, covariance, y_error**2, 7)
    x, y = sample(seed, 6, 10.0)
    both = ratio(x, y, items)
    interval = both.interval(0.05)
    assume(interval is not None)
    assert interval is not None
    alone = ratio(x, y).interval(0.05)
    assert alone is not None
    assert interval[0] <= alone[0] + 1e-9
    assert interval[1] >= alone[1] - 1e-9
    for end in interval:
        deviations = x - end * y
        variance = x_error**2 - 2 * end * covariance + end**2 * y_error**2
        half = np.hypot(
            stats.t.ppf(0.975, 5) * stats.sem(deviations),
            stats.t.ppf(0.975, 7) * np.sqrt(max(variance, 0.0)),
        )
        assert abs(deviations.mean()) == pytest.approx(half, rel=1e-6)


def test_with_a_certain_denominator_it_is_student_s_interval() -> None:
    x = np.array([1.0, 2.0, 4.0, 3.0])
    expected = stats.ttest_1samp(x / 2, 0).confidence_interval(0.95)
    interval = ratio(x, np.full(4, 2.0)).interval(0.05)
    assert interval == pytest.approx(tuple(expected))


@given(st.integers(0, 500), st.integers(3, 8), st.sampled_from([2.0, 5.0, 20.0]))
def test_p_is_the_level_whose_interval_ends_at_the_target(seed: int, n: int, worth: float) -> None:
    both = RatioDifference(ratio(*sample(seed, n, worth)), ratio(*sample(seed + 1000, 5, 5.0)))
    least = max(both.first.denominator_p, both.second.denominator_p)
    for target in (0.0, 0.2, -1.0):
        p = both.p(target)
        assert least <= p * (1 + 1e-6) <= 1 + 1e-5
        if least * 1.001 < p < 1:
            interval = both.interval(p)
            assert interval is not None
            assert min(abs(end - target) for end in interval) == pytest.approx(0, abs=1e-6)
    # the word of a test and the interval never contradict each other
    interval = both.interval(0.05)
    assert (both.p() < 0.05) == (interval is not None and not interval[0] <= 0 <= interval[1])
    turned = RatioDifference(both.second, both.first)
    assert turned.p() == pytest.approx(both.p())


def test_the_difference_is_that_of_zou_and_donner() -> None:
    first, second = ratio(*sample(1, 5, 10.0)), ratio(*sample(2, 7, 10.0))
    ends, others = first.interval(0.05), second.interval(0.05)
    assert ends is not None
    assert others is not None
    difference = first.value - second.value
    low = difference - np.hypot(first.value - ends[0], others[1] - second.value)
    high = difference + np.hypot(ends[1] - first.value, second.value - others[0])
    assert RatioDifference(first, second).interval(0.05) == pytest.approx((low, high))


def test_equivalence_needs_the_interval_of_90_percent_inside_the_margin() -> None:
    both = RatioDifference(ratio(*sample(1, 8, 30.0)), ratio(*sample(2, 8, 30.0)))
    interval = both.interval(0.1)
    assert interval is not None
    margin = max(map(abs, interval))
    assert both.equivalence_p(margin) == pytest.approx(0.05)
    assert both.equivalence_p(abs(both.value) / 2) > 0.5


def test_a_matrix_with_a_negative_eigenvalue_is_projected() -> None:
    source = CovarianceSource.projected(np.array([[1.0, 2.0], [2.0, 1.0]]), 5)
    matrix = [[source.numerator, source.covariance], [source.covariance, source.denominator]]
    assert np.linalg.eigvalsh(matrix) == pytest.approx([0, 3])
