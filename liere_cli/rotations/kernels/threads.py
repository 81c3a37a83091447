"""Calls of compiled functions in as many threads as torch has."""

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch

#: entries below which one thread finishes before others have started
_MIN_ENTRIES_FOR_THREADS = 1 << 13
#: chunks of work for each thread, so that all finish at about the same time
_CHUNKS_PER_THREAD = 16


def run_in_threads(function: Any, task: ctypes.Structure, entries: int) -> None:
    """Calls ``function(task)`` in every thread; each takes chunks of the task until none is left.

    Uses torch's own threads where they are accessible: others would wait for a core until torch's
    stop spinning.

    Args:
        entries: numbers that are processed; few are left to a single thread.

    Raises:
        MemoryError: the task says that it ``failed``.
    """
    threads = torch.get_num_threads() if entries > _MIN_ENTRIES_FOR_THREADS else 1
    shared = ctypes.byref(task)
    parallel = gomp_parallel() if threads > 1 else None
    if parallel is not None:
        # the ABI of GCC's code for "omp parallel": function, its data, threads, flags
        parallel(ctypes.cast(function, ctypes.c_void_p), shared, ctypes.c_uint(threads), 0)
    else:
        others = [_pool(os.getpid()).submit(function, shared) for _ in range(threads - 1)]
        function(shared)
        for other in others:
            other.result()
    if getattr(task, "failed", False):
        raise MemoryError("not enough memory to compute rotations")


def chunk_length(count: int) -> int:
    """How many of ``count`` items a thread takes at a time."""
    return max(1, count // (_CHUNKS_PER_THREAD * torch.get_num_threads()))


@cache
def gomp_parallel() -> Any:
    """GOMP_parallel of the OpenMP library that torch has loaded; None without it, as on macOS.

    It is libgomp's private ABI, meant for code that GCC has compiled, stable since GCC 4.9 and also
    in LLVM's and Intel's libraries.
    """
    return getattr(ctypes.CDLL(None), "GOMP_parallel", None)


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of this process: a fork has none of its parent's."""
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="liere-rotations")
