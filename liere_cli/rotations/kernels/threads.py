"""Calls of compiled functions in as many threads as torch has."""

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch

#: entries below which one thread is done before others have begun
_ENTRIES_FOR_THREADS = 1 << 13
#: how often a thread comes back for more, so that all finish at about the same time
_TURNS_OF_A_THREAD = 16


def in_threads(function: Any, task: ctypes.Structure, entries: int) -> None:
    """``function(task)`` in every thread, each taking what is left of the task.

    Where torch's threads can be had it is they that do it: others would wait for a core until
    those stop spinning.

    Args:
        entries: numbers that are worked on; a few are left to one thread.

    Raises:
        MemoryError: the task says that it ``failed``.
    """
    threads = torch.get_num_threads() if entries > _ENTRIES_FOR_THREADS else 1
    shared = ctypes.byref(task)
    parallel = openmp() if threads > 1 else None
    if parallel is not None:
        parallel(ctypes.cast(function, ctypes.c_void_p), shared, ctypes.c_uint(threads), 0)
    else:
        others = [_pool(os.getpid()).submit(function, shared) for _ in range(threads - 1)]
        function(shared)
        for other in others:
            other.result()
    if getattr(task, "failed", False):
        raise MemoryError("no memory to compute rotations in")


def share(count: int) -> int:
    """How many of so many things a thread takes at a time."""
    return max(1, count // (_TURNS_OF_A_THREAD * torch.get_num_threads()))


@cache
def openmp() -> Any:
    """GOMP_parallel of the OpenMP library that torch has brought into the process, GNU's or one
    with its interface; None where there is none, as on macOS.
    """
    return getattr(ctypes.CDLL(None), "GOMP_parallel", None)


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of this process: a fork has none of its parent's."""
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="liere-rotations")
