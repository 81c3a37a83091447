"""Signals that ask a run to stop, deferred to the end of a step."""

import signal
import threading
from collections.abc import Iterator
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

    Does nothing outside the main thread.

    Args:
        patient: a second signal is ignored instead of raising KeyboardInterrupt at once. A
            launcher passes on the signal that the terminal has already sent to every process.
    """
    stop = stop or Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def record(number: int, frame: object) -> None:
        if stop.requested and not patient:
            raise KeyboardInterrupt(number)
        stop.number = number

    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.signal(number, record) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
