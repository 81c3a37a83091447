"""Images and clips with shuffled patches: the control for whether position matters at all.

Shapes: B batch, C channels, T patches.
"""

import math

import torch
from torch import Tensor

from liere_cli.utils.seeding import stream

#: the same order for every encoding and seed, so that runs stay paired by item
SEED = 0


def orders(items: Tensor, patches: int) -> Tensor:
    """A random order of the patches of each item, int64 [B, T], which depends on the item's index
    in the split alone; ``items``: int64 [B].
    """
    generators = (stream(SEED, "shuffle", item) for item in items.tolist())
    return torch.stack([torch.randperm(patches, generator=random) for random in generators])


def shuffled(inputs: Tensor, patch: tuple[int, ...], order: Tensor) -> Tensor:
    """Moves patch ``order[b, t]`` of item b, [B, C, *grid], to position t; pixels inside a patch,
    whose extents divide the grid, keep their order.
    """
    axes = len(patch)
    counts = [extent // size for extent, size in zip(inputs.shape[2:], patch, strict=True)]
    split = [extent for pair in zip(counts, patch, strict=True) for extent in pair]
    outer, inner = [2 + 2 * axis for axis in range(axes)], [3 + 2 * axis for axis in range(axes)]
    forward = (0, *outer, 1, *inner)
    x = inputs.reshape(*inputs.shape[:2], *split)
    x = x.permute(forward)  # [B, t1, t2, ..., C, p1, p2, ...]
    flat = x.reshape(len(inputs), math.prod(counts), -1)  # [B, T, C * pixels]
    flat = flat.gather(1, order[..., None].expand_as(flat))
    inverse = sorted(range(len(forward)), key=forward.__getitem__)
    return flat.view(x.shape).permute(inverse).reshape(inputs.shape)
