"""Stopping a run between two steps instead of in the middle of one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Ctrl-C, an end that is asked for, a closed terminal, and a scheduler's notice of an end to come
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


class Stop:
    """Whether someone asked the run to stop, and by which signal."""

    number: int | None = None

    @property
    def asked(self) -> bool:
        return self.number is not None


@contextmanager
def stoppable(patient: bool = False) -> Iterator[Stop]:
    """Turns the signals that ask a run to end into a wish to stop at the next step.

    A second one stops at once, but of a ``patient`` process: a launcher passes on the signal that
    the terminal has sent to all already.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: object) -> None:
        if stop.asked and not patient:
            raise KeyboardInterrupt(number)
        stop.number = number

    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
