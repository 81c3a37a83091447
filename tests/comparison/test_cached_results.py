"""The run index: tables with and without it are equal, and damage is noticed."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from liere_cli.comparison.tables import cache as index_module
from liere_cli.comparison.tables.build import ComparisonTable, make_table
from liere_cli.comparison.tables.cache import FILE, RunIndex
from liere_cli.config.recipe import Recipe
from liere_cli.config.spec import scalar_text
from liere_cli.errors import LiereError
from liere_cli.planning.from_runs import runs_as_plan
from liere_cli.planning.labels import dataset_titles
from liere_cli.planning.run_record import RunRecordReader
from liere_cli.runs.build import RunSpec, assemble
from liere_cli.runs.folder import Run
from liere_cli.utils.files import write_atomically
from support.synthetic_runs import TINY, write_run

ITEMS = "items-test.safetensors"


def run_spec_of(encoding: str, seed: int) -> RunSpec:
    settings = {"encoding": encoding, "data": "pointing", "seed": seed, "model": TINY}
    settings["training"] = {"budget": "10steps"}
    return assemble(Recipe.validated(settings, "test"), device=torch.device("cpu"))


def store(run_spec: RunSpec, outputs: Path) -> Run:
    """A finished run with results per item."""
    random = np.random.default_rng(run_spec.recipe.seed)
    right = (random.random(60) < (0.5 if run_spec.encoding == "axial" else 0.6)).astype(np.uint8)
    results = {
        "loss": np.ones(60, np.float32),
        "weight": np.ones(60, np.int32),
        "group": np.arange(60),
        "correct": right,
    }
    write_atomically(run_spec.run(outputs).path(ITEMS), save(results))
    return write_run(run_spec, outputs, test=float(right.mean()))


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    monkeypatch.setattr(index_module, "MIN_RUNS", 2)
    monkeypatch.setattr(index_module, "SETTLED_SECONDS", -1.0)
    run_specs = [
        run_spec_of(name, seed) for name in ("axial", "none", "liere") for seed in range(5)
    ]
    return [store(run_spec, tmp_path) for run_spec in run_specs]


def judged(runs: list[Run]) -> tuple[ComparisonTable, list[str]]:
    """The table, and warnings about the index."""
    index = RunIndex(runs)
    plan, outcomes = runs_as_plan(runs, None, index.record)
    table = make_table(plan, outcomes, index)
    index.save()
    return table, index.warnings


def without_index(runs: list[Run]) -> ComparisonTable:
    return make_table(*runs_as_plan(runs))


def index_of(runs: list[Run]) -> Path:
    return runs[0].folder.parent.parent / FILE


def test_an_indexed_run_is_not_read_again(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    plain = without_index(runs)
    assert plain.comparisons == 2
    assert "items" in plain.signature
    assert judged(runs) == (plain, [])

    def refuse(*args: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(RunRecordReader, "read", refuse)
    monkeypatch.setattr("liere_cli.runs.item_results.item_results", refuse)
    assert judged(runs) == (plain, [])
    monkeypatch.undo()
    index_of(runs).unlink()
    assert judged(runs) == (plain, [])


def test_a_changed_run_is_read_again(runs: list[Run], tmp_path: Path) -> None:
    before, _ = judged(runs)
    write_run(run_spec_of("liere", 2), tmp_path, test=0.987654)
    after, _ = judged(runs)
    assert before.datasets[0].rows[2].values[2] != after.datasets[0].rows[2].values[2] == 0.987654
    assert after == without_index(runs)
    runs[6].path(ITEMS).write_bytes(b"junk")
    after, _ = judged(runs)
    assert f"none, seed 1: {ITEMS} is damaged" in after.datasets[0].warnings[0]
    assert after == without_index(runs)
    runs[0].path("recipe.yaml").write_text("seed: 1\n")
    with pytest.raises(LiereError, match="was damaged or changed"):
        judged(runs)


def test_recently_changed_files_are_not_indexed(
    runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "SETTLED_SECONDS", 60.0)
    judged(runs)
    assert not index_of(runs).exists()


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "flipped": lambda content: content.replace(b"finished", b"finishes", 1),
    "other": lambda content: b'{"sha256": 1}\n[]',
    "nested": lambda content: b"[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_index_gives_a_warning_and_is_rebuilt(runs: list[Run], damage: str) -> None:
    plain, _ = judged(runs)
    whole = index_of(runs).read_bytes()
    index_of(runs).write_bytes(DAMAGE[damage](whole))
    table, (warning,) = judged(runs)
    assert "is damaged, so it is rebuilt" in warning
    assert table == plain
    assert judged(runs) == (plain, [])


def test_an_index_with_malformed_entries_is_ignored(runs: list[Run]) -> None:
    """Its digest is correct, but its entries are not."""
    plain, _ = judged(runs)
    header, _, body = index_of(runs).read_bytes().partition(b"\n")
    content = json.loads(body)
    content["runs"] = {name: record[:5] for name, record in content["runs"].items()}
    body = json.dumps(content).encode()
    made_by = json.loads(header)["made by"]
    header = json.dumps({"made by": made_by, "sha256": index_module.digest_of(body)}).encode()
    index_of(runs).write_bytes(header + b"\n" + body)
    assert judged(runs) == (plain, [])


def test_an_index_of_another_version_is_ignored(
    runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _ = judged(runs)
    monkeypatch.setattr(index_module, "__version__", "9.9")
    assert judged(runs) == (plain, [])


def test_entries_of_other_processes_are_kept_while_their_runs_exist(runs: list[Run]) -> None:
    judged(runs[:9])
    judged(runs[6:])
    content = json.loads(index_of(runs).read_bytes().partition(b"\n")[2])
    assert len(content["runs"]) == 15


def test_a_read_only_folder_works_without_an_index(
    runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise LiereError(f"{path}: can't be written (Read-only file system)")

    monkeypatch.setattr(index_module, "write_atomically", full)
    assert judged(runs) == (without_index(runs), [])
    assert not index_of(runs).exists()


def test_records_do_not_depend_on_the_order_of_reading(runs: list[Run]) -> None:
    shared = RunRecordReader()
    assert [shared.read(run) for run in runs] == [RunRecordReader().read(run) for run in runs]


def test_finished_runs_are_judged_without_torch(runs: list[Run]) -> None:
    code = (
        "import sys\n"
        "from liere_cli.cli.app import app\n"
        "app(['compare', *sys.argv[1:]], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules\n"
    )
    command = [sys.executable, "-c", code, *(str(run.folder) for run in runs)]
    assert "top-1 %" in subprocess.run(command, check=True, capture_output=True, text=True).stdout


VALUES = (3, True, None, 0.5, "gelu")


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"), st.dictionaries(st.sampled_from("xyz"), st.sampled_from(VALUES))
        ),
        max_size=6,
    )
)
def test_titles_state_what_differs_between_data_sets_of_one_name(
    datasets: list[tuple[str, dict[str, object]]],
) -> None:
    titles = dataset_titles([name for name, _ in datasets], [values for _, values in datasets])
    for (name, values), title in zip(datasets, titles, strict=True):
        rivals = [other for label, other in datasets if label == name]
        detail = ", ".join(
            f"{key}={scalar_text(value)}"  # as recipes write it
            for key, value in values.items()
            if any(other.get(key) != value for other in rivals)
        )
        assert title == (f"{name} ({detail})" if detail else name)
