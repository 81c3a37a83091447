"""Verdicts and footers in plain words, the same for every format."""

from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.comparison.tables.table import DatasetTable, Row
from liere_cli.report.numbers import NONE, Unit, probability
from liere_cli.report.sections import interaction as interaction_words
from liere_cli.statistics.paired import smallest_sign_flip_p
from liere_cli.statistics.sequential import SETTLED_CONFIDENCE

#: rows of a table whose pairing a note tells
STUDIED = 12
_ORDER = ("better", "worse", "equivalent", "undecided", None)


def verdict_label(dataset: DatasetTable, row: Row) -> str:
    """The verdict's cell: one of the four words, or why there is none."""
    if row.undefined is not None:
        return "not defined"
    if row.tuned is not None and row.tuned.fault:
        return "not tuned"
    if row.is_baseline:
        return "baseline"
    if not row.values:
        return "no result"
    if row.verdict is None:
        return NONE
    if row.verdict.label is None:
        return "needs 2 seeds"
    return row.verdict.label


def seeds_cell(row: Row) -> str:
    """``3`` when all planned runs finished, else ``2/3``."""
    if not row.planned:
        return NONE
    return str(row.finished) if row.finished == row.planned else f"{row.finished}/{row.planned}"


def looks_cell(row: Row) -> str:
    """``3-6``: numbers of seeds at which the comparison was looked at."""
    interim = row.verdict.interim if row.verdict else ()
    if not interim:
        return NONE
    return str(interim[0].n) if len(interim) == 1 else f"{interim[0].n}-{interim[-1].n}"


def trouble(row: Row) -> str | None:
    """``2 of 3 diverged, 1 of 3 failed``; None when every planned run finished."""
    if row.undefined is not None:
        return row.undefined
    if row.tuned is not None and row.tuned.fault:
        return row.tuned.fault
    counts = {
        "diverged": row.diverged,
        "failed": row.failed,
        "not finished": row.unfinished,
    }
    parts = [f"{number} of {row.planned} {what}" for what, number in counts.items() if number]
    return ", ".join(parts) or None


def summary_lines(table: ComparisonTable) -> list[str]:
    """One line a data set, as ``images · pointing: liere beats axial by 23.1 points [...]``, and
    one an interaction."""
    lines = [
        f"{dataset.modality} · {dataset.title}: {'; '.join(_clauses(dataset))}"
        for dataset in table.datasets
    ]
    return lines + [interaction_words.line(one) for one in table.interactions]


def _clauses(dataset: DatasetTable) -> list[str]:
    if dataset.baseline is None:
        return ["no baseline among these runs, so no verdicts"]
    others = [row for row in dataset.rows if not row.is_baseline]
    clauses = [
        _clause(dataset, row)
        for label in _ORDER
        for row in others
        if (row.verdict.label if row.verdict else None) == label
    ]
    return clauses or [f"nothing to compare with {dataset.baseline}"]


def _clause(dataset: DatasetTable, row: Row) -> str:
    unit = Unit.of(dataset)
    if row.undefined is not None:
        return f"{row.encoding} is {row.undefined}"
    verdict = row.verdict
    estimate = verdict.estimate if verdict else None
    if verdict is None or estimate is None:
        reason = trouble(row) or "no result"
        return f"{row.encoding}: no seed shared with {dataset.baseline} ({reason})"
    if verdict.label is None:
        return f"{row.encoding} against {dataset.baseline} needs 2 shared seeds"
    evidence = f"({estimate.n} seeds)"
    if verdict.label in ("better", "worse"):
        # told as a gain or loss, whichever way the metric points
        low, high = sorted(abs(end or 0.0) for end in (estimate.low, estimate.high))
        verb = "beats" if verdict.label == "better" else "loses to"
        size = f"{unit.value(abs(estimate.difference))} {unit.difference}"
        ends = f" [{unit.value(low)}, {unit.value(high)}]" if estimate.low is not None else ""
        return f"{row.encoding} {verb} {dataset.baseline} by {size}{ends} {evidence}"
    ends = f" {unit.interval(estimate.low, estimate.high)}" if estimate.low is not None else ""
    size = f"{unit.signed(estimate.difference)}{ends}"
    if verdict.label == "equivalent":
        margin = f"{unit.value(dataset.margin)} {unit.difference}"
        return f"{row.encoding} equals {dataset.baseline} within {margin}: {size} {evidence}"
    return f"{row.encoding} against {dataset.baseline} is undecided: {size} {evidence}"


def dataset_notes(dataset: DatasetTable) -> list[str]:
    """What the reader of one table must know, beyond what holds for all tables."""
    unit = Unit.of(dataset)
    direction = "higher" if dataset.higher_is_better else "lower"
    notes = [f"{unit.header}: {direction} is better; budget {dataset.budget} each"]
    if dataset.test_limit is not None:
        notes[0] += f"; scored on at most {dataset.test_limit:,} test items, evenly spaced"
    if dataset.margin is not None:
        notes[0] += (
            f"; differences below {unit.value(dataset.margin)} {unit.difference} don't matter"
        )
    clusters = {
        row.verdict.estimate.test_set.clusters
        for row in dataset.rows
        if row.verdict and row.verdict.estimate and row.verdict.estimate.test_set
    }
    if clusters:
        groups = " to ".join(f"{number:,}" for number in sorted({min(clusters), max(clusters)}))
        notes.append(f"the test set has {groups} independent groups of items")
    notes += [
        f"{row.encoding}: {text}" for row in dataset.rows if (text := _row_note(dataset, row, unit))
    ]
    if study := [text for row in dataset.rows[:STUDIED] if (text := _pairing(row))]:
        if len(dataset.rows) > STUDIED:
            study.append(f"{len(dataset.rows) - STUDIED} more in JSON")
        notes.append(
            "what shared seeds buy (correlation with the baseline over seeds, 95% interval; with "
            f"seeds permuted): {'; '.join(study)}"
        )
    return notes + [f"warning: {warning}" for warning in dataset.warnings]


def _pairing(row: Row) -> str | None:
    """``liere +0.62 [-0.10, +0.91]; permuted -0.80 to +0.82; 5 shared seeds are worth 9``."""
    one = row.verdict.pairing if row.verdict else None
    if one is None:
        return None
    worth = str(one.seeds_unshared) if one.seeds_unshared else "more than 1000"
    return (
        f"{row.encoding} {one.correlation:+.2f} [{one.low:+.2f}, {one.high:+.2f}], permuted "
        f"{one.unshared_low:+.2f} to {one.unshared_high:+.2f} (p {probability(one.p)}), so that "
        f"{one.n} shared seeds are worth {worth} of its own"
    )


def _row_note(dataset: DatasetTable, row: Row, unit: Unit) -> str | None:
    parts = []
    if row.own_seeds:
        parts.append(
            f"{dataset.baseline} itself at seeds {', '.join(map(str, row.own_seeds))}, each "
            "against another: 'better' or 'worse' would be wrong here"
        )
    problem = trouble(row)
    if problem is not None:
        errors = f" ({'; '.join(row.errors)})" if row.errors else ""
        parts.append(f"{problem}{errors}")
    verdict = row.verdict
    if verdict is None or verdict.estimate is None:
        return "; ".join(parts) or None
    n = verdict.estimate.n
    if verdict.estimate.std == 0:
        differs = verdict.estimate.difference != 0
        # that of equivalence is one-sided
        smallest = smallest_sign_flip_p(n) / (1 if differs else 2)
        parts.append(
            f"the same {'difference' if differs else 'score'} at every seed leaves no noise to "
            f"estimate: p by sign flips, {probability(smallest)} at best with {n} seeds"
        )
    if verdict.label == "undecided" and verdict.detectable is not None:
        needed = verdict.seeds_needed
        more = f"about {needed} seeds" if needed else "more than 1000 seeds"
        shown = f"a true difference of {unit.value(verdict.detectable)} {unit.difference}"
        if dataset.metric == "top1" and verdict.detectable >= 1:
            shown = "no difference that top-1 can have"
        parts.append(f"{n} seeds show {shown} in 4 of 5 cases; one as small as seen needs {more}")
    return "; ".join(parts) or None


def method_notes(table: ComparisonTable) -> list[str]:
    """What holds for all tables: what is compared, how it is judged, what a word does not say."""
    count = table.comparisons
    notes = [
        "Score: test split, weights after the last step; mean ± standard deviation over seeds. "
        "Difference: encoding minus baseline at the same seeds, with a 95% Student-t interval.",
        "Null hypothesis: the mean difference over seeds is zero. p: paired t test, "
        f"{table.correction}-corrected over {count} comparison{'' if count == 1 else 's'}; "
        f"'better' and 'worse' where p ≤ {table.alpha:g}.",
        "'undecided' is too little evidence, not equality. 'better' speaks of this model, "
        f"budget and data, not of others. {_sources(table)}",
    ]
    if table.interim is not None:
        first, last = table.interim.first, table.interim.last
        notes.insert(
            2,
            f"Seeds were added until a verdict was settled or in vain, with a look at every number "
            f"from {first} to {last}; p is corrected for all of these looks, and the error rate "
            "holds wherever it stopped. Where a verdict ended it, the interval is a wider one "
            f"({SETTLED_CONFIDENCE:.1%}), which covers 95% in spite of that.",
        )
    return notes


def _sources(table: ComparisonTable) -> str:
    """What the uncertainty is over."""
    estimates = [
        row.verdict.estimate
        for dataset in table.datasets
        for row in dataset.rows
        if row.verdict and row.verdict.estimate and row.verdict.estimate.std is not None
    ]
    with_items = [one for one in estimates if one.test_set is not None]
    if not with_items:
        return "Uncertainty is over seeds, not over test sets."
    elsewhere = "" if len(with_items) == len(estimates) else " Without it, it is over seeds alone."
    return (
        "Uncertainty is over seeds and over the test set: of the latter the part that returns at "
        "every seed, clustered by group. The squared half-width of an interval is the sum of "
        f"both, each with its own Student quantile (Howe 1974).{elsewhere}"
    )
