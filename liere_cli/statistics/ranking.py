"""All pairs of encodings, and the set that may hold the best one.

Shapes: E encodings of one data set, each with scores at S seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from liere_cli.statistics.correction import ALPHA
from liere_cli.statistics.scores import Columns, Pair, Scores
from liere_cli.statistics.verdicts import MIN_SEEDS, Verdict, judge


@dataclass(frozen=True)
class PairDifference:
    """Two encodings of one data set, by their rows in its scores.

    Args:
        verdict: on the first against the second, corrected over all pairs of all data sets.
    """

    first: int
    second: int
    verdict: Verdict


@dataclass(frozen=True)
class Ranking:
    """The encodings of one data set in order.

    Args:
        order: rows of the scores, the best mean first; without those that have no score.
        letters: of each row in ``order``; two encodings share no letter exactly where a difference
            between them was found.
        best: rows that are not shown to be worse than another one; None where no pair has enough
            seeds.
        pairs: all of them.
    """

    order: tuple[int, ...]
    letters: tuple[str, ...]
    best: tuple[int, ...] | None
    pairs: tuple[PairDifference, ...]


def rank(
    data_sets: Sequence[Scores], rows: Sequence[Sequence[int]], seeds: Columns | None = None
) -> list[Ranking]:
    """Rankings of several data sets; ``rows`` of each are ranked.

    Differences are corrected over all pairs of all data sets, by Holm's correction. The set of
    best encodings holds the truly best one of its data set with a confidence of 95%: an encoding
    leaves it where it is worse than another at 5%, one-sided, corrected over the others (subset
    selection after Gupta 1965 and Hsu 1984, with Bonferroni's inequality in the place of a normal
    integral). It may be larger than necessary, and never empty.
    """
    pairs = [
        [Pair(scores, first, second, seeds=seeds) for first, second in combinations(own, 2)]
        for scores, own in zip(data_sets, rows, strict=True)
    ]
    verdicts = iter(judge([pair for own in pairs for pair in own]))
    rankings = []
    for scores, own in zip(data_sets, pairs, strict=True):
        judged = [PairDifference(pair.encoding, pair.baseline, next(verdicts)) for pair in own]
        rankings.append(_ranking(scores, judged))
    return rankings


def _ranking(scores: Scores, pairs: Sequence[PairDifference]) -> Ranking:
    members = dict.fromkeys(row for pair in pairs for row in (pair.first, pair.second))
    means = {
        row: float(scores.values[row][scores.finished[row]].mean())
        for row in members
        if scores.finished[row].any()
    }
    order = sorted(means, key=means.__getitem__, reverse=scores.higher_is_better)
    found = {
        frozenset((pair.first, pair.second))
        for pair in pairs
        if pair.verdict.label in ("better", "worse")
    }
    groups = _compact_letters(order, found)
    letters = tuple(
        "".join(_letter(index) for index, group in enumerate(groups) if row in group)
        for row in order
    )
    return Ranking(tuple(order), letters, _best(scores, order, pairs), tuple(pairs))


def _best(
    scores: Scores, order: Sequence[int], pairs: Sequence[PairDifference]
) -> tuple[int, ...] | None:
    tested = [
        pair
        for pair in pairs
        if pair.verdict.estimate is not None
        and pair.verdict.estimate.p is not None
        and pair.verdict.estimate.n >= MIN_SEEDS
    ]
    if not tested:
        return None
    lost: dict[int, float] = dict.fromkeys(order, 1.0)
    for pair in tested:
        estimate = pair.verdict.estimate
        assert estimate is not None
        if estimate.difference == 0:
            continue
        first_is_better = (estimate.difference > 0) == scores.higher_is_better
        loser = pair.second if first_is_better else pair.first
        # failures could explain the difference
        p = max(estimate.p or 0.0, pair.verdict.p_failures or 0.0) / 2
        lost[loser] = min(lost.get(loser, 1.0), p)
    others = len(order) - 1
    # where pairs share different seeds, each may be worse than another: then none is excluded
    return tuple(row for row in order if lost[row] * others > ALPHA) or tuple(order)


def _compact_letters(order: Sequence[int], found: set[frozenset[int]]) -> list[list[int]]:
    """Groups of encodings without a difference between any two (Piepho 2004): insert and absorb."""
    groups: list[set[int]] = [set(order)]
    for first, second in combinations(order, 2):
        if frozenset((first, second)) not in found:
            continue
        split = []
        for group in groups:
            split += [group - {first}, group - {second}] if {first, second} <= group else [group]
        unique = [group for index, group in enumerate(split) if group not in split[:index]]
        groups = [group for group in unique if not any(group < other for other in unique)]
    position = {row: index for index, row in enumerate(order)}
    return sorted(
        (sorted(group, key=position.__getitem__) for group in groups),
        key=lambda group: [position[row] for row in group],
    )


def _letter(index: int) -> str:
    """``a`` to ``z``, then ``a1``."""
    number, letter = divmod(index, 26)
    return chr(ord("a") + letter) + (str(number) if number else "")
