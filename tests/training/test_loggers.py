"""Trackers receive what metrics.jsonl has, read back by their own readers."""

import importlib.util
import json
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import liere_cli
from liere_cli.cli.app import app
from liere_cli.launchers.events import Event, Notice, RunReported
from liere_cli.runs.folder import Run
from liere_cli.training.loggers import observer
from liere_cli.training.loggers.base import LoggedRun
from liere_cli.training.loggers.observer import LOGGERS, logger_names

RUN: dict[str, Any] = {
    "encoding": "rope",
    "data": "text:verse.txt,grid=16",
    "budget": "8steps",
    "device": "cpu",
    "assignments": [
        "model.layers=1", "model.dim=16", "model.heads=2", "training.batch=4",
        "training.log_every=2", "training.validations=2", "training.checkpoint_seconds=1e-6",
    ],
}  # fmt: skip


def needs(package: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "verse.txt").write_text("The quick brown fox jumps over the lazy dog. " * 40)
    return tmp_path


def stop(event: Event) -> None:
    if isinstance(event, RunReported) and event.report.step == 4:
        raise KeyboardInterrupt


def interrupted_and_resumed(log: str) -> Run:
    with pytest.raises(KeyboardInterrupt):
        liere_cli.train(**RUN, log=log, on_progress=stop)
    return liere_cli.train(**RUN, log=log)


def expected(run: Run) -> dict[str, dict[int, float]]:
    """The numbers of metrics.jsonl and summary.json, by the names and steps of trackers."""
    values: dict[str, dict[int, float]] = {}
    logged = LoggedRun(run, run.recipe(), "", "", "bits_per_byte")
    for line in run.metrics():
        for name, value in logged.scalars(line).items():
            values.setdefault(name, {})[line["step"]] = value
    summary = run.summary()
    assert summary is not None
    for name, value in logged.results(summary).items():
        values[name] = {summary.steps: value}
    assert values["val/bits_per_byte"].keys() == {4, 8}
    assert values["train/loss"].keys() == {2, 4, 6, 8}
    return values


def agree(logged_values: Mapping[str, Mapping[int, float]], run: Run) -> None:
    expected_values = expected(run)
    assert logged_values.keys() == expected_values.keys()
    for name, steps in expected_values.items():
        assert logged_values[name] == pytest.approx(steps, rel=1e-6), name


def in_tensorboard(run: Run) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(run.path("tensorboard")))
    reader.Reload()
    logged_values: dict[str, dict[int, float]] = {}
    for name in reader.Tags()["scalars"]:
        for entry in reader.Scalars(name):
            assert entry.step not in logged_values.setdefault(name, {}), "logged twice"
            logged_values[name][entry.step] = entry.value
    return logged_values


def in_mlflow(run: Run) -> dict[str, dict[int, float]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=run.folder.parent.parent.resolve().as_uri() + "/mlruns")
    experiment = client.get_experiment_by_name(run.folder.parent.name)
    (record,) = client.search_runs([experiment.experiment_id])
    assert record.info.status == "FINISHED"
    assert record.data.tags["liere.id"] == run.run_id
    assert record.data.params["encoding.name"] == "rope"
    return {
        name: {
            metric.step: metric.value
            for metric in client.get_metric_history(record.info.run_id, name)
        }
        for name in record.data.metrics
    }


def leveldb_records(content: bytes) -> Iterator[bytes]:
    """The records of a log of LevelDB after W&B's 7 bytes of header.

    A log has blocks of 32 KiB; a record is cut at their ends. Before each part are its checksum (4
    bytes), length (2) and place: 1 whole, 2 first, 3 middle, 4 last. Source:
    github.com/google/leveldb/blob/main/doc/log_format.md.
    """
    assert content[:4] == b":W&B"
    block, at, record = 1 << 15, 7, b""
    while at + 7 <= len(content):
        if block - at % block < 7:
            at += block - at % block
            continue
        length, place = struct.unpack("<HB", content[at + 4 : at + 7])
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if place in (1, 4):
            yield record
            record = b""


def in_wandb(run: Run) -> tuple[dict[str, dict[int, float]], dict[str, Any]]:
    """History and summary in the offline run: records in the format that W&B itself parses."""
    from wandb.proto import wandb_internal_pb2

    (path,) = run.folder.glob("wandb/offline-run-*/*.wandb")
    history: dict[str, dict[int, float]] = {}
    summary: dict[str, Any] = {}
    for data in leveldb_records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        items = {item.key or ".".join(item.nested_key): item for item in record.history.item}
        values = {key: json.loads(item.value_json) for key, item in items.items()}
        for key, value in values.items():
            if not key.startswith("_"):
                history.setdefault(key, {})[values["_step"]] = value
        for item in record.summary.update:
            summary[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
    return history, summary


@needs("tensorboard")
@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_back_what_was_logged(here: Path) -> None:
    agree(in_tensorboard(interrupted_and_resumed("tensorboard")), Run(next_run(here)))


@needs("mlflow")
@pytest.mark.filterwarnings("ignore")
def test_mlflow_reads_back_what_was_logged(here: Path) -> None:
    agree(in_mlflow(interrupted_and_resumed("mlflow")), Run(next_run(here)))


@needs("wandb")
@pytest.mark.filterwarnings("ignore")
def test_an_offline_run_of_wandb_has_what_was_logged(here: Path) -> None:
    run = interrupted_and_resumed("wandb")
    history, summary = in_wandb(run)
    expected_values = expected(run)
    final = {name: steps[8] for name, steps in expected_values.items() if name.startswith("final/")}
    agree(history | {name: {8: summary[name]} for name in final}, run)
    assert summary["status"] == "finished"


def next_run(here: Path) -> Path:
    (recipe,) = (here / "outputs").glob("*/*/recipe.yaml")
    return recipe.parent


@needs("tensorboard")
@pytest.mark.filterwarnings("ignore")
def test_logging_changes_no_bit_and_a_run_with_logs_can_be_removed(here: Path) -> None:
    plain = liere_cli.train(**RUN, out="plain")
    logged = liere_cli.train(**RUN, out="logged", log=["tensorboard"])
    first, second = (run.path("last.safetensors").read_bytes() for run in (plain, logged))
    assert first == second
    # a finished run is logged too, once
    again = liere_cli.train(**RUN, out="plain", log="tensorboard")
    (events,) = again.path("tensorboard").iterdir()
    agree(in_tensorboard(again), again)
    liere_cli.train(**RUN, out="plain", log="tensorboard")
    assert [events] == list(again.path("tensorboard").iterdir())
    liere_cli.remove_runs(again)
    assert not again.folder.exists()


class Broken:
    """A logger that works for some steps."""

    name = "broken"
    package = "json"

    def __init__(self, logged: LoggedRun) -> None:
        self.calls = 0

    @staticmethod
    def has(logged: LoggedRun) -> bool:
        return False

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.calls += 1
        if self.calls > 1:
            raise ConnectionError("the server is away")

    def close(self, results: Mapping[str, float], status: str) -> None: ...


class Refusing(Broken):
    name = "refusing"

    def __init__(self, logged: LoggedRun) -> None:
        raise PermissionError("log in first")


def test_a_logger_that_fails_ends_no_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOGGERS, "broken", Broken)
    monkeypatch.setitem(LOGGERS, "refusing", Refusing)
    events: list[Event] = []
    run = liere_cli.train(**RUN, log="broken,refusing", on_progress=events.append)
    summary = run.summary()
    assert summary is not None
    assert summary.status == "finished"
    warnings = sorted(event.text for event in events if isinstance(event, Notice))
    assert len(warnings) == 2
    assert "--log broken: this run is no longer logged (ConnectionError" in warnings[0]
    assert "--log refusing" in warnings[1]


def test_unknown_and_missing_loggers_are_refused_before_training(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(liere_cli.UsageError, match="did you mean 'tensorboard'"):
        logger_names("tensorbord")
    monkeypatch.setattr(observer, "find_spec", lambda name: None)
    for command in (["train"], ["compare", "quick"]):
        result = CliRunner().invoke(app, [*command, "--log=wandb"])
        assert result.exit_code == 2
        assert "pip install 'liere[wandb]'" in result.stderr
    assert not os.path.exists("outputs")


@needs("tensorboard")
@pytest.mark.filterwarnings("ignore")
def test_every_run_of_a_comparison_is_logged(here: Path) -> None:
    settings = RUN | {"encodings": "rope,none", "seeds": 2, "baseline": "rope"}
    del settings["encoding"]
    comparison = liere_cli.compare(**settings, log="tensorboard")
    assert not comparison.failed
    runs = [Run(path.parent) for path in here.glob("outputs/*/*/recipe.yaml")]
    assert len(runs) == 4
    for run in runs:
        agree(in_tensorboard(run), run)
