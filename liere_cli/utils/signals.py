"""Signals that ask a run to stop, deferred to the end of a step."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

#: Ctrl-C, a request to end, a closed terminal, and a scheduler's notice before the time limit
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


class Stop:
    """The signal that asked to stop, if any."""

    number: int | None = None

    @property
    def requested(self) -> bool:
        return self.number is not None


@contextmanager
def stoppable(patient: bool = False, stop: Stop | None = None) -> Iterator[Stop]:
    """Defers signals to the next step: they are recorded in ``stop``, which is yielded.

    Args:
        patient: a second signal is ignored instead of raising KeyboardInterrupt at once. A
            launcher passes on the signal that the terminal has already sent to every process.
    """
    stop = stop or Stop()

    def record(number: int, frame: object) -> None:
        if stop.requested and not patient:
            raise KeyboardInterrupt(number)
        stop.number = number

    with handled(_NAMES, record):
        yield stop


@contextmanager
def handled(names: Iterable[str], handler: Callable[[int, object], None]) -> Iterator[None]:
    """Handles the signals that exist here; does nothing outside the main thread."""
    is_main = threading.current_thread() is threading.main_thread()
    numbers = [getattr(signal, name) for name in names if is_main and hasattr(signal, name)]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
