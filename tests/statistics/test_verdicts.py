"""Verdicts: their error rates on simulated truth, and their symmetries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liere_cli.statistics.verdicts import Pair, judge


def simulated(
    generator: np.random.Generator, n: int, effect: float, margin: float | None = None
) -> Pair:
    """Per-seed scores whose differences have standard deviation 0.01."""
    shared = generator.normal(0.5, 0.03, n)
    noise = generator.normal(0, 0.01 / 2**0.5, (2, n))
    return Pair(shared + noise[0] + effect, shared + noise[1], True, margin)


@pytest.mark.parametrize("n", [3, 5])
def test_tables_without_any_difference_are_rarely_wrong(n: int) -> None:
    generator = np.random.default_rng(n)
    tables = 1000
    wrong = sum(
        any(
            verdict.label in ("better", "worse")
            for verdict in judge([simulated(generator, n, 0.0) for _ in range(6)])
        )
        for _ in range(tables)
    )
    # 5% and three Monte Carlo standard errors
    assert wrong / tables <= 0.05 + 3 * (0.05 * 0.95 / tables) ** 0.5


def test_intervals_cover_the_truth() -> None:
    generator = np.random.default_rng(1)
    verdicts = judge([simulated(generator, 4, 0.02) for _ in range(3000)])
    estimates = [verdict.estimate for verdict in verdicts if verdict.estimate]
    covered = np.mean([each.low <= 0.02 <= each.high for each in estimates])  # type: ignore[operator]
    assert covered == pytest.approx(0.95, abs=0.012)


def test_a_true_difference_at_the_margin_is_rarely_called_equivalent() -> None:
    generator = np.random.default_rng(2)
    labels = [judge([simulated(generator, 5, 0.01, margin=0.01)])[0].label for _ in range(2000)]
    assert labels.count("equivalent") / 2000 <= 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5


def test_large_effects_are_found_and_have_a_direction() -> None:
    generator = np.random.default_rng(3)
    higher, lower = simulated(generator, 5, 0.2), simulated(generator, 5, -0.2)
    assert [verdict.label for verdict in judge([higher, lower])] == ["better", "worse"]
    fewer_bits = Pair(higher.values, higher.baseline, higher_is_better=False)
    assert judge([fewer_bits])[0].label == "worse"


@given(st.integers(0, 10_000), st.floats(-0.1, 0.1), st.integers(2, 8))
def test_swapping_encoding_and_baseline_swaps_the_label(seed: int, effect: float, n: int) -> None:
    pair = simulated(np.random.default_rng(seed), n, effect, margin=0.02)
    swapped = Pair(pair.baseline, pair.values, True, 0.02)
    opposite = {"better": "worse", "worse": "better"}
    label, reverse = judge([pair])[0].label, judge([swapped])[0].label
    assert label is not None
    assert reverse == opposite.get(label, label)


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_more_comparisons_never_make_a_verdict_easier(seed: int, others: int) -> None:
    generator = np.random.default_rng(seed)
    pair = simulated(generator, 4, 0.03)
    alone = judge([pair])[0].p_holm
    together = judge([pair, *(simulated(generator, 4, 0.0) for _ in range(others))])[0].p_holm
    assert alone is not None
    assert together is not None
    assert together >= alone - 1e-12


def test_undecided_states_detectable_difference_and_seeds_needed() -> None:
    verdict = judge([Pair([0.51, 0.52, 0.50], [0.50, 0.50, 0.505], True)])[0]
    assert verdict.label == "undecided"
    assert verdict.detectable is not None
    assert verdict.estimate is not None
    assert verdict.detectable > abs(verdict.estimate.difference)
    assert verdict.seeds_needed is not None
    assert verdict.seeds_needed > 3


@pytest.mark.parametrize(
    ("seeds", "label"), [(2, "undecided"), (4, "undecided"), (5, "equivalent")]
)
def test_equal_runs_are_equivalent_only_with_a_margin_and_seeds(seeds: int, label: str) -> None:
    same = [0.25] * seeds
    labels = [
        verdict.label for verdict in judge([Pair(same, same, True), Pair(same, same, True, 0.01)])
    ]
    assert labels == ["undecided", label]


def test_one_shared_seed_gives_a_difference_but_no_verdict() -> None:
    single, empty = judge([Pair([0.5], [0.25], True, 0.01), Pair([], [], True)])
    assert single.label is None
    assert single.estimate is not None
    assert single.estimate.difference == 0.25
    assert empty.estimate is None


def test_no_pairs_give_no_verdicts() -> None:
    assert judge([]) == []
