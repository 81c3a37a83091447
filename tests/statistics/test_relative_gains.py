"""Relative gains, their difference, and the error rate of interactions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from liere_cli.statistics.interaction import Interaction, Side, judge_interactions, relative_gain
from liere_cli.statistics.sequential import InterimAnalyses


def side(
    generator: np.random.Generator,
    n: int,
    gain: float,
    baseline_gain: float = 10.0,
    noise: float = 1.0,
) -> Side:
    """Encoding, baseline and control with independent noise; r is gain / baseline_gain."""
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
    interaction = Interaction("liere", "none", relative_gain(on), relative_gain(against))
    return judge_interactions([interaction], margin)[0]


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
@pytest.mark.parametrize("baseline_gain", [10.0, 30.0])
def test_equal_gains_are_rarely_called_different(n: int, baseline_gain: float) -> None:
    generator = np.random.default_rng(n)
    labels, covered = [], []
    for _ in range(800):
        # the second side in another unit, and noisier
        result = judged(
            side(generator, n, 0.2 * baseline_gain, baseline_gain),
            side(generator, n, 0.6 * baseline_gain, 3 * baseline_gain, 2),
        )
        if result.low is not None and result.high is not None:
            labels.append(result.label)
            covered.append(result.low <= 0 <= result.high)
    assert len(covered) > 700
    limit = 0.05 + 3 * (0.05 * 0.95 / 800) ** 0.5
    assert (labels.count("larger") + labels.count("smaller")) / len(labels) <= limit
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


@pytest.mark.parametrize("baseline_gain", [0.0, -10.0])
def test_undefined_if_the_baseline_does_not_beat_the_control(baseline_gain: float) -> None:
    generator = np.random.default_rng(4)
    result = judged(side(generator, 5, 1.0, baseline_gain), side(generator, 5, 1.0))
    assert result.label is None
    assert result.difference is None
    assert "axial doesn't clearly beat the control" in str(result.undefined)


def test_undefined_with_one_shared_seed() -> None:
    generator = np.random.default_rng(5)
    result = judged(side(generator, 5, 1.0), side(generator, 1, 1.0))
    assert "fewer than 2 shared seeds" in str(result.undefined)


def test_interim_analyses_are_corrected_on_both_sides() -> None:
    generator = np.random.default_rng(6)
    interim = InterimAnalyses(3, 6)
    one = Interaction(
        "liere",
        "none",
        relative_gain(side(generator, 4, 2.0)),
        relative_gain(side(generator, 6, 1.0)),
    )
    fixed, sequential = (judge_interactions([one], interim=use)[0] for use in (None, interim))
    assert fixed.p_holm is not None
    expected = min(1.0, fixed.p_holm / (interim.share(4) * interim.share(6)))
    assert sequential.p_holm == pytest.approx(expected)
    pairs = [interim.share(n) * interim.share(m) for n in interim.sizes for m in interim.sizes]
    assert sum(pairs) == pytest.approx(1)
