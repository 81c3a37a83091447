"""Comparisons with everything that a page can show, from given results, and hostile ones."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from liere_cli.comparison.tables.build import ComparisonResult, make_table
from liere_cli.planning.plan import DatasetPlan, Plan
from liere_cli.planning.progress import Outcome
from liere_cli.runs.folder import Run
from support.synthetic_tables import RESULTS, Result, dataset_of

#: texts that would act if they were not escaped, in HTML, attributes, styles, SVG or addresses
HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "' onmouseover='document.title=1",
    "</style><script>document.title='owned'</script>",
    "</title></svg><script>document.title='owned'</script>",
    "javascript:document.title='owned'",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &amp;",
    "\x1b[31mred\x00\u202ereversed",
    "x" * 10_000,
)


def result_of(
    *datasets: tuple[DatasetPlan, dict[str, Outcome]], experiment: str = "quick"
) -> ComparisonResult:
    plans = tuple(dataset for dataset, _ in datasets)
    seeds = sorted({run.seed for plan in plans for run in plan.runs})
    plan = Plan(experiment, plans, tuple(seeds))
    outcomes = {key: state for _, by_id in datasets for key, state in by_id.items()}
    return ComparisonResult(plan, outcomes, make_table(plan, outcomes))


def with_files(
    folder: Path, dataset: DatasetPlan, *, validations: int = 4, items: int = 40
) -> DatasetPlan:
    """The plan with run folders that hold metrics and results per item."""
    rows = []
    for row in dataset.encodings:
        runs = []
        for run in row.runs:
            place = folder / f"{len(list(folder.glob('*')))}-run"
            place.mkdir(parents=True)
            write_metrics(place, run.seed, validations)
            write_items(place, run.seed + len(row.label), items)
            (place / "environment.json").write_text('{"torch": "2.13.0", "threads": 1}')
            runs.append(replace(run, run=Run(place)))
        rows.append(replace(row, runs=tuple(runs)))
    return replace(dataset, encodings=tuple(rows))


def write_metrics(folder: Path, seed: int, validations: int, steps: int = 40) -> None:
    lines = [
        {"step": step, "seconds": 0.1 * step + 0.01 * seed, "loss": 2 / step + 0.01 * seed}
        for step in range(2, steps + 1, 2)
    ]
    for index in range(validations):
        step = steps * (index + 1) // validations
        lines.append({"step": step, "seconds": 0.1 * step + 0.01 * seed, "val": 0.3 + step / 1000})
    text = "".join(json.dumps(line) + "\n" for line in sorted(lines, key=lambda line: line["step"]))
    (folder / "metrics.jsonl").write_text(text)


def write_items(folder: Path, seed: int, items: int) -> None:
    rng = np.random.default_rng(seed)
    tensors = {
        "correct": rng.random(items) < 0.4,
        "loss": rng.random(items, dtype=np.float32),
        "weight": np.ones(items, np.int64),
        "group": np.arange(items),
    }
    (folder / "items-test.safetensors").write_bytes(save(tensors))


def example_result(folder: Path) -> ComparisonResult:
    """Two data sets with rows in all states, curves and results per item."""
    bits: Mapping[str, Sequence[Result]] = {
        "rope": [2.31, 2.33, 2.30],
        "liere": [2.25, 2.27, 2.25],
        "none": [2.8, 2.9, "failed"],
    }
    images, image_outcomes = dataset_of(RESULTS, margin=0.01)
    text, text_outcomes = dataset_of(bits, metric="bits_per_byte", title="stdlib", baseline="rope")
    return result_of(
        (with_files(folder / "images", images), image_outcomes),
        (with_files(folder / "text", text), text_outcomes),
    )


def hostile_result(folder: Path) -> ComparisonResult:
    """Every name, title and error is hostile."""
    scores: dict[str, Sequence[Result]] = {"axial": [0.30, 0.32, 0.31]}
    scores |= {name: [0.4, "diverged", 0.42] for name in HOSTILE}
    plan, outcomes = dataset_of(scores, title=HOSTILE[0])
    outcomes = {
        key: replace(state, error=HOSTILE[1] if state.error else None)
        for key, state in outcomes.items()
    }
    return result_of((with_files(folder, plan), outcomes), experiment=HOSTILE[3])
