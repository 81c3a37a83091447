"""All pairs of encodings: letters, and the set that may hold the best one."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from liere_cli.statistics.ranking import Ranking, rank
from liere_cli.statistics.scores import Scores
from liere_cli.statistics.verdicts import MIN_SEEDS


def ranked(values: np.ndarray, failed: np.ndarray | None = None, higher: bool = True) -> Ranking:
    lost = np.zeros(values.shape, dtype=bool) if failed is None else failed
    scores = Scores(np.where(lost, np.nan, values), lost, higher)
    return rank([scores], [range(len(values))])[0]


@st.composite
def scores(draw: st.DrawFn) -> np.ndarray:
    """Scores [E, n], some missing, with differences of all sizes."""
    generator = np.random.default_rng(draw(st.integers(0, 10_000)))
    shape = (draw(st.integers(2, 7)), draw(st.integers(3, 12)))
    values = generator.standard_normal(shape)
    values += draw(st.floats(0, 4)) * generator.permutation(shape[0])[:, None]
    values[generator.random(shape) < draw(st.sampled_from([0.0, 0.2, 0.5]))] = np.nan
    return values


@given(scores(), st.booleans())
def test_encodings_share_no_letter_exactly_where_a_difference_was_found(
    values: np.ndarray, higher: bool
) -> None:
    ranking = ranked(values, higher=higher)
    letters = dict(zip(ranking.order, ranking.letters, strict=True))
    assert all(letters.values()), "an encoding without a letter differs from itself"
    pairs = {(pair.first, pair.second): pair.verdict.label for pair in ranking.pairs}
    for first, second in combinations(sorted(letters), 2):
        found = pairs[first, second] in ("better", "worse")
        assert found != bool(set(letters[first]) & set(letters[second]))


@given(scores(), st.booleans())
def test_the_best_set_is_never_empty(values: np.ndarray, higher: bool) -> None:
    ranking = ranked(values, higher=higher)
    means = [np.nanmean(values[row]) for row in ranking.order]
    assert means == sorted(means, reverse=higher)
    shared = [np.isfinite(values[list(pair)]).all(0).sum() for pair in
              combinations(range(len(values)), 2)]  # fmt: skip
    if max(shared) < MIN_SEEDS:
        assert ranking.best is None
        return
    assert ranking.best
    assert set(ranking.best) <= set(ranking.order)
    if np.isfinite(values).all():
        assert ranking.order[0] in ranking.best


def test_contradicting_pairs_exclude_none() -> None:
    """Each encoding beats another, but at seeds of their own."""
    values = np.full((3, 15), np.nan)
    noise = np.random.default_rng(0).normal(0, 0.01, values.shape)
    for index, (winner, loser) in enumerate(((0, 1), (1, 2), (2, 0))):
        seeds = slice(5 * index, 5 * index + 5)
        values[winner, seeds], values[loser, seeds] = 1, 0
    ranking = ranked(values + noise)
    assert all(pair.verdict.label in ("better", "worse") for pair in ranking.pairs)
    assert sorted(ranking.best or ()) == [0, 1, 2]


@given(st.integers(0, 10_000), st.integers(5, 12), st.floats(-2, 2), st.booleans())
def test_two_encodings_have_a_one_sided_t_test(
    seed: int, n: int, effect: float, higher: bool
) -> None:
    values = np.random.default_rng(seed).standard_normal((2, n))
    values[0] += effect
    best = ranked(values, higher=higher).best
    assert best is not None
    for row in (0, 1):
        worse = "less" if higher else "greater"
        p = stats.ttest_rel(values[row], values[1 - row], alternative=worse).pvalue
        if abs(p - 0.05) > 1e-9:
            assert (row in best) == (p > 0.05)


@settings(max_examples=50)
@given(scores(), st.booleans())
def test_exchanging_encodings_exchanges_better_and_worse(values: np.ndarray, higher: bool) -> None:
    opposite = {"better": "worse", "worse": "better"}
    last = len(values) - 1
    before, after = ranked(values, higher=higher), ranked(values[::-1], higher=higher)
    labels = {(pair.first, pair.second): pair.verdict.label for pair in after.pairs}
    for pair in before.pairs:
        label = pair.verdict.label or ""
        exchanged = labels[last - pair.second, last - pair.first] or ""
        assert exchanged == opposite.get(label, label)
    assert set(after.best or ()) == {last - row for row in before.best or ()}


def test_the_best_encoding_leaves_the_set_in_at_most_five_percent() -> None:
    generator = np.random.default_rng(1)
    tables = 500
    values = generator.standard_normal((tables, 5, 6))
    values[:, 0] += 0.1
    missed = sum(0 not in (ranked(table).best or ()) for table in values)
    assert missed / tables <= 0.05 + 3 * (0.05 * 0.95 / tables) ** 0.5


def test_failures_keep_an_encoding_among_the_best() -> None:
    """It is worse at the seeds at which both finished, but the other one failed elsewhere."""
    generator = np.random.default_rng(2)
    values = generator.normal(0, 0.1, (2, 10))
    values[1] += 0.3
    failed = np.zeros(values.shape, dtype=bool)
    assert ranked(values).best == (1,)
    failed[1, :4] = True
    assert set(ranked(values, failed).best or ()) == {0, 1}


@pytest.mark.parametrize("encodings", [0, 1])
def test_fewer_than_two_encodings_have_no_rank(encodings: int) -> None:
    ranking = ranked(np.ones((encodings, 5)))
    assert (ranking.best, ranking.pairs, ranking.letters) == (None, (), ())
