"""Plans and outcomes from given scores, for tests of tables and reports."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liere_cli.comparison.tables.build import ComparisonTable, make_table
from liere_cli.config.budget import Budget
from liere_cli.planning.plan import ComparedRun, DatasetPlan, Plan, PlannedEncoding
from liere_cli.planning.progress import Outcome, outcome_of
from liere_cli.runs.folder import Run
from liere_cli.runs.summary import RunSummary

#: a test value, or the state of a run without one
Result = float | str
AXIAL = [0.300, 0.320, 0.310, 0.305, 0.315, 0.308, 0.298, 0.312, 0.318, 0.304]
LIERE = [0.431, 0.447, 0.440, 0.436, 0.444, 0.439, 0.428, 0.441, 0.450, 0.433]
RESULTS: dict[str, Sequence[Result]] = {
    "none": [0.120, 0.125, 0.118, 0.122, 0.121, 0.124, 0.119, 0.123, 0.117, 0.126],
    "axial": AXIAL,
    "liere:block=8": LIERE,
    "rope-mixed": [0.302, 0.319, 0.312, 0.304, 0.316, 0.307, 0.299, 0.311, 0.319, 0.305],
    "absolute": [0.29, "diverged", "missing"],
    "rope": [],
}


def outcome(planned: ComparedRun, result: Result, metric: str) -> Outcome:
    if result in ("missing", "partial"):
        return Outcome(result)  # type: ignore[arg-type]
    value = None if isinstance(result, str) else result
    record: dict[str, Any] = {
        "status": result if isinstance(result, str) else "finished",
        "id": planned.run_id,
        "encoding": planned.encoding,
        "data": planned.data,
        "fingerprint": "0123456789abcdef",
        "seed": planned.seed,
        "val": value,
        "test": value,
        "steps": 1000,
        "metric": metric,
        "seconds": 12.3,
        "parameters": 812_345,
        "encoding_parameters": 1234,
        "throughput": 2600.0,
        "throughput_unit": "examples/s",
        "device": "cpu",
        "threads": 2,
        "error": f"the loss was nan, {planned.encoding}" if value is None else None,
        "signature": "encoding:x|torch:2.13.0|liere:0.1.0",
    }
    return outcome_of(RunSummary.from_record(record))


def dataset_of(
    results: Mapping[str, Sequence[Result]],
    *,
    metric: str = "top1",
    title: str = "pointing",
    baseline: str | None = "axial",
    margin: float | None = None,
) -> tuple[DatasetPlan, dict[str, Outcome]]:
    """A data set's plan, and the outcome of each run by identity.

    Args:
        results: of each encoding, by seed.
    """
    outcomes: dict[str, Outcome] = {}
    rows = []
    for encoding, values in results.items():
        runs = []
        for seed, result in enumerate(values):
            run_id = f"{title}/{encoding}/{seed}"
            run = ComparedRun(title, encoding, seed, Run(Path("nowhere")), run_id)
            outcomes[run_id] = outcome(run, result, metric)
            runs.append(run)
        undefined = None if runs else "not defined on 2 axes"
        rows.append(PlannedEncoding(encoding, tuple(runs), undefined))
    dataset = DatasetPlan(
        title=title,
        modality="text" if metric == "bits_per_byte" else "images",
        data=title,
        fingerprint="0123456789abcdef",
        metric=metric,
        budget=Budget.parse("1000steps"),
        encodings=tuple(rows),
        baseline=baseline,
        margin=margin,
    )
    return dataset, outcomes


def table_of(
    *datasets: tuple[DatasetPlan, dict[str, Outcome]], experiment: str = "quick"
) -> ComparisonTable:
    seeds = sorted({run.seed for dataset, _ in datasets for run in dataset.runs})
    plan = Plan(experiment, tuple(dataset for dataset, _ in datasets), tuple(seeds))
    return make_table(plan, {key: state for _, by_id in datasets for key, state in by_id.items()})


def example() -> ComparisonTable:
    """Two data sets with rows in all states and every verdict."""
    bits: dict[str, Sequence[Result]] = {
        "rope": [2.31, 2.33, 2.30, 2.32, 2.31],
        "liere": [2.25, 2.27, 2.25, 2.26, 2.26],
        "alibi": [2.30, 2.34, 2.29, 2.33, 2.30],
        "none": [2.8, 2.9, "failed", 2.85, 2.82],
    }
    return table_of(
        dataset_of(RESULTS, margin=0.01),
        dataset_of(bits, metric="bits_per_byte", title="stdlib", baseline="rope"),
    )
