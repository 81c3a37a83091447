"""Cores, GPUs and memory that this process may use, and how many runs they train at a time."""

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from liere_cli.planning.plan import PlannedRun
from liere_cli.runs.build import RunSpec, assemble, model_shape
from liere_cli.runs.context import Context
from liere_cli.runs.threads import threads_of

#: bytes of a worker process without a model: Python, torch and libraries
PROCESS_BYTES = 700 << 20
#: bytes of a weight: itself, its gradient and two moments of AdamW, all float32
_WEIGHT_BYTES = 16
#: bytes kept for the backward pass for each token, layer and channel
_ACTIVATION_BYTES = 140
#: bytes of a logit of a language model: itself, in float32, and its gradient
_LOGIT_BYTES = 12
#: share of the available memory that runs may take
MEMORY_SHARE = 0.8
_CGROUP = Path("/sys/fs/cgroup")


def automatic_jobs(runs: Sequence[PlannedRun], context: Context) -> int:
    """How many of the runs to train at a time.

    On CPUs, as many as cores hold with the threads that each run gets (see
    :mod:`liere_cli.runs.threads`) and memory allows. On GPUs, one for each GPU
    or each group of ``gpus_per_run``, so that budgets of time buy equal training.
    """
    distinct = {(run.data, run.encoding, run.detail): run for run in runs}.values()
    specs = [
        assemble(run.request, root=context.data_root, device=context.torch_device)
        for run in distinct
    ]
    if not specs:
        return 1
    memory = available_memory()
    limits = [len(runs)]
    if memory is not None:
        limits.append(int(memory * MEMORY_SHARE / max(map(memory_of, specs))))
    if context.torch_device.type == "cuda":
        count = torch.cuda.device_count() if context.device == "cuda" else 1
        limits.append(count // context.gpus_per_run)
    else:
        limits.append(available_cores() // max(map(threads_of, specs)))
    return max(1, min(limits))


def available_cores() -> int:
    """The cores that this process may use: its affinity, its cgroup's quota, OMP_NUM_THREADS."""
    linux = hasattr(os, "sched_getaffinity")
    limits = [len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1]
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        limits.append(int(quota) // int(period))
    requested = os.environ.get("OMP_NUM_THREADS", "")
    if requested.isdigit():
        limits.append(int(requested))
    return max(1, min(limits))


def available_memory() -> int | None:
    """Bytes that this process may still allocate: the system's and its cgroup's; None: unknown."""
    limits = []
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        limits.append(1024 * int(fields["MemAvailable"].split()[0]))
    with suppress(OSError, ValueError):
        most = int((_CGROUP / "memory.max").read_text())
        limits.append(most - int((_CGROUP / "memory.current").read_text()))
    return min(limits, default=None)


def memory_of(run_spec: RunSpec) -> int:
    """Bytes that training a run takes, roughly."""
    shape, training = model_shape(run_spec.recipe, run_spec.dataset), run_spec.recipe.training
    tokens = math.prod(shape.tokens(shape.grid)) * training.batch // training.accumulate
    weights = shape.layers * (4 * shape.dim**2 + 2 * shape.dim * shape.hidden)
    kept = tokens * shape.layers * shape.dim * _ACTIVATION_BYTES
    if shape.causal:
        weights += 2 * shape.classes * shape.dim
        kept += tokens * shape.classes * _LOGIT_BYTES
    return PROCESS_BYTES + weights * _WEIGHT_BYTES + kept
