"""How scores are compared: the notes that hold for all tables."""

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.errors import counted
from liere_cli.statistics.sequential import SETTLED_CONFIDENCE


def method_notes(comparison: ComparisonTable) -> list[str]:
    """Score, difference, null hypothesis and correction, and the limits of a verdict."""
    notes = [
        "Score: test split, weights after the last step; mean ± standard deviation over seeds. "
        "Difference: encoding minus baseline at the same seeds, with a 95% Student-t interval.",
        "Null hypothesis: the mean difference over seeds is zero. p: paired t test, "
        f"{comparison.correction}-corrected over {counted(comparison.comparisons, 'comparison')}; "
        f"'better' and 'worse' where p ≤ {comparison.alpha:g}.",
    ]
    if comparison.interim is not None:
        first, last = comparison.interim.first, comparison.interim.last
        notes.append(
            "Seeds were added until the verdict was settled or further seeds were unlikely to "
            f"help, with an interim analysis at every number of seeds from {first} to {last}. p is "
            "corrected for all interim analyses, so the error rate holds at any stopping point. "
            f"Where a verdict ended the comparison, the interval is widened to "
            f"{SETTLED_CONFIDENCE:.1%}, which keeps its coverage at 95% despite early stopping."
        )
    return [
        *notes,
        "'undecided' means insufficient evidence, not equality. Verdicts hold for this model, "
        f"budget and data only. {_uncertainty(comparison)}",
    ]


def _uncertainty(comparison: ComparisonTable) -> str:
    estimates = [
        row.estimate
        for dataset in comparison.datasets
        for row in dataset.rows
        if row.estimate and row.estimate.std is not None
    ]
    with_items = sum(estimate.test_set is not None for estimate in estimates)
    if not with_items:
        return "Intervals cover the variance over seeds, not that of the test set."
    others = "" if with_items == len(estimates) else " Other intervals cover seeds only."
    return (
        "Intervals cover the variance over seeds and the part of the test set's variance that is "
        "common to all seeds, clustered by group of items. The squared half-width is the sum of "
        f"both, each with its own Student quantile (Howe 1974).{others}"
    )
