"""Results per test item: read from runs, and the test set's error in tables."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from liere_cli.report.formats.registry import FORMATS
from liere_cli.runs.folder import Run
from liere_cli.runs.item_results import item_results
from liere_cli.statistics.item_errors import item_differences
from liere_cli.utils.files import write_atomically
from support.synthetic_tables import dataset_of, table_of


def store(run: Run, correct: np.ndarray, groups: np.ndarray | None = None) -> None:
    content = {
        "loss": np.ones(len(correct), dtype=np.float32),
        "weight": np.ones(len(correct), dtype=np.int32),
        "group": np.arange(len(correct)) if groups is None else groups,
        "correct": correct.astype(np.uint8),
    }
    write_atomically(run.path("items-test.safetensors"), save(content))


def test_runs_are_read_and_paired_over_the_same_items(tmp_path: Path) -> None:
    first, second = Run(tmp_path / "a"), Run(tmp_path / "b")
    store(first, np.array([1, 1, 0, 1]), np.array([7, 7, 9, 9]))
    store(second, np.array([1, 0, 0, 0]), np.array([7, 7, 9, 9]))
    ours, theirs = item_results(first, "top1"), item_results(second, "top1")
    result = item_differences([ours, ours], [theirs, theirs])
    assert result is not None
    assert result.sums.tolist() == [[1.0, 1.0]] * 2
    assert result.weights.tolist() == [2.0, 2.0]
    store(second, np.array([1, 0, 0, 0]), np.array([7, 8, 9, 9]))
    assert item_differences([ours], [item_results(second, "top1")]) is None
    assert item_differences([ours], [None]) is None
    assert item_results(Run(tmp_path / "nowhere"), "top1") is None
    write_atomically(second.path("items-test.safetensors"), b"junk")
    assert item_results(second, "top1") is None


def test_losses_are_converted_to_bits(tmp_path: Path) -> None:
    run = Run(tmp_path)
    store(run, np.array([1, 0]))
    result = item_results(run, "bits_per_byte")
    assert result is not None
    assert result.scores == pytest.approx(np.ones(2) / np.log(2))


def test_windows_of_text_are_grouped_in_blocks(tmp_path: Path) -> None:
    run = Run(tmp_path)
    store(run, np.zeros(1000))
    windows, items = item_results(run, "bits_per_byte"), item_results(run, "top1")
    assert windows is not None
    assert items is not None
    assert np.bincount(windows.groups).tolist() == [20] * 50
    assert np.unique(items.groups).size == 1000
    # groups of the data set are kept: no block joins two documents
    documents = np.repeat(np.arange(10), 100)
    store(run, np.zeros(1000), documents)
    grouped = item_results(run, "bits_per_byte")
    assert grouped is not None
    assert np.array_equal(grouped.groups, documents)


def test_every_format_shows_both_errors(tmp_path: Path) -> None:
    dataset, outcomes = dataset_of(
        {"axial": [0.4, 0.5, 0.4, 0.45, 0.4], "liere": [0.6, 0.8, 0.7, 0.7, 0.75]}
    )
    generator = np.random.default_rng(0)
    rows = []
    for row in dataset.encodings:
        runs = []
        for run in row.runs:
            stored = Run(tmp_path / f"{row.label}-{run.seed}")
            store(stored, generator.integers(0, 2, 50))
            runs.append(type(run)(run.data, run.encoding, run.seed, stored, run.run_id))
        rows.append(type(row)(row.label, tuple(runs)))
    dataset = type(dataset)(**{**vars(dataset), "encodings": tuple(rows)})
    table = table_of((dataset, outcomes))
    cell = json.loads(FORMATS["json"](table))["tables"][0]["rows"][1]
    assert cell["test_clusters"] == 50
    assert cell["test_freedom"] == pytest.approx(2 / (2 / 49 + 3 / 50))
    assert cell["seed_error"] > 0
    assert "items+holm(1)" in table.signature
    for form in ("markdown", "latex"):
        assert "s.e. seeds / test" in FORMATS[form](table)
        assert "Howe 1974" in FORMATS[form](table)
