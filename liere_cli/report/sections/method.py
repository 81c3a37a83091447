"""How scores are compared: the notes that hold for all tables."""

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.errors import counted
from liere_cli.statistics.verdicts import MIN_SEEDS


def method_notes(comparison: ComparisonTable) -> list[str]:
    """Score, difference, null hypothesis and correction, and the limits of a verdict."""
    trained = any(dataset.budget for dataset in comparison.datasets)
    score = "test split, weights after the last step; " if trained else ""
    count = comparison.comparisons
    corrected = f"{comparison.correction}-corrected over {counted(count, 'comparison')}; "
    intervals = (
        "Intervals are corrected in the same way, so they exclude zero exactly where a difference "
        "is found; those called 'alone' are not corrected."
        if count
        else "With fewer, an interval is the 95% interval of its difference alone."
    )
    notes = [
        f"Score: {score}mean ± standard deviation over seeds. Difference: encoding minus baseline "
        "at the same seeds.",
        "Null hypothesis: the mean difference over seeds is zero. p: moderated paired t test "
        "(Smyth 2004), whose spread is partly borrowed from the other encodings of the data set; "
        f"{corrected if count else ''}'better' and 'worse' from {MIN_SEEDS} seeds on where "
        f"p ≤ {comparison.alpha:g}. {intervals}",
    ]
    if comparison.looks.tables:
        earlier = counted(comparison.looks.tables, "earlier table")
        notes.append(
            f"These runs were judged before, in {earlier}; every further table is another chance "
            f"of a wrong verdict, so p is multiplied by {comparison.looks.factor:g}"
            + (
                f" and corrected over the {comparison.looks.comparisons} comparisons of all tables."
                if comparison.looks.comparisons
                else "."
            )
        )
    if comparison.interim is not None:
        first, last = comparison.interim.first, comparison.interim.last
        notes.append(
            "Seeds were added until the verdict was settled or further seeds were unlikely to "
            f"help, with an interim analysis at every number of seeds from {first} to {last}. p "
            "and intervals are corrected for all interim analyses, so they hold at any stopping "
            "point, and if more seeds are allowed later."
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
