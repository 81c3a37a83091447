"""Learning curves: read from the metrics of runs, and shown in every format."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from liere_cli.comparison.tables.build import ComparisonTable, make_table
from liere_cli.comparison.tables.learning_curves import read_curve
from liere_cli.config.compare import CompareSettings
from liere_cli.config.recipe import Recipe
from liere_cli.planning.plan import Plan
from liere_cli.report.formats.registry import FORMATS
from liere_cli.report.formats.terminal import terminal
from liere_cli.runs.folder import Run
from liere_cli.utils.files import write_atomically
from support.synthetic_tables import dataset_of


def write_metrics(run: Run, values: Sequence[float], speed: float) -> None:
    lines: list[dict[str, Any]] = []
    for index, value in enumerate(values, 1):
        lines.append({"step": 100 * index, "seconds": speed * index, "loss": 1.0})
        lines.append({"step": 100 * index, "seconds": speed * index, "val": value})
    write_atomically(run.path("metrics.jsonl"), "".join(json.dumps(line) + "\n" for line in lines))


def test_curves_are_read_from_the_metrics_of_runs(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert read_curve(run, True) is None
    write_metrics(run, [2.5, 2.0], 1.5)
    result = read_curve(run, False)
    assert result is not None
    assert result.scores.tolist() == [-2.5, -2.0]
    assert result.seconds.tolist() == [1.5, 3.0]
    write_atomically(run.path("metrics.jsonl"), '{"val": "x", "step": 1}\n')
    assert read_curve(run, True) is None


def example(folder: Path, efficiency: bool = True) -> ComparisonTable:
    dataset, outcomes = dataset_of(
        {"axial": [0.40, 0.41, 0.42], "liere": [0.6, 0.62, 0.61], "rope": []}
    )
    rows = []
    for row in dataset.encodings:
        runs = []
        for run in row.runs:
            stored = Run(folder / f"{row.label}-{run.seed}")
            start, speed = (0.1, 1.0) if row.label == "axial" else (0.3, 1.5)
            grain = 0.01 * run.seed
            write_metrics(stored, [start, start + 0.15 + grain, start + 0.3 - grain], speed)
            runs.append(replace(run, run=stored))
        rows.append(replace(row, runs=tuple(runs)))
    dataset = replace(dataset, encodings=tuple(rows))
    recipe = Recipe.validated({"compare": {"efficiency": efficiency}}, "a test")
    return make_table(
        Plan("x", (dataset,), (0, 1, 2), recipe.compare or CompareSettings()), outcomes
    )


def test_every_format_shows_learning_curves(tmp_path: Path) -> None:
    table = example(tmp_path)
    assert [row.encoding for row in table.datasets[0].efficiency] == ["liere"]
    content = json.loads(FORMATS["json"](table))["tables"][0]["efficiency"][0]
    ratio = content["steps_ratio"]["value"]
    assert ratio > 1
    for form in ("markdown", "latex"):
        assert "by learning curves" in FORMATS[form](table)
    for width in (80, 120, 200):
        console = Console(width=width, file=io.StringIO(), force_terminal=False)
        console.print(terminal(table, width))
        assert isinstance(console.file, io.StringIO)
        shown = console.file.getvalue()
        assert max(map(len, shown.splitlines())) <= width
        assert f"{ratio:.2f}x [" in shown
    assert "by learning curves" not in FORMATS["markdown"](example(tmp_path, efficiency=False))
