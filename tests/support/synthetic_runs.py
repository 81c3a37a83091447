"""Run folders without training, and functions that replace training in tests."""

import hashlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch

from liere_cli.errors import LiereError
from liere_cli.runs.build import RunSpec, signature
from liere_cli.runs.folder import Run
from liere_cli.runs.summary import RunSummary
from liere_cli.training.callbacks import Callbacks, Report
from liere_cli.utils.files import to_json, write_atomically

#: settings of a model that is built quickly
TINY = {"layers": 1, "dim": 32, "heads": 2}
#: mean score of an encoding; others have 0.5
LEVELS = {"none": 0.2, "liere": 0.7, "absolute": 0.5}


def score(encoding: str, seed: int) -> float:
    """The encoding's level, noise that depends on the seed alone, and a little by both."""
    digits = hashlib.sha256(f"{encoding}/{seed}".encode()).digest()
    own = (digits[0] / 255 - 0.5) * 0.01
    return LEVELS.get(encoding.partition(":")[0], 0.5) + 0.02 * (seed % 5) + own


def summary_of(run_spec: RunSpec, **changes: Any) -> RunSummary:
    value = score(run_spec.encoding, run_spec.recipe.seed)
    if run_spec.dataset.metric == "bits_per_byte":
        value = 3 - value
    record = {
        "status": "finished",
        "id": run_spec.run_id,
        "encoding": run_spec.encoding,
        "data": run_spec.data,
        "fingerprint": run_spec.dataset.fingerprint,
        "seed": run_spec.recipe.seed,
        "metric": run_spec.dataset.metric,
        "higher_is_better": run_spec.dataset.metric == "top1",
        "val": value,
        "test": value,
        "val_loss": 1.0,
        "test_loss": 1.0,
        "best": {"step": 10, "val": value},
        "steps": 10,
        "examples": 320,
        "tokens": 2048,
        "seconds": 2.0,
        "parameters": 812_345,
        "encoding_parameters": 1234,
        "throughput": 2600.0,
        "throughput_unit": "examples/s",
        "budget": str(run_spec.recipe.training.budget),
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "error": None,
        "signature": signature(run_spec),
    }
    return RunSummary.from_record(record | changes)


def write_summary(run_spec: RunSpec, outputs: Path, **changes: Any) -> RunSummary:
    """Makes a finished run's folder, as training leaves it."""
    run = run_spec.run(outputs)
    run.write_recipe(run_spec.recipe)
    write_atomically(run.path("signature.txt"), signature(run_spec) + "\n")
    return run.write_summary(summary_of(run_spec, **changes))


def write_run(run_spec: RunSpec, outputs: Path, **changes: Any) -> Run:
    """As :func:`write_summary`; returns the run."""
    write_summary(run_spec, outputs, **changes)
    return run_spec.run(outputs)


def summary_in(run: Run) -> RunSummary:
    summary = run.summary()
    assert summary is not None
    return summary


def begin_run(run_spec: RunSpec, outputs: Path, step: int = 5) -> Run:
    """An interrupted run's folder."""
    run = run_spec.run(outputs)
    run.write_recipe(run_spec.recipe)
    write_atomically(run.path("signature.txt"), signature(run_spec) + "\n")
    progress = {"step": step, "examples": step * 32, "tokens": step * 100, "seconds": step / 5}
    write_atomically(run.path(f"checkpoints/{step:09d}.json"), to_json({"progress": progress}))
    return run


def train(
    run_spec: RunSpec, *, outputs: Path, device: torch.device, fresh: bool, callbacks: Callbacks
) -> RunSummary:
    """Replaces training: ``absolute`` diverges, ``sinusoidal`` fails."""
    run = run_spec.run(outputs)
    if (summary := run.summary()) and not fresh:
        return summary
    callbacks.on_start(run_spec, run, 0, [])
    callbacks.on_report(Report(5, 0.5, 1.25, 0.3, 100.0, 1.0))
    if run_spec.encoding == "sinusoidal":
        raise LiereError("the disk is full")
    changes: dict[str, Any] = {}
    if run_spec.encoding == "absolute":
        changes = {"status": "diverged", "test": None, "val": None, "error": "the loss was nan"}
    callbacks.on_evaluate("test")
    return write_summary(run_spec, outputs, **changes)


def train_until_killed(
    run_spec: RunSpec, *, outputs: Path, device: torch.device, fresh: bool, callbacks: Callbacks
) -> RunSummary:
    """As :func:`train`, but ``none`` kills its process."""
    if run_spec.encoding == "none":
        os.kill(os.getpid(), signal.SIGKILL)
    return train(run_spec, outputs=outputs, device=device, fresh=fresh, callbacks=callbacks)


def train_until_stopped(
    run_spec: RunSpec, *, outputs: Path, device: torch.device, fresh: bool, callbacks: Callbacks
) -> RunSummary:
    """Runs until SIGTERM, and then writes a checkpoint."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    callbacks.on_start(run_spec, run_spec.run(outputs), 0, [])
    while not stopped:
        time.sleep(0.01)
    begin_run(run_spec, outputs)
    raise KeyboardInterrupt


def train_and_break(
    run_spec: RunSpec, *, outputs: Path, device: torch.device, fresh: bool, callbacks: Callbacks
) -> RunSummary:
    """As :func:`train`, but ``none`` raises an unexpected error."""
    if run_spec.encoding == "none":
        raise ZeroDivisionError("division by zero")
    return train(run_spec, outputs=outputs, device=device, fresh=fresh, callbacks=callbacks)


def train_and_show_environment(
    run_spec: RunSpec, *, outputs: Path, device: torch.device, fresh: bool, callbacks: Callbacks
) -> RunSummary:
    """Fails with the environment variables of its process as the message."""
    values = [os.environ[key] for key in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")]
    raise LiereError(" ".join(values))
