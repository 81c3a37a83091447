"""Interactions between settings of one data set, whose runs share seeds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liere_cli.statistics.ratios.interaction import (
    Interaction,
    Side,
    _trusted,
    judge_interactions,
    relative_gain,
)


def judged_settings(
    rng: np.random.Generator, n: int, correlation: float, setting: str
) -> Interaction:
    """Two settings with equal true gains, whose noise correlates over seeds."""
    shared = math.sqrt(abs(correlation))
    common, apart = rng.standard_normal((n, 2)), rng.standard_normal((2, n, 2))
    signs = (1.0, -1.0 if correlation < 0 else 1.0)
    sides = []
    for own, sign in zip(apart, signs, strict=True):
        noise = sign * shared * common + math.sqrt(1 - shared**2) * own
        gains, baseline_gain = (0.1 + 0.04 * noise[:, 0]), (0.3 + 0.05 * noise[:, 1])
        seeds = tuple(range(n))
        sides.append(
            Side("x", "images", "axial", seeds, tuple(gains), tuple(baseline_gain), setting=setting)
        )
    first, second = map(relative_gain, sides)
    [judged] = judge_interactions([Interaction("liere", "none", first, second)])
    return judged


@pytest.mark.parametrize("correlation", [-0.8, 0.0, 0.8])
def test_equal_gains_are_rarely_called_different(correlation: float) -> None:
    rng = np.random.default_rng(1)
    p = [judged_settings(rng, 6, correlation, "setting").p_holm for _ in range(250)]
    # 5%, and three standard errors of 250 tables
    assert np.mean([value is not None and value <= 0.05 for value in p]) <= 0.092


def test_the_correlation_changes_intervals_of_settings_alone() -> None:
    widths = {}
    for setting in ("", "setting"):
        judged = judged_settings(np.random.default_rng(3), 12, -0.9, setting)
        assert judged.low is not None
        assert judged.high is not None
        assert judged.correlation is not None
        assert judged.correlation < -0.5
        widths[setting] = judged.high - judged.low
    assert widths["setting"] > widths[""]


@given(st.one_of(st.none(), st.floats(-1, 1)), st.integers(2, 50))
def test_a_correlation_is_trusted_where_it_widens(value: float | None, n: int) -> None:
    trusted = _trusted(value, n)
    if value is None or value == 0:
        assert trusted == 0
    elif value < 0:
        assert trusted == value
    else:
        assert 0 <= trusted <= value
