"""Two training processes, as torchrun starts them, that are reused for several runs."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from liere_cli.config.files import load_recipe
from liere_cli.data.batches import TrainingBatches
from liere_cli.runs.build import assemble
from liere_cli.runs.summary import RunSummary
from liere_cli.training.run import train_run
from liere_cli.utils.distributed import Ranks, joined

CPU = torch.device("cpu")


def train(
    ranks: Ranks, flags: dict[str, Any], outputs: Path, stop: tuple[int, int] | None = None
) -> RunSummary | str:
    """The summary, or ``stopped``; ``stop``: rank and step of a SIGTERM."""
    at = TrainingBatches.at

    def watched(self: TrainingBatches, step: int, rows: slice) -> Any:
        if stop == (ranks.rank, step):
            signal.raise_signal(signal.SIGTERM)
        return at(self, step, rows)

    with patch.object(TrainingBatches, "at", watched):
        try:
            run_spec = assemble(load_recipe(flags=flags), device=CPU)
            return train_run(run_spec, outputs=outputs, device=CPU, ranks=ranks)
        except KeyboardInterrupt:
            return "stopped"


class Pair:
    """Two ranks that wait for runs to train."""

    def __init__(self, connections: list[Connection]) -> None:
        self.connections = connections

    def train(self, *args: Any, **settings: Any) -> list[RunSummary | str]:
        """Results of :func:`train` on each rank."""
        for connection in self.connections:
            connection.send((args, settings))
        return [connection.recv() for connection in self.connections]


@contextmanager
def pair() -> Iterator[Pair]:
    """Starts both processes, and ends them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    ends, processes = [], []
    for rank in range(2):
        ours, theirs = context.Pipe()
        process = context.Process(target=_wait_for_work, args=(theirs, rank, port))
        process.start()
        theirs.close()
        ends.append(ours)
        processes.append(process)
    yield Pair(ends)
    for end in ends:
        end.send(None)
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]


def _wait_for_work(connection: Connection, rank: int, port: int) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with joined() as ranks:
        while (work := connection.recv()) is not None:
            args, settings = work
            connection.send(train(ranks, *args, **settings))
