"""What training images undergo, and what is drawn for each of them.

Shapes: B items of a batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from liere_cli.config.section import Section, added
from liere_cli.utils.seeding import stream

#: RandAugment: operations on each image, and the largest magnitude (arXiv 1909.13719)
OPERATIONS, MOST_MAGNITUDE = 2, 30
#: attempts at a crop that fits into the image, and the bounds of its width over its height, as in
#: Inception and torchvision
_ATTEMPTS, _RATIOS = 10, (3 / 4, 4 / 3)


class AugmentationOptions(Section):
    """Options of image data sets; at their defaults they are not part of an identity."""

    crop: float | None = added(
        None, gt=0, le=1,
        description="RandomResizedCrop of training images: the least share of the area, as 0.08",
    )  # fmt: skip
    randaugment: int | None = added(
        None, ge=0, le=MOST_MAGNITUDE,
        description=f"RandAugment of training images: magnitude of {OPERATIONS} operations, as 9",
    )  # fmt: skip
    mixup: float | None = added(None, gt=0, description="alpha of mixup, as 0.2")
    cutmix: float | None = added(None, gt=0, description="alpha of cutmix, as 1.0")
    eval_crop: float = added(
        1.0, gt=0, le=1, description="share of the shorter side that evaluation sees, as 0.875"
    )


@dataclass(frozen=True)
class Augmentation:
    """What training images undergo beside flips and translations; None: nothing of the kind."""

    crop: float | None = None
    randaugment: int | None = None
    mixup: float | None = None
    cutmix: float | None = None

    @property
    def by_image(self) -> bool:
        """Whether it acts on single images, before they are a batch."""
        return self.crop is not None or self.randaugment is not None

    @property
    def mixes(self) -> bool:
        return self.mixup is not None or self.cutmix is not None


@dataclass(frozen=True)
class View:
    """What is drawn for one image in one step.

    Args:
        crop: least share of the area; None: not cropped.
        uniform: numbers in [0, 1): area and shape of each attempt at a crop, then its position.
        magnitude: of RandAugment; None: not applied.
        operations: for each the number that selects it, and one that decides its sign, in [0, 1).
        place: where the part of a large item lies, in [0, 1) along up to three axes.
    """

    crop: float | None
    uniform: Sequence[float]
    magnitude: int | None
    operations: Sequence[tuple[float, float]]
    place: Sequence[float]

    def box(self, width: int, height: int) -> tuple[int, int, int, int] | None:
        """Left, top, right and bottom of the crop of an image of that size; None: not cropped.

        As RandomResizedCrop of torchvision: an area from ``crop`` to 1 of the image's, a width over
        height from 3/4 to 4/3, uniform in its logarithm; after failed attempts the largest
        centred crop of an allowed shape.
        """
        if self.crop is None:
            return None
        least, most = map(math.log, _RATIOS)
        across, down = self.uniform[-2:]
        for area_drawn, ratio_drawn in zip(self.uniform[:-2:2], self.uniform[1:-2:2], strict=True):
            area = width * height * (self.crop + (1 - self.crop) * area_drawn)
            ratio = math.exp(least + (most - least) * ratio_drawn)
            columns, rows = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < columns <= width and 0 < rows <= height:
                left = int(across * (width - columns + 1))
                top = int(down * (height - rows + 1))
                return left, top, left + columns, top + rows
        ratio = min(max(width / height, _RATIOS[0]), _RATIOS[1])
        columns = min(width, max(1, round(height * ratio)))
        rows = min(height, max(1, round(width / ratio)))
        left, top = (width - columns) // 2, (height - rows) // 2
        return left, top, left + columns, top + rows


def draw_views(augmentation: Augmentation, seed: int, step: int, batch: int) -> list[View]:
    """The views of all B images of the batch of ``step``; functions of the seed and the step."""
    crops = torch.rand(batch, 2 * _ATTEMPTS + 2, generator=stream(seed, "crop", step))
    chosen = torch.rand(batch, OPERATIONS, 2, generator=stream(seed, "randaugment", step))
    places = torch.rand(batch, 3, generator=stream(seed, "part", step))
    crop, magnitude = augmentation.crop, augmentation.randaugment
    return [
        View(crop, uniform, magnitude, [(a, b) for a, b in pairs], place)
        for uniform, pairs, place in zip(
            crops.tolist(), chosen.tolist(), places.tolist(), strict=True
        )
    ]
