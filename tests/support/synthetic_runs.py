"""Runs without training: for tests of what happens around them."""

import hashlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch

from liere_cli.errors import LiereError
from liere_cli.runs.build import Cell, signature
from liere_cli.runs.folder import Run
from liere_cli.training.callbacks import Observer, Report
from liere_cli.utils.files import to_json, write_atomically

#: small enough for a model to be described in no time
TINY = {"layers": 1, "dim": 32, "heads": 2}
#: mean score of an encoding; others lie at 0.5
LEVELS = {"none": 0.2, "liere": 0.7, "absolute": 0.5}


def score(encoding: str, seed: int) -> float:
    """A level of the encoding, noise of the seed that all share, and a little of their own."""
    digits = hashlib.sha256(f"{encoding}/{seed}".encode()).digest()
    own = (digits[0] / 255 - 0.5) * 0.01
    return LEVELS.get(encoding.partition(":")[0], 0.5) + 0.02 * (seed % 5) + own


def summary_of(cell: Cell, **changes: Any) -> dict[str, Any]:
    value = score(cell.encoding, cell.recipe.seed)
    if cell.dataset.metric == "bits_per_byte":
        value = 3 - value
    return {
        "status": "finished",
        "id": cell.run_id,
        "encoding": cell.encoding,
        "data": cell.data,
        "fingerprint": cell.dataset.fingerprint,
        "seed": cell.recipe.seed,
        "metric": cell.dataset.metric,
        "higher_is_better": cell.dataset.metric == "top1",
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
        "budget": cell.recipe.training.budget,
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "error": None,
        "signature": signature(cell),
    } | changes


def write_run(cell: Cell, outputs: Path, **changes: Any) -> Run:
    """A finished run's folder, as training leaves it."""
    run = cell.run(outputs)
    run.write_recipe(cell.recipe)
    write_atomically(run.path("signature.txt"), signature(cell) + "\n")
    run.write_summary(summary_of(cell, **changes))
    return run


def begin_run(cell: Cell, outputs: Path, step: int = 5) -> Run:
    """A run's folder as an interruption leaves it."""
    run = cell.run(outputs)
    run.write_recipe(cell.recipe)
    write_atomically(run.path("signature.txt"), signature(cell) + "\n")
    progress = {"step": step, "examples": step * 32, "tokens": step * 100, "seconds": step / 5}
    write_atomically(run.path(f"checkpoints/{step:09d}.json"), to_json({"progress": progress}))
    return run


def train(
    cell: Cell, *, outputs: Path, device: torch.device, fresh: bool, observer: Observer
) -> dict[str, Any]:
    """In place of training: ``absolute`` diverges, ``sinusoidal`` fails."""
    run = cell.run(outputs)
    if (known := run.summary()) and not fresh:
        return known
    observer.started(cell, run, 0, [])
    observer.reported(Report(5, 0.5, 1.25, 0.3, 100.0, 1.0))
    if cell.encoding == "sinusoidal":
        raise LiereError("the disk is full")
    changes: dict[str, Any] = {}
    if cell.encoding == "absolute":
        changes = {"status": "diverged", "test": None, "val": None, "error": "the loss was nan"}
    observer.evaluating("test")
    write_run(cell, outputs, **changes)
    return run.summary() or {}


def train_until_killed(
    cell: Cell, *, outputs: Path, device: torch.device, fresh: bool, observer: Observer
) -> dict[str, Any]:
    """``none`` takes its whole process with it."""
    if cell.encoding == "none":
        os.kill(os.getpid(), signal.SIGKILL)
    return train(cell, outputs=outputs, device=device, fresh=fresh, observer=observer)


def train_until_stopped(
    cell: Cell, *, outputs: Path, device: torch.device, fresh: bool, observer: Observer
) -> dict[str, Any]:
    """Trains on until it is told to stop, and then leaves a checkpoint."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    observer.started(cell, cell.run(outputs), 0, [])
    while not stopped:
        time.sleep(0.01)
    begin_run(cell, outputs)
    raise KeyboardInterrupt


def train_and_break(
    cell: Cell, *, outputs: Path, device: torch.device, fresh: bool, observer: Observer
) -> dict[str, Any]:
    """An error that nobody foresaw."""
    if cell.encoding == "none":
        raise ZeroDivisionError("division by zero")
    return train(cell, outputs=outputs, device=device, fresh=fresh, observer=observer)


def train_and_show_environment(
    cell: Cell, *, outputs: Path, device: torch.device, fresh: bool, observer: Observer
) -> dict[str, Any]:
    """Fails, and says what its process was given."""
    given = [os.environ[key] for key in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")]
    raise LiereError(" ".join(given))
