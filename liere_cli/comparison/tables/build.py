"""The result of a comparison: one table a data set, one row an encoding, every number typed."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from liere_cli import __version__
from liere_cli.comparison.tables.extras import efficiencies, interactions, without_curves
from liere_cli.comparison.tables.fractions import fraction_tables
from liere_cli.comparison.tables.shared_seeds import runs_at, shared_seeds
from liere_cli.comparison.tables.table import ComparisonTable, DatasetTable, Row
from liere_cli.comparison.tables.transfer import transfer_tables
from liere_cli.planning.plan import DatasetPlan, Plan, PlannedEncoding
from liere_cli.planning.progress import Outcome
from liere_cli.planning.tuning_result import grid_text
from liere_cli.runs.item_results import FILE as ITEMS_FILE
from liere_cli.runs.item_results import ItemReader
from liere_cli.runs.summary import RunSummary
from liere_cli.statistics.paired import mean_and_std
from liere_cli.statistics.sequential import SPENDING, InterimAnalyses
from liere_cli.statistics.verdicts import ALPHA, Pair, Verdict, judge

#: which value of a run is compared: the test split, with the weights after the last step
VALUE = "test"
CORRECTION = "Holm"


def make_table(
    plan: Plan,
    found: Mapping[str, Outcome],
    items: ItemReader | None = None,
    faults: Mapping[str, str] | None = None,
) -> ComparisonTable:
    """Tables, statistics and verdicts of a plan.

    Args:
        found: outcome of every run of the plan, by identity.
        items: results per item, where some of them are known already.
        faults: why runs could not be measured at other grids, by identity.
    """
    items = items or ItemReader()
    datasets = [_dataset_table(dataset, found, items) for dataset in plan.datasets]
    places = [
        (index, position)
        for index, dataset in enumerate(datasets)
        for position, row in enumerate(dataset.rows)
        if dataset.baseline is not None and not row.is_baseline and row.undefined is None
    ]
    pairs = [
        _pair(plan, datasets[index], index, position, found, items) for index, position in places
    ]
    verdicts = judge(pairs, plan.interim)
    judged = dict(zip(places, verdicts, strict=True))
    datasets = [
        replace(
            dataset,
            rows=tuple(
                replace(row, verdict=judged.get((index, position)))
                for position, row in enumerate(dataset.rows)
            ),
        )
        for index, dataset in enumerate(datasets)
    ]
    datasets = [
        replace(
            dataset, efficiency=rows, warnings=(*dataset.warnings, *without_curves(planned, found))
        )
        if rows
        else dataset
        for planned, dataset, rows in zip(
            plan.datasets, datasets, efficiencies(plan, datasets, found), strict=True
        )
    ]
    comparisons = sum(verdict.p_holm is not None for verdict in verdicts)
    return ComparisonTable(
        experiment=plan.experiment,
        datasets=tuple(datasets),
        comparisons=comparisons,
        alpha=ALPHA,
        correction=CORRECTION,
        signature=_signature(plan, found, verdicts),
        interim=plan.interim,
        interactions=interactions(plan, datasets, found),
        fractions=fraction_tables(plan, datasets, found),
        transfers=transfer_tables(plan, datasets, found, faults or {}),
    )


def _dataset_table(
    dataset: DatasetPlan, found: Mapping[str, Outcome], items: ItemReader
) -> DatasetTable:
    return DatasetTable(
        title=dataset.title,
        modality=dataset.modality,
        data=dataset.data,
        fingerprint=dataset.fingerprint,
        metric=dataset.metric,
        higher_is_better=dataset.higher_is_better,
        baseline=dataset.baseline,
        margin=dataset.margin,
        budget=dataset.budget.text,
        test_limit=dataset.test_limit,
        rows=tuple(_row(row, dataset.baseline, found) for row in dataset.encodings),
        warnings=(
            *_warnings(dataset, _summaries(dataset, found)),
            *_without_items(dataset, found, items),
        ),
    )


def _row(planned: PlannedEncoding, baseline: str | None, found: Mapping[str, Outcome]) -> Row:
    results = [(run, found[run.run_id]) for run in planned.runs]
    values = {
        run.seed: value
        for run, outcome in results
        if outcome.state == "finished"
        and outcome.summary
        and (value := outcome.summary.test) is not None
    }
    states = [outcome.state for _, outcome in results]
    summaries = [outcome.summary for _, outcome in results if outcome.summary is not None]
    finished = [
        outcome.summary
        for _, outcome in results
        if outcome.state == "finished" and outcome.summary is not None
    ]
    sized = next(iter(finished or summaries), None)
    mean, std = mean_and_std(list(values.values()))
    errors = dict.fromkeys(outcome.error for _, outcome in results if outcome.error)
    return Row(
        encoding=planned.label,
        is_baseline=planned.label == baseline,
        planned=len(results),
        finished=states.count("finished"),
        diverged=states.count("diverged"),
        failed=states.count("failed"),
        unfinished=states.count("partial") + states.count("missing"),
        values=dict(sorted(values.items())),
        mean=mean,
        std=std,
        undefined=planned.undefined,
        tuned=planned.tuned,
        own_seeds=planned.own_seeds[: len(results)],
        errors=tuple(errors),
        parameters=sized.parameters if sized else None,
        encoding_parameters=sized.encoding_parameters if sized else None,
        throughput=_mean(summary.throughput for summary in finished),
        throughput_unit=(sized.throughput_unit or None) if sized else None,
        seconds=_mean(summary.seconds for summary in finished),
    )


def _pair(
    plan: Plan,
    table: DatasetTable,
    dataset: int,
    position: int,
    found: Mapping[str, Outcome],
    items: ItemReader,
) -> Pair:
    """What an encoding and its baseline scored at the seeds that both finished."""
    base = next(index for index, row in enumerate(table.rows) if row.is_baseline)
    rows = [plan.datasets[dataset].encodings[index] for index in (position, base)]
    values, baseline = table.rows[position].values, table.rows[base].values
    shared = shared_seeds(plan, rows, found)
    ours, theirs = (runs_at(row, shared) for row in rows)
    return Pair(
        [values[seed] for seed in shared],
        [baseline[seed] for seed in shared],
        table.higher_is_better,
        table.margin,
        items.between(ours, theirs, table.metric) if len(shared) > 1 else None,
    )


def _summaries(dataset: DatasetPlan, found: Mapping[str, Outcome]) -> list[RunSummary]:
    outcomes = [found[run.run_id] for row in dataset.encodings for run in row.runs]
    return [outcome.summary for outcome in outcomes if outcome.summary is not None]


def _warnings(dataset: DatasetPlan, summaries: Sequence[RunSummary]) -> tuple[str, ...]:
    timed = "scores and speed" if dataset.budget.unit == "seconds" else "speed"
    warnings = []
    for key, what in (("device", "devices"), ("threads", "numbers of threads")):
        seen = _distinct(getattr(summary, key) for summary in summaries)
        if len(seen) > 1:
            warnings.append(f"{timed} come from different {what}: {', '.join(seen)}")
    for package in ("torch", "liere"):
        seen = _versions(summaries, package)
        if len(seen) > 1:
            warnings.append(f"runs come from different versions of {package}: {', '.join(seen)}")
    return tuple(warnings)


def _without_items(
    dataset: DatasetPlan, found: Mapping[str, Outcome], items: ItemReader
) -> list[str]:
    """Finished runs whose results per item can't be read, where intervals would use them."""
    finished = [
        [run for run in row.runs if found[run.run_id].state == "finished"]
        for row in dataset.encodings
    ]
    if dataset.baseline is None or max(map(len, finished), default=0) < 2:
        return []
    faults = {
        (row.label, run.seed): fault
        for row, runs in zip(dataset.encodings, finished, strict=True)
        for run in runs
        if (fault := items.fault(run.run, dataset.metric))
    }
    left_out = "so the test set's share of the error is left out"
    if len(faults) == sum(map(len, finished)) and set(faults.values()) == {"missing"}:
        return [f"no run has its {ITEMS_FILE}, {left_out}"]
    return [
        f"{label}, seed {seed}: {ITEMS_FILE} is {fault}, {left_out}"
        for (label, seed), fault in faults.items()
    ]


def _signature(plan: Plan, found: Mapping[str, Outcome], verdicts: Sequence[Verdict]) -> str:
    cells = [
        [
            dataset.baseline,
            dataset.margin,
            sorted(run.run_id for row in dataset.encodings for run in row.runs),
        ]
        for dataset in plan.datasets
    ]
    digest = hashlib.sha256(json.dumps(cells).encode()).hexdigest()[:12]
    summaries = [summary for dataset in plan.datasets for summary in _summaries(dataset, found)]
    parts = {
        "recipe" if plan.recipe else "runs": f"{plan.experiment}@{digest}".lstrip("@"),
        "data": ",".join(f"{dataset.data}@{dataset.fingerprint}" for dataset in plan.datasets),
        "budget": ",".join(_distinct(dataset.budget.text for dataset in plan.datasets)),
        "seeds": ",".join(map(str, plan.seeds)),
        **_tuning(plan),
        **_transfer(plan),
        "value": VALUE,
        "p": _test(plan.interim, verdicts),
        "alpha": f"{ALPHA:g}",
        "torch": ",".join(_versions(summaries, "torch")) or "none",
        "liere": ",".join(_versions(summaries, "liere")) or __version__,
    }
    return "|".join(f"{key}:{value}" for key, value in parts.items())


def _tuning(plan: Plan) -> dict[str, str]:
    """What was tried before: ``tuning:learning_rate=0.001,0.002@300steps,seeds=1000``."""
    searches = []
    for dataset in plan.datasets:
        tuned = [row.tuned for row in dataset.encodings if row.tuned is not None]
        if tuned:
            grid = grid_text([trial for one in tuned for trial in one.trials])
            seeds = ",".join(map(str, tuned[0].seeds))
            searches.append(f"{grid}@{tuned[0].budget},seeds={seeds}")
    return {"tuning": " and ".join(_distinct(searches))} if searches else {}


def _transfer(plan: Plan) -> dict[str, str]:
    """Other grids: ``transfer:256,512@none,ntk/64``, that is grids, extensions, items scored."""
    asked = _distinct(
        dataset.transfer.text for dataset in plan.datasets if dataset.transfer is not None
    )
    return {"transfer": " and ".join(asked)} if asked else {}


def _test(interim: InterimAnalyses | None, verdicts: Sequence[Verdict]) -> str:
    """How p-values came about: ``paired-t+items+spending2(3..10)+holm(12)``."""
    parts = ["paired-t"]
    if any(verdict.estimate and verdict.estimate.test_set for verdict in verdicts):
        parts.append("items")
    if interim is not None:
        parts.append(f"spending{SPENDING:g}({interim.first}..{interim.last})")
    comparisons = sum(verdict.p_holm is not None for verdict in verdicts)
    return "+".join([*parts, f"{CORRECTION.lower()}({comparisons})"])


def _versions(summaries: Iterable[RunSummary], package: str) -> list[str]:
    """Versions of a package that the runs' own signatures name."""
    fields = (summary.signature.split("|") for summary in summaries)
    prefix = f"{package}:"
    return _distinct(
        part.removeprefix(prefix) for parts in fields for part in parts if part.startswith(prefix)
    )


def _distinct(values: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values))


def _mean(values: Iterable[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return sum(measured) / len(measured) if measured else None
