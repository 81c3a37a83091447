"""Closing summaries: every version's are read, damaged ones are named."""

import json
from pathlib import Path
from typing import Any

import pytest

from liere_cli.errors import LiereError
from liere_cli.runs.folder import Run
from liere_cli.runs.summary import LARGEST, RunSummary
from liere_cli.utils.files import seal

RUN_ID = "0123456789ab"
#: as the first version of liere wrote it
FIRST: dict[str, Any] = {
    "status": "finished", "id": RUN_ID, "encoding": "rope", "data": "text", "fingerprint": "f",
    "seed": 3, "metric": "bits_per_byte", "higher_is_better": False, "val": 2.5, "test": 2.25,
    "val_loss": 1.5, "test_loss": 1.75, "best": {"step": 8, "val": 2.5}, "steps": 10,
    "examples": 40, "tokens": 640, "seconds": 0.5, "parameters": 1000, "encoding_parameters": 0,
    "throughput": 1280.0, "throughput_unit": "tokens/s", "budget": "10steps", "device": "cpu",
    "threads": 1, "error": None, "signature": "encoding:rope",
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folder = tmp_path / f"text-rope-s3-{RUN_ID}"
    folder.mkdir()
    return Run(folder)


def sealed(**changes: Any) -> dict[str, Any]:
    record = FIRST | {"tested": "all", "format": 2, "files": {"recipe.yaml": "0" * 64}} | changes
    return record | {"sha256": seal(record, "sha256")}


def read(run: Run, record: object) -> RunSummary:
    run.path("summary.json").write_text(json.dumps(record))
    summary = run.summary()
    assert summary is not None
    return summary


@pytest.mark.parametrize("record", [FIRST, sealed(), sealed(added_later={"a": [1]})])
def test_summaries_of_every_version_are_read_with_all_their_keys(
    run: Run, record: dict[str, Any]
) -> None:
    summary = read(run, record)
    assert (summary.test, summary.seed, summary.error) == (2.25, 3, None)
    assert summary.to_record() == record


def test_a_summary_is_written_with_its_keys_in_order(run: Run) -> None:
    run.path("recipe.yaml").write_text("seed: 3\n")
    written = run.write_summary(RunSummary.from_record(FIRST | {"tested": "all"}))
    assert run.summary() == written
    record = json.loads(run.path("summary.json").read_text())
    assert list(record)[-6:] == ["tested", "error", "signature", "format", "files", "sha256"]
    assert record["sha256"] == seal(record, "sha256")
    assert list(record["files"]) == ["recipe.yaml"]


@pytest.mark.parametrize("value", [LARGEST, -1e200, 10**25 * 10**90, float("nan")])
def test_numbers_out_of_range_are_none(value: float) -> None:
    summary = RunSummary.from_record(FIRST | {"test": value, "seconds": value, "val": 2})
    assert (summary.test, summary.seconds) == (None, None)
    assert isinstance(summary.val, float)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ([], "not a run summary; delete it to train again"),
        ({**FIRST, "format": 99}, "later version of liere .format 99."),
        ({**sealed(), "test": 9.0}, "its digest differs"),
        ({**FIRST, "format": 2}, "its digest differs"),
        ({key: FIRST[key] for key in FIRST if key not in ("val", "test")}, "lacks 'test'"),
        ({**FIRST, "seed": True}, "'seed' is True"),
        ({**FIRST, "test": "2.5"}, "'test' is '2.5'"),
        ({**FIRST, "files": []}, r"'files' is \[\]"),
        ({**FIRST, "id": "ba9876543210"}, "summary of another run .'ba9876543210'."),
    ],
)
def test_a_summary_that_is_not_the_runs_is_refused(run: Run, record: object, words: str) -> None:
    with pytest.raises(LiereError, match=rf"summary\.json: .*{words}"):
        read(run, record)
