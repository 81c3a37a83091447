"""A run from its claim to its summary: one cell in, one summary out."""

from contextlib import suppress
from pathlib import Path

import torch

from liere_cli.errors import LiereError
from liere_cli.runs.build import RunSpec
from liere_cli.runs.checkpoint import clear_checkpoints
from liere_cli.runs.folder import Run
from liere_cli.runs.lock import RunLock, claim
from liere_cli.runs.summary import RunSummary
from liere_cli.training.callbacks import Observer, Silent
from liere_cli.training.trainer import Trainer, discard_results, parts_of
from liere_cli.utils.distributed import ALONE, Ranks
from liere_cli.utils.files import make_folder


def train_run(
    run_spec: RunSpec,
    *,
    outputs: Path,
    device: torch.device,
    fresh: bool = False,
    observer: Observer | None = None,
    ranks: Ranks = ALONE,
) -> RunSummary:
    """Trains a cell, or goes on where it stopped, or returns what an earlier run found.

    Args:
        fresh: discards earlier results of this cell.
        observer: is told of progress.
        ranks: the processes that train it together, of which this is one.

    Returns:
        The summary, as written to summary.json. ``status`` is ``finished`` or ``diverged``.

    Raises:
        RunLocked: another process trains this run.
        LiereError: a file can't be written, or another rank has ended.
        UsageError: the ranks can't share the work equally.
        KeyboardInterrupt: after SIGINT or SIGTERM; a checkpoint has been written.
    """
    parts_of(run_spec, ranks)  # refused before anything is claimed or discarded
    if len(set(ranks.gather(run_spec.run_id))) > 1:
        raise LiereError(
            "the processes of this run differ in their recipe, or find other data or encodings"
        )
    if not ranks.is_main:
        return _follow(run_spec, outputs, device, ranks)
    with claim(run_spec.run(outputs)) as held:
        run = run_spec.run(outputs)  # another experiment may have begun it since
        make_folder(run.folder)
        if fresh:
            _discard(run)
        known = run.summary()
        summary = ranks.broadcast(lambda: known)
        if summary is None:
            summary = Trainer(run_spec, run, device, observer or Silent(), held, ranks).train()
            held.check()
            summary = run.write_summary(summary)
        clear_checkpoints(run)
        return ranks.broadcast(lambda: summary)


def _follow(run_spec: RunSpec, outputs: Path, device: torch.device, ranks: Ranks) -> RunSummary:
    """The part of a rank that neither claims nor writes."""
    summary: RunSummary | None = ranks.receive()  # of an earlier run
    if summary is None:
        run = run_spec.run(outputs)
        Trainer(run_spec, run, device, Silent(), RunLock(run), ranks).train()
    closing: RunSummary = ranks.receive()
    return closing


def tidy(run: Run) -> None:
    """Drops the checkpoints that a kill right after the end left in a run, where that can be."""
    if run.path("checkpoints").is_dir():
        with suppress(LiereError, OSError), claim(run):
            if run.summary() is not None:
                clear_checkpoints(run)


def _discard(run: Run) -> None:
    # the summary first: a run without one is not over
    for name in ("summary.json", "metrics.jsonl"):
        run.path(name).unlink(missing_ok=True)
    discard_results(run)
    clear_checkpoints(run)
