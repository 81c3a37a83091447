"""Stopping a run between two steps instead of in the middle of one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Stop:
    """Whether someone asked the run to stop."""

    asked = False


@contextmanager
def stoppable(patient: bool = False) -> Iterator[Stop]:
    """Turns SIGINT, SIGTERM or SIGHUP into a wish to stop at the next step.

    A second one stops at once, but of a ``patient`` process: a launcher passes on the signal that
    the terminal has sent to all already.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: object) -> None:
        if stop.asked and not patient:
            raise KeyboardInterrupt
        stop.asked = True

    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP"):  # the terminal was closed
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
