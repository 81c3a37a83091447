"""Mixup (arXiv 1710.09412) and cutmix (arXiv 1905.04899): each image with the one before it.

Shapes: B items of a batch, C channels, K classes, H rows, W columns.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from liere_cli.data.augment.settings import Augmentation
from liere_cli.utils.seeding import stream_seed


def mixed(
    inputs: Tensor, labels: Tensor, augmentation: Augmentation, classes: int, seed: int, step: int
) -> tuple[Tensor, Tensor]:
    """Images [B, C, ..., H, W] and probabilities of classes, float32 [B, K], a function of the seed
    and the step. Where both kinds are enabled, each step has one of them.

    Args:
        inputs: float32 [1 + B, C, ..., H, W], the image before the first one, and the batch.
        labels: int64 [1 + B].
    """
    random = np.random.default_rng(stream_seed(seed, "mix", step))
    cuts = augmentation.mixup is None or (augmentation.cutmix is not None and random.random() < 0.5)
    alpha = (augmentation.cutmix if cuts else augmentation.mixup) or 1.0
    share = float(random.beta(alpha, alpha))
    if cuts:
        height, width = inputs.shape[-2:]
        row, column = random.random(2)
        (top, bottom), (left, right) = _cut(height, row, share), _cut(width, column, share)
        images = inputs[1:].clone()
        images[..., top:bottom, left:right] = inputs[:-1, ..., top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (height * width)
    else:
        images = torch.lerp(inputs[:-1], inputs[1:], share)
    targets = F.one_hot(labels, classes).float()
    return images, torch.lerp(targets[:-1], targets[1:], share)


def _cut(extent: int, centre: float, share: float) -> tuple[int, int]:
    """Both ends of the part that the other image fills, as in the paper: clipped at the border."""
    half, middle = extent * (1 - share) ** 0.5 / 2, centre * extent
    return max(round(middle - half), 0), min(round(middle + half), extent)
