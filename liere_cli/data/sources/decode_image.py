"""From the bytes of a picture to an array of the grid's size."""

import io

import numpy as np

from liere_cli.data.sources.base import Array
from liere_cli.errors import LiereError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})


def decode_image(data: bytes, size: tuple[int, ...], where: str) -> Array:
    """RGB, cut to the largest centred box of the wanted shape, resized with antialiasing.

    For a square that equals resizing the shorter side and cutting the centre out.

    Args:
        size: rows and columns.
        where: the picture's name in a message.

    Returns:
        uint8 [3, rows, columns].

    Raises:
        LiereError: when the picture is broken.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data)) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
    except Exception as error:  # whatever a decoder dies of, on a file from anybody
        raise LiereError(f"{where} is broken or no picture: {_reason(error)}") from None
    return fit(image, size)


def fit(image: "Image.Image", size: tuple[int, ...]) -> Array:  # type: ignore[name-defined]  # noqa: F821
    """A PIL picture as uint8 [3, rows, columns]; see :func:`decode_image`."""
    from PIL import Image

    rows, columns = size
    width, height = image.size
    if (height, width) != (rows, columns):
        scale = min(width / columns, height / rows)
        left, top = (width - columns * scale) / 2, (height - rows * scale) / 2
        image = image.resize(
            (columns, rows),
            Image.Resampling.BILINEAR,
            box=(left, top, width - left, height - top),
        )
    return np.asarray(image).transpose(2, 0, 1)


def _reason(error: Exception) -> str:
    text = str(error)
    # PIL names the object in memory, which tells nobody anything
    return "it can't be identified" if "BytesIO" in text else text
