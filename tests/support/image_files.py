"""Images that know their number, and data sets of them."""

import io
from pathlib import Path
from typing import Any

from PIL import Image

from liere_cli.data import Dataset, build_dataset


def image(number: int, size: tuple[int, int] = (8, 8)) -> bytes:
    """A PNG of one colour that encodes its number."""
    colour = (number % 256, number // 256, 77)
    stored = io.BytesIO()
    Image.new("RGB", (size[1], size[0]), colour).save(stored, "png")
    return stored.getvalue()


def images(path: Path | str, **options: Any) -> Dataset:
    return build_dataset({"name": "images", "path": str(path), "grid": 8, **options})
