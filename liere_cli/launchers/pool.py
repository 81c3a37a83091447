"""Worker processes, each training run after run: torch is imported once a worker."""

import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from liere_cli.launchers.events import Event, Listener, ReadingData, RunEnded, RunLockedElsewhere
from liere_cli.launchers.worker import POLL_SECONDS, TrainFunction, Waiting, train_planned_run
from liere_cli.planning.plan import PlannedRun
from liere_cli.planning.progress import Outcome
from liere_cli.runs.context import Context
from liere_cli.training.results import JOBS
from liere_cli.utils.progress import reported_to

#: time for a worker to write its checkpoint after it is asked to stop
GRACE_SECONDS = 60.0


def gpus_of(slot: int, device: str, each: int = 1) -> str | None:
    """A worker's ``CUDA_VISIBLE_DEVICES``: so many GPUs in turn; None (all) for other devices, as
    ``cuda:1``.
    """
    count = torch.cuda.device_count() if device == "cuda" else 0
    if not count:
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(index) for index in range(count)]
    return ",".join(names[(slot * each + index) % count].strip() for index in range(each))


class Pool:
    """Worker processes with a queue of runs; call :meth:`run` once."""

    def __init__(
        self,
        runs: Sequence[PlannedRun],
        context: Context,
        jobs: int,
        listener: Listener,
        trainer: TrainFunction,
    ) -> None:
        self.queue, self.context, self.jobs = deque(runs), context, jobs
        self.listener, self.trainer = listener, trainer
        #: a limit, the same as here: a run's model decides how many it takes
        self.threads = torch.get_num_threads()
        self.workers: dict[int, _Worker] = {}
        self.waiting = Waiting(listener)
        self.polled_at = time.monotonic()
        self.results: dict[str, Outcome] = {}

    def run(self) -> dict[str, Outcome]:
        """Trains all runs; returns the outcome of each by identity."""
        try:
            while self.queue or self.waiting or any(w.current for w in self.workers.values()):
                self._fill()
                slots: dict[Any, int] = {
                    worker.connection: slot for slot, worker in self.workers.items()
                }
                for connection in wait(list(slots), POLL_SECONDS if self.waiting else None):
                    self._hear(slots[connection])
                if self.waiting and not self.queue:
                    self._poll()
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
        """Gives every idle slot a run; a slot whose worker died gets a new worker."""
        for slot in range(self.jobs):
            if not self.queue:
                return
            if slot not in self.workers:
                environment = {"OMP_NUM_THREADS": str(self.threads), JOBS: str(self.jobs)}
                gpus = gpus_of(slot, self.context.device, self.context.gpus_per_run)
                if gpus is not None:
                    environment["CUDA_VISIBLE_DEVICES"] = gpus
                self.workers[slot] = _Worker(self.context, self.threads, environment, self.trainer)
            if self.workers[slot].current is None:
                self.workers[slot].give(self.queue.popleft())

    def _hear(self, slot: int) -> None:
        worker = self.workers[slot]
        try:
            event: Event = worker.connection.recv()
        except (EOFError, OSError):
            del self.workers[slot]
            worker.join()
            if worker.current is None:
                return
            code = worker.process.exitcode
            cause = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            hint = "; is memory short?" if code == -signal.SIGKILL else ""
            error = f"its process ended without a result ({cause}{hint})"
            event = RunEnded(worker.current, Outcome("failed", error=error))
        if isinstance(event, RunEnded):
            self.results[event.run.run_id] = event.outcome
            worker.current = None
        elif isinstance(event, RunLockedElsewhere):
            self.waiting.add(event.run)
            worker.current = None
        if worker.current is None and self.context.gpus_per_run > 1:
            # the next run has other processes, which a new one connects to
            del self.workers[slot]
            worker.give(None)
            worker.join()
        self.listener(event)

    def _poll(self) -> None:
        if time.monotonic() - self.polled_at < POLL_SECONDS:
            return
        over, free = self.waiting.poll()
        self.polled_at = time.monotonic()
        self.results |= over
        self.queue.extend(free)


class _Worker:
    """One process and the run that it trains."""

    def __init__(
        self,
        context: Context,
        threads: int,
        environment: Mapping[str, str],
        trainer: TrainFunction,
    ) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.connection, theirs = spawn.Pipe()
        self.process: SpawnProcess = spawn.Process(
            target=work,
            args=(theirs, context, threads, trainer),
            daemon=context.gpus_per_run == 1,  # others have processes of their own
        )
        self.current: PlannedRun | None = None
        with spawning(environment):  # which libraries read once, on import
            self.process.start()
        theirs.close()

    def give(self, run: PlannedRun | None) -> None:
        self.current = run
        try:
            self.connection.send(run)
        except OSError:
            return  # the worker died: the next read reports it

    def stop(self) -> None:
        if self.process.is_alive():
            self.process.terminate()

    def join(self) -> None:
        self.process.join(GRACE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


def work(connection: Connection, context: Context, threads: int, trainer: TrainFunction) -> None:
    """A worker process: trains each run that arrives, until None arrives.

    SIGTERM, or the end of the process that reads the events, stops the run resumably.
    """
    torch.set_num_threads(threads)
    alone = False

    def send(event: Event) -> None:
        nonlocal alone
        try:
            if not alone:
                connection.send(event)
        except OSError:
            alone = True  # a second signal would cut the checkpoint short
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        with reported_to(lambda progress: send(ReadingData(progress))):
            while not alone and (planned := connection.recv()) is not None:
                train_planned_run(planned, context, trainer, send)
    except (EOFError, KeyboardInterrupt):
        return


@contextmanager
def spawning(environment: Mapping[str, str]) -> Iterator[None]:
    """The state in which a worker is started, which inherits it, with variables added.

    Ctrl-C is blocked, since its parent passes it on, once. The file of the main module is hidden:
    spawning would run the user's script again, which no worker needs, and which may have no ``if
    __name__ == "__main__"``.
    """
    before = {key: os.environ.get(key) for key in environment}
    main = sys.modules["__main__"]
    hidden = {name: vars(main).pop(name, None) for name in ("__file__", "__spec__")}
    main.__spec__ = None
    os.environ.update(environment)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        vars(main).update({name: value for name, value in hidden.items() if value is not None})
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
