"""Scores at equal cost, and ratios of the costs of an equal score."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from liere_cli.bench.verdicts.ratios import SHAPES, data_ratios, step_ratios
from liere_cli.statistics.ratios.learning_curves import (
    Ratio,
    ScoreCurve,
    efficiency,
    judge_efficiency,
    passage_ratio,
)
from liere_cli.statistics.sequential import InterimAnalyses


def curve(scores: Sequence[float], speed: float = 1.0) -> ScoreCurve:
    """Validations every 100 steps, at ``speed`` seconds a hundred."""
    count = np.arange(1.0, len(scores) + 1)
    return ScoreCurve(100 * count, speed * count, np.array(scores))


def test_curves_are_linear_between_validations() -> None:
    one = curve([0.1, 0.3, 0.4])
    assert one.at_seconds(1.5) == pytest.approx(0.2)
    assert one.reached(0.35) == pytest.approx((250, 2.5))
    assert one.reached(0.1) == (100, 1)
    with pytest.raises(ValueError, match="is never reached"):
        one.reached(0.5)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.floats(0, 1))
def test_reached_is_the_first_passage_of_the_score(scores: list[float], score: float) -> None:
    one = curve(scores)
    if max(scores) >= score:
        steps, seconds = one.reached(score)
        assert steps == pytest.approx(100 * seconds)
        earlier = [value for value, step in zip(scores, one.steps, strict=True) if step < steps]
        assert all(value < score for value in earlier)


def pairs(count: int = 4) -> list[tuple[ScoreCurve, ScoreCurve]]:
    """The encoding starts two validations ahead, at half the speed."""
    generator = np.random.default_rng(0)
    made = []
    for _ in range(count):
        noise = generator.normal(0, 0.01, 4)
        ours = curve((np.array([0.3, 0.5, 0.6, 0.7]) + noise).tolist(), speed=2.0)
        made.append((ours, curve((np.array([0.1, 0.3, 0.4, 0.5]) + noise).tolist())))
    return made


def test_equal_seconds_is_a_paired_t_test() -> None:
    result = efficiency("liere", pairs(), True)
    # the baseline ends after 4 seconds, where the encoding is at its second validation
    assert result.seconds == 4
    values = [(ours.scores[1], theirs.scores[3]) for ours, theirs in pairs()]
    expected = stats.ttest_rel(*np.array(values).T)
    assert result.equal_seconds is not None
    assert result.equal_seconds.p == pytest.approx(expected.pvalue)


def test_equal_steps_is_a_paired_t_test() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 5, 4))
    made = [
        (curve(ours.tolist(), speed=2.0), curve(theirs[:3].tolist()))
        for ours, theirs in zip(*scores, strict=True)
    ]
    result = efficiency("liere", made, True)
    assert result.steps == 300
    assert result.equal_steps is not None
    assert result.equal_steps.p == pytest.approx(stats.ttest_rel(*scores[:, :, 2]).pvalue)


def test_ratios_are_geometric_means_with_an_interval_on_logarithms() -> None:
    result = efficiency("liere", pairs(), True)
    logs = []
    for ours, theirs in pairs():
        goal = theirs.scores[-1]
        logs.append(np.log(theirs.reached(goal)[0] / ours.reached(goal)[0]))
    expected = stats.ttest_1samp(logs, 0)
    ends = np.exp(expected.confidence_interval(0.95))
    assert result.steps_ratio.value == pytest.approx(stats.gmean(np.exp(logs)))
    assert (result.steps_ratio.low, result.steps_ratio.high) == pytest.approx(tuple(ends))
    assert result.steps_ratio.p == pytest.approx(expected.pvalue)
    assert result.seconds_ratio.value == pytest.approx(result.steps_ratio.value / 2)


def test_exchanged_curves_have_the_inverse_ratio() -> None:
    there = efficiency("liere", pairs(), True)
    back = efficiency("rope", [(theirs, ours) for ours, theirs in pairs()], True)
    for ratio, inverse in (
        (there.steps_ratio, back.steps_ratio),
        (there.seconds_ratio, back.seconds_ratio),
    ):
        assert ratio.value is not None
        assert ratio.low is not None
        assert inverse.value == pytest.approx(1 / ratio.value)
        assert inverse.high == pytest.approx(1 / ratio.low)
        assert inverse.p == pytest.approx(ratio.p)


CURVES = st.lists(
    st.lists(st.floats(0, 1), min_size=4, max_size=4).map(lambda scores: curve(scores)),
    min_size=2,
    max_size=6,
)


@given(CURVES)
def test_every_seed_has_a_ratio_and_equal_curves_have_one(curves: list[ScoreCurve]) -> None:
    ratio = efficiency("a", list(zip(curves, curves, strict=True)), True).steps_ratio
    assert (ratio.n, ratio.value) == (len(curves), 1)
    mixed = efficiency("a", list(zip(curves, reversed(curves), strict=True)), True).steps_ratio
    # each pair also occurs with both sides exchanged
    assert mixed.value == pytest.approx(1)


@given(CURVES)
def test_a_smallest_fraction_that_suffices_for_both_has_ratio_one(
    curves: list[ScoreCurve],
) -> None:
    logs = np.log([0.1, 0.2, 0.5, 1.0])
    falling = [np.sort(one.scores)[::-1] for one in curves]
    passages = passage_ratio(falling, falling[::-1], logs)
    assert passages.ratio.value == 1
    assert passages.at_start == passages.baseline_at_start == len(curves)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("judged", [step_ratios, data_ratios])
def test_a_baseline_against_itself_has_no_ratio(
    shape: str, judged: Callable[..., tuple[bool, list[Ratio]]]
) -> None:
    generator = np.random.default_rng(0)
    tables = [judged(generator, shape, 5) for _ in range(150)]
    values = [ratio.value for _, ratios in tables for ratio in ratios]
    assert 0.9 <= np.median(values) <= 1.1
    assert np.mean([wrong for wrong, _ in tables]) <= 0.05 + 2 * (0.05 * 0.95 / 150) ** 0.5


@pytest.mark.parametrize("interim", [None, InterimAnalyses(3, 6)])
def test_all_tests_are_corrected_in_one_family(interim: InterimAnalyses | None) -> None:
    rows = [efficiency("a", pairs(4), True), efficiency("b", [], True)]
    judged = judge_efficiency(rows, [True, True], interim)
    raw: list[float] = []
    shown: list[float | None] = []
    for before, after in zip(rows, judged, strict=True):
        for one, corrected in (
            (before.equal_seconds, after.p_holm),
            (before.steps_ratio, after.steps_ratio.p_holm),
            (before.seconds_ratio, after.seconds_ratio.p_holm),
            (before.equal_steps, after.p_steps_holm),
        ):
            if one is not None and one.p is not None:
                raw.append(min(1.0, one.p / (interim.share(4) if interim else 1)))
                shown.append(corrected)
    assert shown == pytest.approx(multipletests(raw, method="holm")[1].tolist())
    assert judged[1].label is None


def test_fewer_bits_are_better() -> None:
    # curves hold minus bits per byte: the encoding needs 0.2 fewer
    made = [
        (curve([-3.0, -2.0 + grain]), curve([-3.0, -2.2]))
        for grain in (0.0, 0.01, -0.01, 0.005, 0.002)
    ]
    result = judge_efficiency([efficiency("liere", made, False)], [False])[0]
    assert result.equal_seconds is not None
    assert result.equal_seconds.difference == pytest.approx(-0.2, abs=0.01)
    assert result.label == "better"
