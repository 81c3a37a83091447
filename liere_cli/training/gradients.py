"""Norms of gradients, and their clipping."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, clip_grads_with_norm_, get_total_norm

from liere_cli.config.recipe import ClipSettings


def clip_gradients(
    model: nn.Module, encoding: nn.Module, clip: float | ClipSettings | None
) -> dict[str, Tensor]:
    """Scales gradients down to a maximum norm, together or apart.

    Args:
        model: the whole model, ``encoding`` among its modules.
        clip: the maximum norm of all gradients together, or those of model and encoding.

    Returns:
        L2 norms [] before clipping, of ``model`` (without its encoding) and ``encoding``; parts
        without gradients are left out.
    """
    encodings = {id(parameter) for parameter in encoding.parameters()}
    parts: Mapping[str, list[nn.Parameter]] = {"model": [], "encoding": []}
    for parameter in model.parameters():
        if parameter.grad is not None:
            parts["encoding" if id(parameter) in encodings else "model"].append(parameter)
    norms = {
        part: get_total_norm([p.grad for p in parameters if p.grad is not None])
        for part, parameters in parts.items()
        if parameters
    }
    if isinstance(clip, ClipSettings):
        for part, norm in norms.items():
            limit: float | None = getattr(clip, part)
            if limit is not None:
                clip_grads_with_norm_(parts[part], limit, norm)
    elif clip is not None:
        clip_grad_norm_(model.parameters(), clip)
    return norms
