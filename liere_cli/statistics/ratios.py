"""Paired ratios: how many times less of something one encoding needs than another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from liere_cli.statistics.holm import holm
from liere_cli.statistics.paired import paired
from liere_cli.statistics.sequential import InterimAnalyses, interim_p


@dataclass(frozen=True)
class Ratio:
    """How many times less an encoding needs than its baseline; above 1 it needs less.

    Args:
        n: shared seeds.
        missed: seeds at which the encoding never reached the baseline's score.
        value: geometric mean over seeds; None if it missed any.
        low, high: ends of the 95% interval, by Student's t on logarithms.
        p: two-sided, under "the ratio is 1".
        p_holm: corrected over the family of the ratio.
    """

    n: int
    missed: int = 0
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None


def paired_ratio(needed: Sequence[float | None], baseline: Sequence[float]) -> Ratio:
    """The ratio of what the baseline needed to what the encoding needed, seed by seed.

    Args:
        needed: [n] of the encoding, such as seconds; None where it never reached the score.
        baseline: [n] of the baseline, in the same unit.
    """
    n, missed = len(baseline), sum(amount is None for amount in needed)
    amounts = [amount for amount in needed if amount is not None and amount > 0]
    if n == 0 or len(amounts) < n or not min(baseline) > 0:
        return Ratio(n, missed)
    logs = paired(np.log(baseline), np.log(amounts))
    assert logs is not None
    low, high = (None if end is None else math.exp(end) for end in (logs.low, logs.high))
    return Ratio(n, missed, math.exp(logs.difference), low, high, logs.p)


def judge_ratios(ratios: Sequence[Ratio], interim: InterimAnalyses | None = None) -> list[Ratio]:
    """The ratios with p-values that are Holm-corrected over all of them.

    Args:
        interim: of a comparison that adds seeds until it is settled.
    """
    p = [interim_p(ratio.p, ratio.n, interim) for ratio in ratios]
    corrected = holm(np.array(p, dtype=np.float64)).tolist()
    return [
        replace(ratio, p_holm=None if math.isnan(value) else value)
        for ratio, value in zip(ratios, corrected, strict=True)
    ]
