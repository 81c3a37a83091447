"""Relative gains, their difference, and the error rate of interactions."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liere_cli.statistics.item_errors import ItemDifferences
from liere_cli.statistics.ratios.interaction import (
    Interaction,
    Side,
    judge_interactions,
    relative_gain,
)
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


@pytest.mark.parametrize(("n", "worth"), [(5, 2.5), (10, 1.5), (5, 10.0)])
@pytest.mark.parametrize("relative", [0.2, 1.0])
def test_equal_gains_are_rarely_called_different(n: int, worth: float, relative: float) -> None:
    generator = np.random.default_rng(n)
    tables = 150
    wrong = missed = 0
    for _ in range(tables):
        # the second side in another unit, and noisier
        result = judged(
            side(generator, n, relative * worth, worth),
            side(generator, n, 2 * relative * worth, 2 * worth, 2),
        )
        wrong += result.label in ("larger", "smaller")
        missed += result.low is not None and not result.low <= 0 <= (result.high or 0)
    assert wrong <= missed
    assert missed / tables <= 0.05 + 2 * (0.05 * 0.95 / tables) ** 0.5


def test_words_need_five_seeds_on_both_sides() -> None:
    generator = np.random.default_rng(3)
    small, large = (side(generator, n, gain, noise=0.1) for n, gain in ((4, 0.0), (5, 5.0)))
    result = judged(large, small)
    assert result.label is None
    assert result.undefined is None
    assert result.p_holm is not None
    assert result.p_holm < 0.05


def test_test_items_widen_the_interval() -> None:
    generator = np.random.default_rng(8)
    alone = side(generator, 5, 2.0)
    weights = np.full(50, 2.0)
    of_items = [
        weights * (np.array(values)[:, None] + 3 * generator.normal(size=50))
        for values in (alone.gains, alone.baseline_gain)
    ]
    # keep the scores of the seeds, which are means over items
    gains, baseline_gain = (
        ItemDifferences(sums - weights * (sums.sum(1) / 100 - values)[:, None], weights)
        for sums, values in zip(of_items, (alone.gains, alone.baseline_gain), strict=True)
    )
    with_items = relative_gain(replace(alone, items=(gains, baseline_gain)))
    plain = relative_gain(alone)
    assert with_items.value == plain.value
    assert with_items.low is not None
    assert plain.low is not None
    assert with_items.low < plain.low
    # the test set's error of the linearised gain, as in a table of one comparison
    linear = ItemDifferences(
        (gains.sums - with_items.value * baseline_gain.sums) / np.mean(alone.baseline_gain), weights
    ).test_set(5)
    assert linear is not None
    assert with_items.test_error == pytest.approx(linear.error)


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
