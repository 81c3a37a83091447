"""Derivatives that a fast backward pass does not have, from compositions of torch's own operations.

The autograd functions of this package have a backward pass of their own, for first derivatives in
reverse mode. Each also exists as a composition, slower and larger, which torch can differentiate in
every mode and to every order. It replaces the function where ``composed`` says so, and the backward
pass where ``backward_is_composed``.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad

from liere_cli.errors import UsageError


def composed(*inputs: Tensor) -> bool:
    """Whether to call the composition: inside a transform of ``torch.func`` (vmap, grad, jvp), at a
    level of forward-mode differentiation, under ``torch.jit.trace``, or if one of the inputs, for
    which the fast backward pass has no gradient, needs one.
    """
    if torch.compiler.is_compiling():
        return False
    return (
        torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch._C._is_tracing()
        or (torch.is_grad_enabled() and any(x.requires_grad for x in inputs))
    )


def backward_is_composed(*grads: Tensor | None) -> bool:
    """Whether a backward pass with these gradients to the outputs is to be differentiated itself
    (``create_graph=True``) or is inside ``torch.func.vmap``.

    Raises:
        UsageError: it is vectorised in the old way, ``is_grads_batched=True``.
    """
    if torch.compiler.is_compiling():
        return False
    if any(x is not None and torch._C._functorch.is_legacy_batchedtensor(x) for x in grads):
        raise UsageError(
            "rotations of queries and keys have no backward pass with is_grads_batched=True or "
            "vectorize=True of torch.autograd: use torch.func.jacrev, or torch.func.vmap of "
            "torch.autograd.grad"
        )
    return torch.is_grad_enabled() or torch._C._are_functorch_transforms_active()


def gradients(
    composition: Callable[..., Tensor | tuple[Tensor, ...]],
    inputs: Sequence[Tensor],
    needed: Sequence[bool],
    grads: Sequence[Tensor],
) -> list[Tensor | None]:
    """Gradients to the inputs from those to the outputs of a composition; None where none is
    needed. They can be differentiated again where the backward pass can.
    """
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # aliases, as one input may depend on another
        pairs = zip(inputs, needed, strict=True)
        aliases = [x.view_as(x) if need else x.detach() for x, need in pairs]
        outputs = composition(*aliases)
        outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
        # values that are only passed on depend on nothing else
        dependent = [pair for pair in zip(outputs, grads, strict=True) if pair[0].requires_grad]
        variables = [x for x, need in zip(aliases, needed, strict=True) if need]
        results = torch.autograd.grad(
            *([x for x, _ in dependent], variables, [grad for _, grad in dependent]),
            create_graph=create_graph,
            materialize_grads=True,
        )
    remaining = iter(results)
    return [next(remaining) if need else None for need in needed]


def with_value(x: Tensor, value: Tensor) -> Tensor:
    """The variable x at another value: the one that it had before it was overwritten."""
    with torch.enable_grad():
        return x + (value - x).detach()
