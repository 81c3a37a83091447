"""Several processes that train one run together, as ``torchrun`` starts them.

Every rank builds the same model and takes an equal share of each step's batch; gradients are summed
over ranks before the optimizer's step, which all then take alike. Rank 0 alone claims the run,
writes and speaks. A process that nobody launched is rank 0 of 1, and nothing of this costs it time.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from liere_cli.errors import LiereError, UsageError

#: what every launcher of PyTorch's ``env://`` sets
ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
#: longest that one rank waits for another: rank 0 may have to load, claim or write
PATIENCE = timedelta(hours=1)

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, seen from one of them.

    Every method but :meth:`rows` is called by all ranks at the same place, and raises LiereError
    where another rank has ended.

    Args:
        rank: of this process, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def rows(self, batch: int) -> slice:
        """This rank's rows of a batch.

        Raises:
            UsageError: the batch can't be divided.
        """
        if batch % self.size:
            near = max(batch // self.size, 1) * self.size
            raise UsageError(
                f"training.batch {batch} can't be split over {self.size} processes; the nearest "
                f"batch that can is {near}"
            )
        share = batch // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def sum_gradients(self, parameters: Iterable[nn.Parameter], loss: Tensor) -> Tensor:
        """Replaces every gradient by its sum over ranks; returns that of ``loss``, a number."""
        if self.size == 1:
            return loss
        gradients = [one.grad for one in parameters if one.grad is not None]
        flat = torch.cat([loss.view(1), *(one.flatten() for one in gradients)])
        with _told():
            dist.all_reduce(flat)
        parts = flat[1:].split([one.numel() for one in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        return flat[0]

    def all_reduce(self, seconds: float, asked: bool) -> tuple[float, bool]:
        """Rank 0's seconds, at least 0, and whether any rank was asked to stop."""
        if self.size == 1:
            return seconds, asked
        # on the CPU, so that no step waits for the device
        both = torch.tensor([seconds if self.is_main else 0.0, float(asked)], dtype=torch.float64)
        with _told():
            dist.all_reduce(both, dist.ReduceOp.MAX)
        return float(both[0]), bool(both[1])

    def broadcast(self, make: Callable[[], T]) -> T:
        """What ``make`` gives on rank 0, where alone it is called."""
        if self.size == 1:
            return make()
        made = [make() if self.is_main else None]
        with _told():
            dist.broadcast_object_list(made, device=torch.device("cpu"))
        return made[0]  # type: ignore[return-value]

    def receive(self) -> Any:
        """What rank 0 broadcasts; called by every other rank."""
        made = [None]
        with _told():
            dist.broadcast_object_list(made, device=torch.device("cpu"))
        return made[0]

    def gather(self, value: T) -> list[T]:
        """Every rank's value, by rank."""
        if self.size == 1:
            return [value]
        values: list[T] = [value] * self.size
        with _told():
            dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Returns once every rank has come here."""
        self.all_reduce(0.0, False)


ALONE = Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks of this process, connected; of a failure one of them speaks (``error.said``).

    Raises:
        LiereError: the others can't be reached.
    """
    size = launched()
    if size == 1:
        yield ALONE
        return
    on_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    try:
        store, rank, size = next(iter(rendezvous("env://", timeout=PATIENCE)))
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpus else "gloo",
            store=store,
            rank=rank,
            world_size=size,
            timeout=PATIENCE,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise LiereError(f"the {size} processes of this run can't connect: {reason}") from None
    try:
        yield Ranks(rank, size)
    except LiereError as error:
        error.said = not _first_to_fail(store)
        raise
    # after a failure others may hang in a collective, so only a whole group is taken apart
    dist.destroy_process_group()


def launched() -> int:
    """How many processes a launcher started for one run; 1 where there was none.

    Raises:
        UsageError: the launcher's variables are no numbers.
    """
    if not all(name in os.environ for name in ENVIRONMENT):
        return 1
    try:
        return int(os.environ["WORLD_SIZE"])
    except ValueError:
        raise UsageError(
            f"WORLD_SIZE '{os.environ['WORLD_SIZE']}' in the environment is no number"
        ) from None


def is_main_process() -> bool:
    """Whether this process writes and prints: the only one, or rank 0."""
    return launched() == 1 or os.environ["RANK"] == "0"


def own_device(device: torch.device) -> torch.device:
    """The device of this process: with several on one machine, each takes a GPU of its own.

    Raises:
        UsageError: there are fewer GPUs than processes, or all were given the same one.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if device.type != "cuda" or launched() == 1 or here == 1:
        return device
    count = torch.cuda.device_count()
    if device.index is not None or here > count:
        raise UsageError(
            f"--device {device}: {here} processes on this machine need a GPU each, and it has "
            f"{count}; start {count}, with --device cuda, or use --device cpu"
        )
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # without the line of PyTorch's source before it, and the advice behind
        reason = re.sub(r"^\[.*?\] ", "", str(error).splitlines()[0]).partition(". ")[0]
        raise LiereError(
            f"another process of this run ended ({reason}); the same command goes on from the "
            "last checkpoint"
        ) from None


def _first_to_fail(store: Any) -> bool:
    try:
        return int(store.add("liere-failures", 1)) == 1
    except RuntimeError:
        return True  # nobody is left to have said it
