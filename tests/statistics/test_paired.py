"""Statistics of paired values against scipy, statsmodels or an independent computation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from liere_cli.statistics import paired, power, seed_correlation
from liere_cli.statistics.correction import holm
from liere_cli.statistics.item_errors import ItemError
from liere_cli.statistics.samples import mean_and_std
from liere_cli.statistics.spread import Spread

SCORES = arrays(
    np.float64, st.tuples(st.integers(2, 8), st.just(2)), elements=st.integers(0, 1000).map(float)
)


def scores(seed: int, n: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Values of an encoding and its baseline that share most of their noise, [n] each."""
    generator = np.random.default_rng(seed)
    shared = generator.normal(0.5, 0.05, n)
    return shared + shift + generator.normal(0, 0.01, n), shared


@pytest.mark.parametrize("n", [2, 3, 5, 10, 40])
def test_paired_equals_scipy(n: int) -> None:
    values, baseline = scores(n, n, 0.01)
    ours = paired.paired(values, baseline)
    theirs = stats.ttest_rel(values, baseline)
    interval = theirs.confidence_interval(0.95)
    assert ours is not None
    assert ours.n == n
    # from 16 seeds on, sign flips must find a difference too
    expected = theirs.pvalue
    if n >= paired.EXACT_SEEDS:
        expected = max(expected, paired.sign_flip_p(values, baseline) or 0.0)
    assert ours.p == pytest.approx(expected, rel=1e-9)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_paired_equals_a_published_example() -> None:
    """Student (1908), the sleep data: extra hours under two drugs, ten patients."""
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    result = paired.paired(first, second)
    assert result is not None
    assert result.difference == pytest.approx(-1.58)
    assert (result.low, result.high) == pytest.approx((-2.4599, -0.7001), abs=1e-4)
    assert result.p == pytest.approx(0.002833, abs=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3, 6, 9])
def test_sign_flips_equal_an_enumeration(n: int) -> None:
    values, baseline = scores(n, n, 0.004)
    differences = values - baseline
    means = [abs(np.mean(differences * signs)) for signs in itertools.product([1, -1], repeat=n)]
    expected = np.mean([mean >= abs(differences.mean()) - 1e-15 for mean in means])
    p = paired.sign_flip_p(values, baseline)
    assert p == pytest.approx(expected)
    assert p >= paired.smallest_sign_flip_p(n) - 1e-15


def test_the_smallest_sign_flip_p_is_reached() -> None:
    assert paired.sign_flip_p([1.0, 2.0, 4.0], [0.0, 0.0, 0.0]) == 0.25
    assert paired.smallest_sign_flip_p(3) == 0.25


def test_random_sign_flips_are_reproducible() -> None:
    values, baseline = scores(1, 40, 0.004)
    first = paired.sign_flip_p(values, baseline)
    np.random.seed(5)
    assert paired.sign_flip_p(values, baseline) == first
    assert first == pytest.approx(stats.ttest_rel(values, baseline).pvalue, abs=0.02)


def equivalence_p(
    values: ArrayLike, baseline: ArrayLike, margin: float, test_set: ItemError | None = None
) -> float | None:
    estimate = paired.paired(values, baseline, test_set)
    assert estimate is not None
    return paired.equivalence_p(estimate, margin)


@settings(max_examples=25)  # statsmodels is slow
@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_equals_statsmodels(p_values: list[float]) -> None:
    ours = holm(p_values)
    assert len(ours) == len(p_values)
    if p_values:
        assert ours == pytest.approx(multipletests(p_values, method="holm")[1])


@pytest.mark.parametrize("margin", [0.001, 0.01, 0.05])
def test_equivalence_equals_statsmodels(margin: float) -> None:
    values, baseline = scores(3, 12, 0.004)
    expected = ttost_paired(values, baseline, -margin, margin)[0]
    assert equivalence_p(values, baseline, margin) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "alpha"), [(3, 0.05), (5, 0.05), (10, 0.005)])
def test_power_equals_statsmodels(n: int, alpha: float) -> None:
    effect = power.detectable_difference(1.0, n, alpha)
    assert TTestPower().power(effect, n, alpha) == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize("effect", [0.3, 0.8, 2.0])
def test_seeds_needed_equals_statsmodels(effect: float) -> None:
    needed = TTestPower().solve_power(effect_size=effect, alpha=0.05, power=0.8)
    assert power.seeds_needed(effect, 1.0) == math.ceil(needed)


def test_seeds_needed_is_bounded() -> None:
    assert power.seeds_needed(0.0, 1.0) is None
    assert power.seeds_needed(1e-6, 1.0) is None
    assert power.seeds_needed(1e6, 1.0) == 2


def test_correlation_equals_scipy() -> None:
    values, baseline = scores(5, 12)
    expected = stats.pearsonr(values, baseline).statistic
    assert seed_correlation.correlation(values, baseline) == pytest.approx(expected)
    assert seed_correlation.correlation([0.5, 0.5, 0.5], [0.1, 0.2, 0.3]) is None
    assert seed_correlation.correlation([0.5, 0.6], [0.1, 0.2]) is None


@given(SCORES)
def test_no_result_is_nan(pairs: np.ndarray) -> None:
    values, baseline = pairs.T / 1000
    result = paired.paired(values, baseline)
    assert result is not None
    assert result.p is not None
    assert 0 <= result.p <= 1
    assert (result.low is None) == (result.high is None) == (result.std == 0)
    if result.low is not None and result.high is not None:
        assert result.low <= result.difference <= result.high
    p = equivalence_p(values, baseline, 0.01)
    assert (p is None) == (len(values) < paired.EQUIVALENCE_SEEDS)
    assert p is None or 0 <= p <= 1


@given(SCORES)
def test_swapping_both_changes_only_the_sign(pairs: np.ndarray) -> None:
    values, baseline = pairs.T / 1000
    result = paired.paired(values, baseline)
    swapped = paired.paired(baseline, values)
    assert result is not None
    assert swapped is not None
    assert result.difference == pytest.approx(-swapped.difference)
    assert result.p == pytest.approx(swapped.p)


@pytest.mark.parametrize("n", [2, 3, 5, 8, 20])
@pytest.mark.parametrize("test_set", [None, ItemError(1e-4, 2000, 1999)])
def test_equal_scores_have_the_p_value_of_sign_flips(n: int, test_set: ItemError | None) -> None:
    """Models that all fail, for example: seeds without spread prove little on any test set."""
    same = np.linspace(0.3, 0.5, n)
    none = Spread(0.0, None, 0.0, 0.0)
    assert paired.paired(same, same, test_set) == paired.Paired(
        n, 0.0, none, None, None, 1.0, test_set
    )
    expected = 2.0**-n if n >= paired.EQUIVALENCE_SEEDS else None
    assert equivalence_p(same, same, 0.01, test_set) == expected


@pytest.mark.parametrize("n", [2, 3, 5, 8, 20])
@pytest.mark.parametrize("test_set", [None, ItemError(1e-4, 2000, 1999)])
def test_a_constant_difference_has_the_p_value_of_sign_flips(
    n: int, test_set: ItemError | None
) -> None:
    """The differences are equal only up to rounding, and t would be infinite."""
    baseline = np.linspace(0.3, 0.5, n)
    result = paired.paired(baseline + 0.01, baseline, test_set)
    assert result is not None
    assert (result.std, result.low, result.high) == (0, None, None)
    assert result.p == 2.0 ** (1 - n)
    if n >= paired.EQUIVALENCE_SEEDS:
        assert equivalence_p(baseline + 0.01, baseline, 0.02, test_set) == 2.0**-n
        assert equivalence_p(baseline + 0.01, baseline, 0.005, test_set) == pytest.approx(1)


def test_a_constant_difference_is_no_more_certain_than_the_test_set() -> None:
    baseline = np.linspace(0.3, 0.5, 12)
    wide = ItemError(0.01, 2000, 1999)
    result = paired.paired(baseline + 0.01, baseline, wide)
    assert result is not None
    assert result.p == pytest.approx(2 * stats.t.sf(1, 1999))
    equal = equivalence_p(baseline + 0.01, baseline, 0.03, wide)
    assert equal == pytest.approx(stats.t.sf(2, 1999))


@pytest.mark.parametrize("wrong", [([1.0], [1.0, 2.0]), ([math.nan], [1.0]), ([[1.0]], [[1.0]])])
def test_invalid_vectors_raise(wrong: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match=r"paired|vector"):
        paired.paired(*wrong)


def test_too_few_values_give_none() -> None:
    assert mean_and_std([]) == (None, None)
    assert mean_and_std([0.5]) == (0.5, None)
    assert paired.paired([], []) is None
    assert paired.paired([0.5], [0.25]) == paired.Paired(1, 0.25)
    assert equivalence_p([0.5], [0.25], 0.1) is None


@pytest.mark.parametrize("n", [5, 12])
def test_pairing_equals_scipy(n: int) -> None:
    draw = np.random.default_rng(n)
    common = draw.normal(size=n)
    first, second = common + draw.normal(size=n), common + draw.normal(size=n)
    result = seed_correlation.pairing(first, second)
    assert result is not None
    expected = stats.pearsonr(first, second)
    assert result.correlation == pytest.approx(expected.statistic)
    assert (result.low, result.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    exact = stats.pearsonr(
        first, second, method=stats.PermutationMethod(n_resamples=5000, rng=draw)
    )
    assert result.p == pytest.approx(exact.pvalue, abs=1e-12 if n == 5 else 0.05)
    assert result.paired_std**2 == pytest.approx(np.var(first - second, ddof=1))
    assert result.unpaired_std**2 == pytest.approx(np.var(first, ddof=1) + np.var(second, ddof=1))
    # the fewest independent seeds whose interval is as narrow as the paired one
    paired_half = np.diff(stats.ttest_rel(first, second).confidence_interval(0.95))[0] / 2
    m = result.seeds_unshared
    assert m is not None
    halves = [
        stats.t.ppf(0.975, 2 * k - 2) * result.unpaired_std / math.sqrt(k)
        for k in (m, max(m - 1, 2))
    ]
    assert halves[0] <= paired_half
    assert m == 2 or halves[1] > paired_half


def test_pairing_needs_five_seeds_with_some_spread() -> None:
    assert seed_correlation.pairing([1, 2, 3, 5], [1, 2, 4, 4]) is None
    assert seed_correlation.pairing([1, 1, 1, 1, 1], [1, 2, 4, 4, 3]) is None
    equal = seed_correlation.pairing([1, 2, 4, 4, 3], [1, 2, 4, 4, 3])
    assert equal is not None
    assert equal.correlation == pytest.approx(1)
    assert equal.seeds_unshared is None
