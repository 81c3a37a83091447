"""Decodes image files to arrays of the grid's size."""

import io
from typing import TYPE_CHECKING

import numpy as np

from liere_cli.data.base import Array
from liere_cli.errors import LiereError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})


def decode_image(data: bytes, size: tuple[int, ...], where: str) -> Array:
    """An image as RGB, uint8 [3, rows, columns]: the largest centred crop of the shape of ``size``,
    resized with antialiasing. For a square that is the shorter side resized, and the centre
    cropped.

    Args:
        size: rows and columns.
        where: the image's name in messages.

    Raises:
        LiereError: the image is broken.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data)) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
    except Exception as error:  # decoders raise errors of any class on untrusted files
        # PIL's message shows the buffer's address, which doesn't help
        reason = "it can't be identified" if "BytesIO" in str(error) else error
        raise LiereError(f"{where} is broken or not an image: {reason}") from None
    return fit(image, size)


def fit(image: "Image", size: tuple[int, ...]) -> Array:
    """Crops and resizes a PIL image to uint8 [3, rows, columns]; see :func:`decode_image`."""
    from PIL.Image import Resampling

    rows, columns = size
    width, height = image.size
    if (height, width) != (rows, columns):
        scale = min(width / columns, height / rows)
        left, top = (width - columns * scale) / 2, (height - rows * scale) / 2
        image = image.resize(
            (columns, rows), Resampling.BILINEAR, box=(left, top, width - left, height - top)
        )
    return np.asarray(image).transpose(2, 0, 1)
