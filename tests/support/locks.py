"""Runs that another process has locked."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from liere_cli.runs.folder import Run
from liere_cli.runs.lock import lock_run


@contextmanager
def locked_elsewhere(run: Run, work: Callable[[], object] = signal.pause) -> Iterator[int]:
    """Another process holds the run during ``work``; killed at the end, so it can't clean up."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        with lock_run(run):
            os.write(writes, b"!")
            work()
        os._exit(0)
    os.read(reads, 1)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reads)
        os.close(writes)
