"""Modes and defaults of torch on which no number may depend."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.autograd import forward_ad

from liere_cli.errors import UsageError


@contextmanager
def cpu_float32() -> Iterator[None]:
    """New tensors are float32 on the CPU, not of torch's default dtype and device."""
    dtype = torch.get_default_dtype()
    try:
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
        if torch.get_default_device().type == "cpu":
            yield
        else:
            with torch.device("cpu"):
                yield
    finally:
        if dtype != torch.float32:
            torch.set_default_dtype(dtype)


def check_mode() -> None:
    """Raises UsageError under ``torch.jit.trace``, and in forward-mode differentiation, in which
    ``layer_norm`` of PyTorch 2.13 has wrong second derivatives.
    """
    if torch.compiler.is_compiling():
        return
    if torch._C._is_tracing():
        raise UsageError(
            "torch.jit.trace of a Transformer is not supported, as its positions depend on the "
            "size of the input: use torch.export.export"
        )
    if forward_ad._current_level >= 0:
        raise UsageError(
            "forward-mode differentiation of a Transformer (jvp, jacfwd, hessian) is not "
            "supported, as PyTorch's layer_norm has wrong second derivatives there: use "
            "torch.func.grad and jacrev, nested for second derivatives"
        )
