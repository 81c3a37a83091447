"""How many threads compute a run: a function of its model and batch, not of the machine's load.

Threads add floats in an order that depends on their number, so a run whose threads depended on how
many runs share the machine would have other last digits with other ``--jobs``.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from liere_cli.runs.build import RunSpec, model_shape

#: floating-point operations of a step that occupy one thread; fewer, and starting threads costs
#: more than they save
FLOPS_PER_THREAD = 16e9
MAX_THREADS = 16


def step_flops(run_spec: RunSpec) -> float:
    """Floating-point operations of the largest part of a training step, without the encoding."""
    shape, training = model_shape(run_spec.recipe, run_spec.dataset), run_spec.recipe.training
    return shape.step_flops(training.batch / training.accumulate)


def threads_of(run_spec: RunSpec) -> int:
    """The threads of a run where cores abound: a power of two, at most :data:`MAX_THREADS`."""
    useful = max(1.0, step_flops(run_spec) / FLOPS_PER_THREAD)
    return min(MAX_THREADS, 1 << int(math.log2(useful)))


@contextmanager
def run_threads(run_spec: RunSpec) -> Iterator[int]:
    """Computes with :func:`threads_of` the run; fewer where this process may use fewer.

    That limit is ``torch.get_num_threads()``: the cores, or OMP_NUM_THREADS.
    """
    limit = torch.get_num_threads()
    threads = min(threads_of(run_spec), limit)
    torch.set_num_threads(threads)
    try:
        yield threads
    finally:
        torch.set_num_threads(limit)
