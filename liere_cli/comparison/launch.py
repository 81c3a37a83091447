"""Trains the cells of a plan that are not done, one after the other or several at once."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from liere_cli.comparison.cells import Outcome, PlannedRun
from liere_cli.comparison.worker import CellEnded, Listener, Site, Trainer, run_cell, work
from liere_cli.training import train_cell

#: time for a worker to write its checkpoint after it is asked to stop
GRACE_SECONDS = 60.0


def launch(
    runs: Sequence[PlannedRun],
    site: Site,
    *,
    jobs: int = 1,
    listener: Listener = lambda event: None,
    trainer: Trainer | None = None,
) -> dict[str, Outcome]:
    """Trains runs in their order; one that fails does not stop the others.

    With ``jobs`` above 1, worker processes share the cores (and take the GPUs in turn). Fewer
    threads add floats in another order, so a run's last digits depend on ``jobs``; its summary
    says how many threads it had.

    Args:
        listener: told of every event, in this process.
        trainer: trains one cell, ``train_cell`` unless given; importable by name, so that
            workers find it.

    Returns:
        The outcome of each run by identity.

    Raises:
        KeyboardInterrupt: after SIGINT or SIGTERM, once every worker has stopped.
    """
    trainer = trainer or train_cell
    if jobs <= 1 or len(runs) <= 1:
        return {run.run_id: run_cell(run, site, trainer, listener) for run in runs}
    return _Pool(deque(runs), site, min(jobs, len(runs)), listener, trainer).run()


def threads_each(jobs: int) -> int:
    """Threads for each of ``jobs`` workers: the cores that this process may use, divided."""
    linux = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, int(limit)) // jobs if limit.isdigit() else cores // jobs)


class _Worker:
    """One process and the cell that it trains."""

    def __init__(self, site: Site, threads: int, trainer: Trainer) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=work, args=(theirs, site, threads, trainer), daemon=True
        )
        self.current: PlannedRun | None = None
        with _threads_in_environment(threads), _without_interrupts():
            self.process.start()
        theirs.close()

    def give(self, run: PlannedRun | None) -> None:
        self.current = run
        try:
            self.connection.send(run)
        except OSError:
            return  # it died: the read that follows tells

    def stop(self) -> None:
        if self.process.is_alive():
            self.process.terminate()

    def join(self) -> None:
        self.process.join(GRACE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


class _Pool:
    def __init__(
        self,
        queue: deque[PlannedRun],
        site: Site,
        jobs: int,
        listener: Listener,
        trainer: Trainer,
    ) -> None:
        self.queue, self.site, self.jobs = queue, site, jobs
        self.listener, self.trainer = listener, trainer
        self.workers: dict[int, _Worker] = {}
        self.results: dict[str, Outcome] = {}

    def run(self) -> dict[str, Outcome]:
        with _terminated_as_interrupt():
            try:
                while self.queue or any(worker.current for worker in self.workers.values()):
                    self._fill()
                    slots: dict[Any, int] = {
                        worker.connection: slot for slot, worker in self.workers.items()
                    }
                    for connection in wait(list(slots)):
                        self._hear(slots[connection])
                for worker in self.workers.values():
                    worker.give(None)
            except BaseException:
                for worker in self.workers.values():
                    worker.stop()
                raise
            finally:
                for worker in self.workers.values():
                    worker.join()
        return self.results

    def _fill(self) -> None:
        """Gives every idle slot a cell; a slot whose worker died gets a new one."""
        for slot in range(self.jobs):
            if not self.queue:
                return
            if slot not in self.workers:
                site = replace(self.site, device=device_of(slot, self.site.device))
                self.workers[slot] = _Worker(site, threads_each(self.jobs), self.trainer)
            if self.workers[slot].current is None:
                self.workers[slot].give(self.queue.popleft())

    def _hear(self, slot: int) -> None:
        worker = self.workers[slot]
        try:
            event = _receive(worker.connection)
        except (EOFError, OSError):
            del self.workers[slot]
            worker.join()
            if worker.current is None:
                return
            code = worker.process.exitcode
            cause = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            hint = "; is memory short?" if code == -signal.SIGKILL else ""
            error = f"its process ended without a result ({cause}{hint})"
            event = CellEnded(worker.current, Outcome("failed", error=error))
        if isinstance(event, CellEnded):
            self.results[event.run.run_id] = event.outcome
            worker.current = None
        self.listener(event)


def _receive(connection: "Connection[Any, Any]") -> Any:
    return connection.recv()


def device_of(slot: int, device: str) -> str:
    """The device of a worker: GPUs in turn, unless one was named."""
    if device != "cuda":
        return device
    return f"cuda:{slot % max(torch.cuda.device_count(), 1)}"


@contextmanager
def _threads_in_environment(threads: int) -> Iterator[None]:
    """For a process to be started: some libraries read their thread count once, on import."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """For a process to be started, which inherits it: Ctrl-C is its parent's to pass on, once."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _terminated_as_interrupt() -> Iterator[None]:
    """SIGTERM ends a comparison like Ctrl-C, so that workers are told to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
