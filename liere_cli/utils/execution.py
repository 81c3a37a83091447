"""How a model's passes are executed: eagerly, compiled, or by CUDA graphs.

Launching a kernel takes the host some microseconds. A step of a small model is bound by its
launches on a GPU, of which a CUDA graph needs one for each pass. Graphs replay the kernels of eager
execution with equal bits, so they are no part of a run's identity.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Forward = Callable[..., Tensor]
#: floating-point operations of a step below which launches may take longer than kernels: a GPU
#: computes so many in about 10 ms (at 1e14 a second), in which a host launches 1000 to 2000 kernels
LAUNCH_BOUND_FLOPS = 1e12


#: first steps of a process on a GPU or compiled, which are slower than others
WARMUP_STEPS = 3


@dataclass(frozen=True)
class Execution:
    """The forward pass of a training step, and in words how it is executed.

    Args:
        warning: why it is not executed as was chosen.
        graphed: whether CUDA graphs are used, whose next replay overwrites outputs and gradients.
    """

    forward: Forward
    description: str
    warning: str | None = None
    graphed: bool = False


def launch_bound(flops: float, device: torch.device, parts: int) -> bool:
    """Whether a step of so many operations on a GPU is likely bound by launches, and may be
    replayed.

    A step of several parts may not: gradients of one part are in the memory that the next
    overwrites.
    """
    return device.type == "cuda" and parts == 1 and flops < LAUNCH_BOUND_FLOPS


def choose_execution(
    model: nn.Module,
    device: torch.device,
    sample: Callable[[], tuple[Tensor, Tensor | None]],
    *,
    flops: float,
    compiled: bool,
    half: bool,
    parts: int = 1,
    documents: bool = False,
) -> Execution:
    """The execution of training steps of a model.

    Args:
        sample: returns inputs and positions of a step.
        flops: of a part of a step.
        half: whether autocast computes in bfloat16.
        parts: in which a step accumulates gradients.
        documents: whether each step masks documents of its own, which excludes graphs.
    """
    graphs = launch_bound(flops, device, parts) and not documents
    if compiled:
        if not graphs:
            return Execution(torch.compile(model), "torch.compile")
        reduced = torch.compile(model, mode="reduce-overhead")
        return Execution(reduced, "torch.compile with CUDA graphs", graphed=True)
    if not graphs:
        return Execution(model, "eager")
    try:
        captured = capture(model, *sample(), half=half)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        warning = f"its step can't be captured in a CUDA graph ({reason}), so it is slower"
        return Execution(model, "eager", warning)
    return Execution(captured, "CUDA graphs", graphed=True)


def capture(model: nn.Module, inputs: Tensor, positions: Tensor | None, *, half: bool) -> Forward:
    """The model's forward and backward pass at the shape of these inputs, as CUDA graphs.

    In training mode only; after ``eval()`` the model computes as before. Raises RuntimeError if an
    operation can't be captured.
    """
    arguments = (inputs.clone(),) if positions is None else (inputs.clone(), positions.clone())
    graphed: Callable[..., Tensor]
    # graphs can't contain autocast's cache of weights
    with torch.autocast("cuda", torch.bfloat16, enabled=half, cache_enabled=False):
        graphed = torch.cuda.make_graphed_callables(  # type: ignore[assignment]
            model, arguments, allow_unused_input=True
        )

    def forward(inputs: Tensor, positions: Tensor | None) -> Tensor:
        return graphed(inputs) if positions is None else graphed(inputs, positions)

    return forward
