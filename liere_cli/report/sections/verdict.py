"""A verdict as data: every number at full precision, in the metric's own unit."""

from typing import Any

from liere_cli.statistics.paired import smallest_sign_flip_p
from liere_cli.statistics.verdicts import Verdict

_COMPARISON = (
    "shared_seeds",
    "difference",
    "difference_std",
    "seed_error",
    "test_error",
    "test_clusters",
    "low",
    "high",
    "p",
    "p_holm",
    "p_sign_flip",
    "smallest_p_sign_flip",
    "p_equivalent",
    "detectable",
    "seeds_needed",
    "seed_correlation",
    "looks",
    "looks_spent",
)


def verdict_numbers(verdict: Verdict | None) -> dict[str, Any]:
    """Everything that a comparison found, but the word."""
    estimate = verdict.estimate if verdict else None
    if verdict is None or estimate is None:
        return dict.fromkeys(_COMPARISON)
    values = (
        estimate.n,
        estimate.difference,
        estimate.std,
        estimate.seed_error,
        estimate.test_set.error if estimate.test_set else None,
        estimate.test_set.clusters if estimate.test_set else None,
        estimate.low,
        estimate.high,
        estimate.p,
        verdict.p_holm,
        verdict.p_sign_flip,
        smallest_sign_flip_p(estimate.n),
        verdict.p_equivalent,
        verdict.detectable,
        verdict.seeds_needed,
        verdict.seed_correlation,
        {str(analysis.n): analysis.p for analysis in verdict.interim},
        {str(analysis.n): analysis.p_sequential for analysis in verdict.interim},
    )
    return dict(zip(_COMPARISON, values, strict=True))
