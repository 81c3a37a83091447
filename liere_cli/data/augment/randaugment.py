"""RandAugment (arXiv 1909.13719) on Pillow images: the operations and ranges of torchvision."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from liere_cli.data.augment.settings import MOST_MAGNITUDE

if TYPE_CHECKING:
    from PIL.Image import Image

    Operation = Callable[[Image, float], Image]

#: of what lies outside after an image was moved
_FILL = (128, 128, 128)


def randaugment(
    image: "Image", magnitude: int, operations: Sequence[tuple[float, float]]
) -> "Image":
    """An RGB image after the drawn operations.

    Args:
        magnitude: 0 to ``MOST_MAGNITUDE``.
        operations: for each the number that selects it and the one that decides its sign, both in
            [0, 1).
    """
    table = _operations()
    for selects, sign in operations:
        operation, most, signed = table[int(selects * len(table))]
        strength = most * magnitude / MOST_MAGNITUDE
        image = operation(image, -strength if signed and sign < 0.5 else strength)
    return image


def _operations() -> "list[tuple[Operation, float, bool]]":
    """Each operation, its strength at the largest magnitude, and whether it has a sign."""
    from PIL import ImageEnhance, ImageOps
    from PIL.Image import Resampling, Transform

    def moved(image: "Image", *matrix: float) -> "Image":
        return image.transform(
            image.size, Transform.AFFINE, matrix, Resampling.NEAREST, fillcolor=_FILL
        )

    def enhanced(kind: "Callable[[Image], ImageEnhance._Enhance]") -> "Operation":
        return lambda image, strength: kind(image).enhance(1 + strength)

    return [
        (lambda image, strength: image, 0, False),
        (lambda image, strength: moved(image, 1, strength, 0, 0, 1, 0), 0.3, True),
        (lambda image, strength: moved(image, 1, 0, 0, strength, 1, 0), 0.3, True),
        (lambda image, strength: moved(image, 1, 0, strength * image.width, 0, 1, 0), 0.45, True),
        (lambda image, strength: moved(image, 1, 0, 0, 0, 1, strength * image.height), 0.45, True),
        (lambda image, strength: image.rotate(strength, fillcolor=_FILL), 30, True),
        (enhanced(ImageEnhance.Brightness), 0.9, True),
        (enhanced(ImageEnhance.Color), 0.9, True),
        (enhanced(ImageEnhance.Contrast), 0.9, True),
        (enhanced(ImageEnhance.Sharpness), 0.9, True),
        (lambda image, strength: ImageOps.posterize(image, 8 - round(strength)), 4, False),
        (lambda image, strength: ImageOps.solarize(image, round(255 - strength)), 255, False),
        (lambda image, strength: ImageOps.autocontrast(image), 0, False),
        (lambda image, strength: ImageOps.equalize(image), 0, False),
    ]
