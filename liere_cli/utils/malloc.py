"""Settings of the C library's allocator and of Python's collector; errors where memory is short."""

import ctypes
import gc
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from liere_cli.errors import LiereError

# from glibc's malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST = 2**31 - 1


@cache
def keep_freed_memory() -> None:
    """Keeps the memory that a training step frees for the next step.

    By default malloc returns large blocks to the system at once, and every step pays for page
    faults when it gets them back: 2 to 5% of a step of the smallest models. Does nothing where the
    C library is not glibc on Linux.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST)


@contextmanager
def without_collector() -> Iterator[None]:
    """Without garbage collection: thousands of runs are small objects, none of them garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def memory_errors_reported(remedy: str) -> Iterator[None]:
    """Raises LiereError where Python, torch on the CPU or CUDA can't allocate memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        refused = "can't allocate memory" in text or "out of memory" in text
        if not refused and not isinstance(error, MemoryError):
            raise
        size = re.search(r"[Tt]ried to allocate ([0-9.]+ ?[A-Za-z]+)", text)
        raise LiereError(
            f"memory is too short{(size and f' for {_readable(size[1])}') or ''}; {remedy}"
        ) from error


def _readable(size: str) -> str:
    number, _, unit = size.partition(" ")
    return f"{float(number) / 2**30:.2f} GiB" if unit == "bytes" else size
