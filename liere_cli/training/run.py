"""Trains a run: lock, training loop, summary."""

from contextlib import suppress
from pathlib import Path

import torch

from liere_cli.errors import LiereError
from liere_cli.runs.build import RunSpec
from liere_cli.runs.checkpoint import clear_checkpoints, clear_leftovers
from liere_cli.runs.folder import Run
from liere_cli.runs.lock import RunLock, lock_run
from liere_cli.runs.summary import RunSummary
from liere_cli.runs.threads import run_threads
from liere_cli.training.callbacks import Callbacks
from liere_cli.training.results import describe_environment, describe_run, discard_results
from liere_cli.training.step import parts_of
from liere_cli.training.trainer import Trainer
from liere_cli.utils.determinism import deterministic
from liere_cli.utils.distributed import ALONE, Ranks
from liere_cli.utils.files import make_folder
from liere_cli.utils.malloc import memory_errors_reported
from liere_cli.utils.torch_modes import cpu_float32

_LESS_MEMORY = "reduce training.batch, raise training.accumulate, or choose a smaller model or grid"


@cpu_float32()
def train_run(
    run_spec: RunSpec,
    *,
    outputs: Path,
    device: torch.device,
    fresh: bool = False,
    callbacks: Callbacks | None = None,
    ranks: Ranks = ALONE,
) -> RunSummary:
    """Trains a run, resumes it from its newest checkpoint, or returns its summary if it has one.

    Args:
        fresh: discards earlier results of this run.
        callbacks: called on rank 0.
        ranks: the processes that train it together, of which this is one.

    Raises:
        RunLocked: another process trains this run.
        LiereError: a file can't be written, or another rank has ended.
        UsageError: the ranks can't share a batch equally, or results would not be deterministic.
        KeyboardInterrupt: after SIGINT or SIGTERM; a checkpoint has been written.
    """
    with run_threads(run_spec), deterministic(device, run_spec.recipe.training.compile):
        return _train(run_spec, outputs, device, fresh, callbacks or Callbacks(), ranks)


def _train(
    run_spec: RunSpec,
    outputs: Path,
    device: torch.device,
    fresh: bool,
    callbacks: Callbacks,
    ranks: Ranks,
) -> RunSummary:
    parts_of(run_spec, ranks)  # raises before anything is locked or discarded
    if len(set(ranks.gather(run_spec.run_id))) > 1:
        raise LiereError(
            "the processes of this run differ in their recipe, or find other data or encodings"
        )
    if not ranks.is_main:
        return _train_as_follower(run_spec, outputs, device, ranks)
    with lock_run(run_spec.run(outputs)) as lock:
        run = run_spec.run(outputs)  # another experiment may have begun it since
        make_folder(run.folder)
        if fresh:
            _discard(run)
        earlier = run.summary()
        summary = ranks.broadcast(lambda: earlier)
        if summary is None:
            clear_leftovers(run)
            discard_results(run)
            describe_run(run_spec, run, device, ranks.size)
            callbacks, ended = callbacks or Callbacks(), None
            try:
                with memory_errors_reported(_LESS_MEMORY):
                    trainer = Trainer(run_spec, run, device, callbacks, lock, ranks)
                    if device.type == "cuda":
                        step = trainer.take_step.execution.description
                        describe_environment(run_spec, run, device, ranks.size, step)
                    summary = trainer.train()
                lock.check()
                summary = ended = run.write_summary(summary)
            finally:
                callbacks.on_end(ended)
        clear_checkpoints(run)
        return ranks.broadcast(lambda: summary)


def _train_as_follower(
    run_spec: RunSpec, outputs: Path, device: torch.device, ranks: Ranks
) -> RunSummary:
    """The part of a rank other than 0, which neither locks nor writes."""
    earlier: RunSummary | None = ranks.receive()
    if earlier is None:
        run = run_spec.run(outputs)
        Trainer(run_spec, run, device, Callbacks(), RunLock(run), ranks).train()
    summary: RunSummary = ranks.receive()
    return summary


def tidy(run: Run) -> None:
    """Deletes the checkpoints that a finished run still has, as after a kill right at its end."""
    if run.path("checkpoints").is_dir():
        with suppress(LiereError, OSError), lock_run(run):
            if run.summary() is not None:
                clear_checkpoints(run)


def _discard(run: Run) -> None:
    # the summary first: without one the run is not over
    for name in ("summary.json", "metrics.jsonl"):
        run.path(name).unlink(missing_ok=True)
    discard_results(run)
    clear_checkpoints(run)
