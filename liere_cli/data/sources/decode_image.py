"""Decodes image files to arrays of the grid's size."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from liere_cli.data.augment.randaugment import randaugment
from liere_cli.data.augment.settings import View
from liere_cli.data.base import Array
from liere_cli.data.sources.base import Decoding
from liere_cli.errors import LiereError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".avif", ".avifs", ".bmp",
    ".dib", ".gif", ".tif", ".tiff", ".pbm", ".pgm", ".ppm", ".pnm", ".pfm", ".jp2", ".j2k", ".j2c",
    ".jpc", ".jpf", ".jpx", ".tga", ".pcx", ".sgi", ".rgb", ".bw", ".qoi", ".ico",
    # not decoded by Pillow itself: named as such, never left out of a class
    ".heic", ".heif", ".jxl",
})  # fmt: skip
_JPEG_END = b"\xff\xd9"
#: at the end of a JPEG file without an end marker, so many are those of a copy that was cut short
_ZEROS = 64
#: left, top, right and bottom
Box = tuple[float, float, float, float]
T = TypeVar("T")


def decode_image(
    data: bytes, size: tuple[int, ...], where: str, view: View | None = None, share: float = 1.0
) -> Array:
    """An image as RGB, uint8 [3, rows, columns]: the largest centred crop of the shape of ``size``,
    resized with antialiasing. For a square that is the shorter side resized, and the centre
    cropped.

    Values of 16 bits and floats from 0 to 1 are scaled to 8 bits, transparent pixels are shown on
    white, and the rotation that a camera noted is applied. Of several frames the first is used.

    Args:
        size: rows and columns.
        where: the image's name in messages.
        view: the crop and the RandAugment operations of a training image; None: neither.
        share: of the sides of the centred crop, for a smaller one.

    Raises:
        LiereError: the image is broken, or its values have no known scale.
    """
    image = _with_image(data, where, _to_rgb)
    box = None if view is None else view.box(*image.size)
    if view is None or view.magnitude is None:
        return fit(image, size, box, share)
    return _array(randaugment(_resized(image, size, box, share), view.magnitude, view.operations))


def decoding_of(data: bytes, where: str) -> Decoding:
    """What decoding an image involves; errors as in :func:`decode_image`. Reads the header and the
    end alone of the usual JPEG and PNG files.
    """
    if data.startswith(b"\xff\xd8\xff"):
        _check_jpeg(data, where)
        return Decoding.USUAL
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[-8:-4] == b"IEND":
        depth, colour, header = data[24], data[25], data[: data.find(b"IDAT")]
        if depth <= 8 and colour in (0, 2, 3) and b"tRNS" not in header and b"acTL" not in header:
            return Decoding.USUAL
    return _with_image(data, where, _decoding_of)


@contextmanager
def quiet() -> Iterator[None]:
    """Silences Pillow's warnings, which name lines of the library: what can't be decoded is an
    error. Not for threads, which share the state of warnings: they run inside.
    """
    import warnings

    with warnings.catch_warnings():
        silence()
        yield


def silence() -> None:
    """As :func:`quiet`, for the rest of the process: for threads that decode beside training."""
    import warnings

    warnings.filterwarnings("ignore", module=r"PIL\b")


def fit(image: "Image", size: tuple[int, ...], box: Box | None = None, share: float = 1.0) -> Array:
    """Crops and resizes a PIL image to uint8 [3, rows, columns]; see :func:`decode_image`."""
    return _array(_resized(image, size, box, share))


def _resized(image: "Image", size: tuple[int, ...], box: Box | None, share: float) -> "Image":
    from PIL.Image import Resampling

    rows, columns = size
    width, height = image.size
    if box is None and (height, width) == (rows, columns) and share == 1:
        return image
    if box is None:
        scale = min(width / columns, height / rows) * share
        left, top = (width - columns * scale) / 2, (height - rows * scale) / 2
        box = left, top, width - left, height - top
    return image.resize((columns, rows), Resampling.BILINEAR, box=box)


def _array(image: "Image") -> Array:
    return np.asarray(image).transpose(2, 0, 1)


def _with_image(data: bytes, where: str, use: "Callable[[Image], T]") -> T:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as opened:
            return use(opened)
    except Exception as error:  # decoders raise errors of any class on untrusted files
        # PIL's message shows the buffer's address, which doesn't help
        reason: object = error
        if "BytesIO" in str(error):
            reason = _unidentified(data)
        raise LiereError(f"{where} is broken or not an image: {reason}") from None


def _unidentified(data: bytes) -> str:
    if not data:
        return "it is empty"
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1", b"ftyphevc"):
        return "HEIC images can't be decoded here: convert them to JPEG or PNG"
    if data.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")):
        return "JPEG XL images can't be decoded here: convert them to JPEG or PNG"
    if data.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS: fetch the content with git lfs pull"
    if data[:200].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "it is a web page: download the image again"
    return "it can't be identified"


def _to_rgb(opened: "Image") -> "Image":
    """The upright image in RGB on white."""
    from PIL import Image, ImageOps

    scaled = _in_8_bits(opened)
    if scaled is not opened:
        scaled.info.pop("transparency", None)
        scaled.getexif().update(opened.getexif())
    image = ImageOps.exif_transpose(scaled) if scaled.getexif() else scaled
    if not image.has_transparency_data:
        image.load()  # a file is closed before its pixels are used
        return image if image.mode == "RGB" else image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def _in_8_bits(image: "Image") -> "Image":
    """The image itself, or with grey values of 16 bits or floats scaled to 8. Raises ValueError for
    values without a known scale.
    """
    from PIL import Image

    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(258, (16,))[0] if image.mode.startswith("I;16") else 16
    least, most = values.min(), values.max()
    if image.mode == "F":
        # comparisons with NaN are false
        if not (least >= 0 and most <= 1):
            raise ValueError(f"it has float values from {least:g} to {most:g}, not from 0 to 1")
        values = np.round(values * 255)
    elif image.mode == "I" and image.format not in ("PNG", "PPM"):
        if least < 0 or most > 255:
            given = f"it has 32-bit or signed values from {least} to {most}, of no known scale"
            raise ValueError(f"{given}: store 8 bits, unsigned 16 bits, or floats from 0 to 1")
    else:
        # the upper 8 bits, as of 16-bit colours
        values = values.astype(np.int64) >> (bits - 8)
    if tags.get(262) == 0:  # white is 0
        values = 255 - values
    return Image.fromarray(values.astype(np.uint8))


def _decoding_of(image: "Image") -> Decoding:
    decoding = Decoding.USUAL
    image.load()
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        decoding |= Decoding.FIRST_FRAME
    grey = image.mode in ("I", "F") or image.mode.startswith("I;16")
    if not grey and not image.has_transparency_data:
        return decoding
    # the fingerprint changes only where pixels do
    if not np.array_equal(np.asarray(_to_rgb(image)), np.asarray(_unscaled(image))):
        decoding |= Decoding.SCALED if grey else Decoding.ON_WHITE
    return decoding


def _check_jpeg(data: bytes, where: str) -> None:
    """Raises LiereError for a JPEG file that was cut short, which is decoded if its end marker is
    missing.
    """
    written = data.rstrip(b"\0")
    if written.endswith(_JPEG_END):
        return
    # zeros are decoded to grey, without an error
    if len(data) - len(written) >= _ZEROS:
        raise LiereError(f"{where} is broken or not an image: its end is filled with zeros")
    _with_image(data, where, lambda image: image.load())


def _unscaled(image: "Image") -> "Image":
    """As images were decoded before values were scaled and transparent pixels shown on white."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image).convert("RGB")
