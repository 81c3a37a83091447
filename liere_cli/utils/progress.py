"""Progress of long work on files, reported to whoever shows it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

#: between two reports
_INTERVAL_SECONDS = 0.5


@dataclass(frozen=True)
class Progress:
    """How far a piece of work has come.

    Args:
        what: such as ``reading images``.
        done, total: items, ``done`` including those of an earlier, interrupted process.
        rate: items a second, in this process.
    """

    what: str
    done: int
    total: int
    rate: float

    @property
    def seconds_left(self) -> float:
        return (self.total - self.done) / self.rate if self.rate else float("inf")


Listener = Callable[[Progress], None]
_listeners: list[Listener] = []


@contextmanager
def reported_to(listener: Listener) -> Iterator[None]:
    """Calls the listener with all progress within the block, also that of other threads."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class Tracker:
    """Counts the items of one piece of work, and reports at most twice a second."""

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        self.what, self.total, self.done = what, total, done
        self._first = done
        self._began = self._reported = time.monotonic()

    def advance(self, items: int) -> None:
        self.done += items
        now = time.monotonic()
        if now - self._reported >= _INTERVAL_SECONDS or self.done == self.total:
            self._reported = now
            rate = (self.done - self._first) / max(now - self._began, 1e-9)
            for listener in _listeners:
                listener(Progress(self.what, self.done, self.total, rate))
