"""The tables of records: the same as those of trained runs, but for what only runs know."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from liere_cli import __version__
from liere_cli.comparison.records.items import ItemTable
from liere_cli.comparison.records.scores import HIGHER_IS_BETTER, DataSet, Run, is_whole
from liere_cli.comparison.tables.build import ComparisonTable
from liere_cli.comparison.tables.ranking import rankings
from liere_cli.comparison.tables.signature import test_text
from liere_cli.comparison.tables.table import DatasetTable, Row
from liere_cli.errors import UsageError, unknown
from liere_cli.statistics.correction import ALPHA, HOLM
from liere_cli.statistics.samples import mean_and_std
from liere_cli.statistics.scores import Pair, Scores
from liere_cli.statistics.verdicts import FIRST_LOOK, Looks, count_comparisons, judge
from liere_cli.utils.files import digest_of


@dataclass(frozen=True)
class JudgeSettings:
    """How records are judged.

    Args:
        baseline: the encoding that the others are compared with.
        higher_is_better: None: by the metric's name, where that is certain.
        margin: the smallest difference that matters, in the score's unit.
        all_pairs: whether every pair is compared too.
        looks: earlier tables on the same runs.
        items: results per test item, by table and data set.
    """

    baseline: str
    higher_is_better: bool | None = None
    margin: float | None = None
    all_pairs: bool = False
    looks: Looks = FIRST_LOOK
    items: Mapping[tuple[str, str], ItemTable] = field(default_factory=dict)


def table_of(
    name: str, data_sets: Mapping[str, DataSet], settings: JudgeSettings
) -> ComparisonTable:
    """One table, corrected for itself; raises UsageError where the baseline is missing."""
    tables = [_dataset_table(data_set, settings) for data_set in data_sets.values()]
    scores = [
        _scores(data_set, table) for data_set, table in zip(data_sets.values(), tables, strict=True)
    ]
    pairs = []
    for data_set, table, matrix in zip(data_sets.values(), tables, scores, strict=True):
        items = settings.items.get((name, data_set.name))
        baseline = next(index for index, row in enumerate(table.rows) if row.is_baseline)
        for index, row in enumerate(table.rows):
            if row.is_baseline:
                continue
            pair = Pair(matrix, index, baseline, settings.margin)
            if items is not None:
                seeds = [data_set.seeds[column] for column in pair.shared]
                pair = replace(pair, items=items.between(row.encoding, settings.baseline, seeds))
            pairs.append(pair)
    verdicts = judge(pairs, looks=settings.looks)
    judged = iter(verdicts)
    tables = [
        replace(
            table,
            rows=tuple(
                row if row.is_baseline else replace(row, verdict=next(judged)) for row in table.rows
            ),
        )
        for table in tables
    ]
    digest = digest_of(repr([(table.title, table.rows) for table in tables]), 12)
    parts = {
        "scores": f"{name}@{digest}".lstrip("@"),
        "p": test_text(None, verdicts),
        "alpha": f"{ALPHA:g}",
        "liere": __version__,
    }
    return ComparisonTable(
        experiment=name,
        datasets=tuple(tables),
        comparisons=count_comparisons(pairs),
        alpha=ALPHA,
        correction=HOLM.label,
        signature="|".join(f"{key}:{value}" for key, value in parts.items()),
        looks=settings.looks,
        rankings=rankings(tables, scores) if settings.all_pairs else (),
    )


def _dataset_table(data_set: DataSet, settings: JudgeSettings) -> DatasetTable:
    _check_baseline(data_set, settings.baseline)
    numbers = {seed: index for index, seed in enumerate(data_set.seeds)}
    named = not all(map(is_whole, numbers))
    if not named:
        numbers = {seed: int(seed) for seed in numbers}
    notes = []
    if named:
        listed = ", ".join(f"{number} {seed}" for seed, number in numbers.items())
        notes.append(f"Seeds by number: {listed}.")
    order = [settings.baseline, *(name for name in data_set.runs if name != settings.baseline)]
    return DatasetTable(
        title=data_set.name,
        modality="",
        data=data_set.name,
        fingerprint="",
        metric=data_set.metric,
        higher_is_better=_direction(data_set.metric, settings.higher_is_better),
        baseline=settings.baseline,
        margin=settings.margin,
        budget="",
        test_limit=None,
        rows=tuple(
            _row(name, data_set.runs[name], numbers, name == settings.baseline) for name in order
        ),
        notes=tuple(notes),
    )


def _check_baseline(data_set: DataSet, baseline: str) -> None:
    if baseline not in data_set.runs:
        error = unknown(f"baseline on {data_set.name}", baseline, data_set.runs)
        raise UsageError(f"{error}; every data set needs its runs")


def _direction(metric: str, given: bool | None) -> bool:
    if given is not None:
        return given
    if metric.lower() in HIGHER_IS_BETTER:
        return HIGHER_IS_BETTER[metric.lower()]
    raise UsageError(
        f"the direction of the metric '{metric}' is not known; add --higher-is-better or "
        "--lower-is-better (in Python higher_is_better=)"
    )


def _row(
    encoding: str, runs: Mapping[str, Run], numbers: Mapping[str, int], is_baseline: bool
) -> Row:
    values = {numbers[seed]: run.score for seed, run in runs.items() if run.score is not None}
    states = Counter(run.status for run in runs.values())
    mean, std = mean_and_std(list(values.values()))
    return Row(
        encoding=encoding,
        is_baseline=is_baseline,
        planned=len(runs),
        finished=states["finished"],
        diverged=states["diverged"],
        failed=states["failed"],
        unfinished=0,
        values=dict(sorted(values.items())),
        mean=mean,
        std=std,
    )


def _scores(data_set: DataSet, table: DatasetTable) -> Scores:
    seeds = {seed: index for index, seed in enumerate(data_set.seeds)}
    values = np.full((len(table.rows), len(seeds)), np.nan)
    failed = np.zeros(values.shape, dtype=bool)
    for index, row in enumerate(table.rows):
        for seed, run in data_set.runs[row.encoding].items():
            if run.score is None:
                failed[index, seeds[seed]] = True
            else:
                values[index, seeds[seed]] = run.score
    return Scores(values, failed, table.higher_is_better)


def check_seeds(data_sets: Sequence[DataSet], baseline: str, source: str) -> None:
    """Raises UsageError where no encoding shares two seeds with the baseline, or it is missing."""
    for data_set in data_sets:
        _check_baseline(data_set, baseline)
        theirs = data_set.runs[baseline]
        for name, runs in data_set.runs.items():
            if name != baseline and len(runs.keys() & theirs.keys()) > 1:
                return
    data_set = data_sets[0]
    last = [run for runs in data_set.runs.values() for run in runs.values()][-1]
    raise UsageError(
        f"{last.at}, column seed: no encoding of {source} shares two seeds with the baseline "
        f"{baseline} (seeds here: {', '.join(data_set.seeds)}); differences need 2 seeds, and "
        "verdicts 5"
    )
