"""Times two functions in alternation and compares their medians."""

import statistics
import time
from collections.abc import Callable
from typing import NotRequired, TypedDict

import torch


class Row(TypedDict):
    """One line of a benchmark.

    Args:
        reference: name of the implementation that ours is compared with.
        ours_ms, reference_ms: medians.
        speedup: reference_ms / ours_ms; above 1 ours is faster.
        spread: quartiles of the paired ratios reference / ours.
        error, reference_error: largest deviations from float64, where computed.
        memory_mib, reference_memory_mib: peak memory, where measured.
    """

    case: str
    ours_ms: float
    reference: str
    reference_ms: float
    speedup: float
    spread: tuple[float, float]
    error: float | None
    reference_error: NotRequired[float | None]
    memory_mib: NotRequired[float]
    reference_memory_mib: NotRequired[float]


def alternate(
    case: str,
    ours: Callable[[], object],
    reference: str,
    theirs: Callable[[], object],
    *,
    device: torch.device,
    repeats: int = 15,
    warmup: int = 1,
    error: float | None = None,
    reference_error: float | None = None,
) -> Row:
    """Times both functions in alternation, ``repeats`` times each after ``warmup`` calls, a GPU
    synchronised before and after each call; the other arguments are fields of the row.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + warmup):
        for samples, function in zip(times, (ours, theirs), strict=True):
            elapsed = _milliseconds(function, device)
            if repeat >= warmup:
                samples.append(elapsed)
    ratios = [theirs_ms / ours_ms for ours_ms, theirs_ms in zip(*times, strict=True)]
    lower, _, upper = statistics.quantiles(ratios, n=4)
    ours_ms, reference_ms = map(statistics.median, times)
    row: Row = {
        "case": case,
        "ours_ms": ours_ms,
        "reference": reference,
        "reference_ms": reference_ms,
        "speedup": reference_ms / ours_ms,
        "spread": (lower, upper),
        "error": error,
    }
    if reference_error is not None:
        row["reference_error"] = reference_error
    return row


def _milliseconds(function: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1000 * (time.perf_counter() - start)
