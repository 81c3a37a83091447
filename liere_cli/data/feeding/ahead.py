"""Prepares the next batch on a thread while the present one is used."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Ahead(Generic[Key, Value]):
    """Values of a function, of which the next is computed on a thread.

    Args:
        compute: called with a key and the number of the buffer that it may write to. That buffer
            is not written again before the value after next is requested.
    """

    BUFFERS = 2

    def __init__(self, compute: Callable[[Key, int], Value]) -> None:
        self._compute = compute
        # torch counts the threads of an operation for each thread that calls it
        self._thread = ThreadPoolExecutor(
            1, "liere-feed", torch.set_num_threads, (torch.get_num_threads(),)
        )
        self._pending: tuple[Key, Future[Value]] | None = None
        self._buffer = 0

    def __call__(self, key: Key, following: Key | None) -> Value:
        """The value of ``key``; starts computing that of ``following``."""
        pending, self._pending = self._pending, None
        if pending is not None and pending[0] == key:
            value = pending[1].result()
        else:
            if pending is not None:
                pending[1].exception()  # until it is over it writes to its buffer
            value = self._thread.submit(self._compute, key, self._next_buffer()).result()
        if following is not None:
            future = self._thread.submit(self._compute, following, self._next_buffer())
            self._pending = following, future
        return value

    def _next_buffer(self) -> int:
        self._buffer = (self._buffer + 1) % self.BUFFERS
        return self._buffer


def each_ahead(keys: Sequence[Key], compute: Callable[[Key, int], Value]) -> Iterator[Value]:
    """The value of each key in order; the next is computed while one is used."""
    ahead = Ahead(compute)
    for key, following in zip(keys, [*keys[1:], None], strict=True):
        yield ahead(key, following)


class Buffers:
    """Buffers of items, uint8 [rows, C, *grid], pinned where they are sent to a GPU."""

    def __init__(self, rows: int, shape: Sequence[int], *, pinned: bool) -> None:
        self._tensors = [
            torch.empty((rows, *shape), dtype=torch.uint8, pin_memory=pinned)
            for _ in range(Ahead.BUFFERS)
        ]
        self._sent: list[torch.cuda.Event | None] = [None] * Ahead.BUFFERS

    def writable(self, number: int) -> Tensor:
        """A buffer, once the copy of its content to the device is over."""
        if (event := self._sent[number]) is not None:
            event.synchronize()
        return self._tensors[number]

    def send(self, rows: Tensor, number: int, device: torch.device) -> Tensor:
        """Rows of a buffer on the device; the copy overlaps with computation there. On the CPU they
        are the buffer's own memory.
        """
        if device.type != "cuda":
            return rows.to(device)
        sent = rows.to(device, non_blocking=True)
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(device))
        self._sent[number] = event
        return sent
