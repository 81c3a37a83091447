"""One run in several processes of this machine, each with a GPU, as ``torchrun`` starts them."""

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch

from liere_cli.config.recipe import Recipe
from liere_cli.errors import LiereError
from liere_cli.launchers.pool import spawning
from liere_cli.runs.build import RunSpec, assemble
from liere_cli.runs.summary import RunSummary
from liere_cli.training.callbacks import Callbacks
from liere_cli.training.run import train_run
from liere_cli.utils.distributed import joined

#: for the other processes to end after one failed; NCCL would wait for it
GRACE_SECONDS = 30.0


def train_spanning(
    run_spec: RunSpec,
    *,
    outputs: Path,
    device: torch.device,
    fresh: bool,
    callbacks: Callbacks,
    processes: int,
) -> RunSummary:
    """As ``train_run``, in this process and ``processes`` - 1 others.

    A process that does this trains no other run afterwards. Raises LiereError with the reason of
    the process that failed first.
    """
    torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started: list[SpawnProcess] = []
    ends: list[Connection] = []
    spawn = multiprocessing.get_context("spawn")
    for rank in range(1, processes):
        ours, theirs = spawn.Pipe(duplex=False)
        others = (run_spec.recipe, run_spec.dataset.root, outputs, _device_of(device, rank), theirs)
        process = spawn.Process(target=_follow, args=others, daemon=True)
        with spawning(_environment(rank, processes, port)):
            process.start()
        theirs.close()
        started.append(process)
        ends.append(ours)
    try:
        own = _environment(0, processes, port)
        with _watched(started), _in_environment(own), joined() as ranks:
            return train_run(
                run_spec,
                outputs=outputs,
                device=_device_of(device, 0),
                fresh=fresh,
                callbacks=callbacks,
                ranks=ranks,
            )
    except LiereError as error:
        raise LiereError(_reason(ends) or str(error)) from None
    finally:
        for process in started:
            process.join(GRACE_SECONDS)
            if process.is_alive():
                process.kill()


def _follow(
    recipe: Recipe, root: Path | None, outputs: Path, device: torch.device, reason: Connection
) -> None:
    """A process other than the first; sends why it failed."""
    torch.set_num_threads(1)
    try:
        with joined() as ranks:
            run_spec = assemble(recipe, root=root, device=device)
            train_run(run_spec, outputs=outputs, device=device, ranks=ranks)
    except KeyboardInterrupt:
        return
    except LiereError as error:
        if not error.reported:
            reason.send(str(error))
        raise SystemExit(1) from None
    except Exception as error:
        reason.send(f"{type(error).__name__}: {error}")
        raise SystemExit(1) from None


def _device_of(device: torch.device, rank: int) -> torch.device:
    """The GPU of a rank, of those that this process sees."""
    return torch.device("cuda", rank) if device.type == "cuda" else device


def _environment(rank: int, processes: int, port: int) -> dict[str, str]:
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_PORT": port}
    return {**{name: str(value) for name, value in names.items()}, "MASTER_ADDR": "127.0.0.1"}


@contextmanager
def _in_environment(variables: dict[str, str]) -> Iterator[None]:
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)


@contextmanager
def _watched(processes: list[SpawnProcess]) -> Iterator[None]:
    """Ends this process where another one failed, and this one waits for it for ever."""
    over = threading.Event()

    def watch() -> None:
        running = {process.sentinel: process for process in processes}
        while running and not over.is_set():
            for sentinel in wait(list(running), timeout=1.0):
                process = running.pop(sentinel)  # type: ignore[arg-type]
                if process.exitcode and not over.wait(GRACE_SECONDS):
                    os.kill(os.getpid(), signal.SIGKILL)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def _reason(ends: list[Connection]) -> str | None:
    """Why another process failed, where one says so within a few seconds."""
    ready = wait(ends, timeout=5.0)
    for end in ends:
        with suppress(EOFError, OSError):
            if end in ready:
                return str(end.recv())
    return None
