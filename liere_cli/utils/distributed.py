"""Several processes that train one run together, as ``torchrun`` starts them.

Every rank builds the same model and takes an equal share of each step's batch; gradients are summed
over ranks (:mod:`liere_cli.utils.gradient_sum`) before the optimizer's step, which is the same on
all of them. Only rank 0 locks the run, writes files and prints. A process without a launcher is
rank 0 of 1, at no cost.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from liere_cli.errors import LiereError, UsageError

#: set by every launcher for PyTorch's ``env://`` rendezvous
ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
#: longest wait of one rank for another: rank 0 may have to load, lock or write
PATIENCE = timedelta(hours=1)

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The processes that train a run together, as one of them sees them.

    Every method but :meth:`rows` is collective: all ranks call it at the same point (``receive``
    where rank 0 calls ``broadcast``). It raises LiereError where another rank has ended.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which writes files and prints."""
        return self.rank == 0

    def rows(self, batch: int) -> slice:
        """This rank's rows of a batch; raises UsageError if it can't be divided equally."""
        if batch % self.size:
            near = max(batch // self.size, 1) * self.size
            raise UsageError(
                f"training.batch {batch} can't be split over {self.size} processes; the nearest "
                f"batch that can is {near}"
            )
        share = batch // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def all_reduce(self, seconds: float, stop: bool) -> tuple[float, bool]:
        """Seconds of rank 0, at least 0, and whether ``stop`` is true on any rank."""
        if self.size == 1:
            return seconds, stop
        # on the CPU, so that no step waits for the device
        both = torch.tensor([seconds if self.is_main else 0.0, float(stop)], dtype=torch.float64)
        with collective():
            dist.all_reduce(both, dist.ReduceOp.MAX)
        return float(both[0]), bool(both[1])

    def broadcast(self, make: Callable[[], T]) -> T:
        """Sends the value of ``make()``, which only rank 0 calls, to all ranks."""
        if self.size == 1:
            return make()
        return cast(T, self.receive(make() if self.is_main else None))

    def receive(self, sent: object = None) -> Any:
        """The value that rank 0 broadcasts; for every other rank."""
        made = [sent]
        with collective():
            dist.broadcast_object_list(made, device=torch.device("cpu"))
        return made[0]

    def gather(self, value: T) -> list[T]:
        """Every rank's value, by rank."""
        if self.size == 1:
            return [value]
        values: list[T] = [value] * self.size
        with collective():
            dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Returns once every rank has called it."""
        self.all_reduce(0.0, False)


ALONE = Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """Connects the processes that a launcher started for one run; LiereError if they can't be.

    Of an error on several ranks, all but one are marked as ``error.reported``.
    """
    size = launched()
    if size == 1:
        yield ALONE
        return
    on_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    try:
        store, rank, size = next(iter(rendezvous("env://", timeout=PATIENCE)))
        backend = "cpu:gloo,cuda:nccl" if on_gpus else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise LiereError(f"the {size} processes of this run can't connect: {reason}") from None
    try:
        yield Ranks(rank, size)
    except LiereError as error:
        error.reported = not _first_to_fail(store)
        raise
    # not after an error, when other ranks may hang in a collective operation
    dist.destroy_process_group()


def launched() -> int:
    """Processes that a launcher started for one run, or 1; UsageError for a wrong WORLD_SIZE."""
    if not all(name in os.environ for name in ENVIRONMENT):
        return 1
    try:
        return int(os.environ["WORLD_SIZE"])
    except ValueError:
        raise UsageError(
            f"WORLD_SIZE '{os.environ['WORLD_SIZE']}' in the environment is not a number"
        ) from None


def is_main_process() -> bool:
    """Whether this process writes and prints: the only one, or rank 0."""
    return launched() == 1 or os.environ["RANK"] == "0"


def own_device(device: torch.device) -> torch.device:
    """The device of this process: of several on one machine, each uses a GPU of its own.

    Raises UsageError if there are fewer GPUs than processes, or ``device`` names one GPU for all.
    """
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if device.type != "cuda" or launched() == 1 or local_size == 1:
        return device
    count = torch.cuda.device_count()
    if device.index is not None or local_size > count:
        raise UsageError(
            f"--device {device}: {local_size} processes on this machine need a GPU each, and it "
            f"has {count}; start {count}, with --device cuda, or use --device cpu"
        )
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


@contextmanager
def collective() -> Iterator[None]:
    """Turns an error of a collective operation into one that says what to do."""
    try:
        yield
    except RuntimeError as error:
        # without the prefix with PyTorch's source line, and the advice after the first sentence
        reason = re.sub(r"^\[.*?\] ", "", str(error).splitlines()[0]).partition(". ")[0]
        raise LiereError(
            f"another process of this run ended ({reason}); the same command resumes from the "
            "last checkpoint"
        ) from None


def _first_to_fail(store: Any) -> bool:
    try:
        return int(store.add("liere-failures", 1)) == 1
    except RuntimeError:
        return True  # the store ended with the other processes, before they could report it
