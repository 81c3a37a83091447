"""Equal bits on CUDA: deterministic algorithms, and the kernels of attention that have them.

On a CPU nothing is set: results depend on the number of threads, which a run's model decides.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from liere_cli.errors import UsageError

#: read by cuBLAS and PyTorch when CUDA starts, and the values with which products are deterministic
VARIABLE = "CUBLAS_WORKSPACE_CONFIG"
WORKSPACES = (":4096:8", ":16:8")
#: their backward passes have a deterministic form in PyTorch 2.11 to 2.13; cuDNN's has none
ATTENTION = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)


def reserve_workspaces() -> None:
    """Sets cuBLAS's deterministic workspaces, where the environment sets none; before CUDA starts.

    Processes that are started later inherit them.
    """
    os.environ.setdefault(VARIABLE, WORKSPACES[0])


@contextmanager
def deterministic(device: torch.device, compiled: bool = False) -> Iterator[None]:
    """Equal computations have equal bits on a CUDA device; no effect on a CPU.

    An operation without a deterministic form raises RuntimeError. New tensors are not filled with
    NaN, which ``use_deterministic_algorithms`` does by default.

    Args:
        compiled: whether ``torch.compile`` is used, whose kernels then don't depend on timings.

    Raises:
        UsageError: the environment requests cuBLAS workspaces that are not deterministic.
    """
    if device.type != "cuda":
        yield
        return
    reserve_workspaces()
    if os.environ[VARIABLE] not in WORKSPACES:
        raise UsageError(
            f"{VARIABLE} is '{os.environ[VARIABLE]}' in the environment, with which products on a "
            f"GPU are not deterministic; unset it, or set {' or '.join(WORKSPACES)}"
        )
    fill: Any = torch.utils.deterministic
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        fill.fill_uninitialized_memory,
    )
    torch.use_deterministic_algorithms(True)
    fill.fill_uninitialized_memory = False
    try:
        with sdpa_kernel(list(ATTENTION)), _stable_code(compiled):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        fill.fill_uninitialized_memory = before[2]


def describe() -> str:
    """What makes results on a CUDA device deterministic, for the record of a run."""
    names = ", ".join(backend.name.lower() for backend in ATTENTION)
    workspaces = os.environ.get(VARIABLE)
    return f"deterministic algorithms, {VARIABLE}={workspaces}, attention by one of {names}"


@contextmanager
def _stable_code(compiled: bool) -> Iterator[None]:
    """Inductor chooses kernels without timing them, where this version of PyTorch can."""
    if not compiled:
        yield
        return
    import torch._inductor.config as inductor

    if not hasattr(inductor, "deterministic"):
        yield
        return
    with inductor.patch(deterministic=True):
        yield
