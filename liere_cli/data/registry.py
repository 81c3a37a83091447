"""Every data set by its name."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from liere_cli.config.spec import parse_spec
from liere_cli.data.arrays import ArrayFile
from liere_cli.data.base import Dataset
from liere_cli.data.images import Cifar10, Cifar100, ImagePath, Imagewoof
from liere_cli.data.synthetic.motion import Motion
from liere_cli.data.synthetic.pointing import Pointing
from liere_cli.data.text import Enwik8, Stdlib, Text8, TextFile, TinyShakespeare
from liere_cli.data.videos import Ucf101, VideoPath
from liere_cli.errors import UsageError, unknown

_CLASSES: tuple[type[Dataset], ...] = (
    Enwik8, Text8, TinyShakespeare, TextFile, Stdlib,
    Cifar10, Cifar100, Imagewoof, ImagePath, Pointing,
    Ucf101, VideoPath, ArrayFile, Motion,
)  # fmt: skip


def available() -> dict[str, type[Dataset]]:
    """Every data set by name: text, then images, then video and volumes."""
    return {entry.name: entry for entry in _CLASSES}


def dataset_class(name: str) -> type[Dataset]:
    """The class behind ``name``.

    Raises:
        UsageError: for an unknown name, with the nearest valid one.
    """
    classes = available()
    if name not in classes:
        raise unknown("data set", name, classes)
    return classes[name]


def build_dataset(spec: str | Mapping[str, Any], root: Path | None = None) -> Dataset:
    """The data set that ``spec`` describes; nothing is downloaded or decoded yet.

    Args:
        spec: ``cifar100``, ``images:DIR``, ``pointing:cells=5,seed=1``, or the same as a mapping
            with a ``name``.
        root: folder of a local mirror; without it, the one that LIERE_DATA names.

    Raises:
        UsageError: for an unknown name or option, or a value that is not allowed.
        LiereError: for a file that is missing or broken.
    """
    settings = dict(parse_spec(spec) if isinstance(spec, str) else spec)
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(f"data: 'name' is {name!r}, but the name of a data set is expected")
    entry = dataset_class(name)
    options = entry.Options.validated(settings, f"data.{name}")
    return entry(options, mirror(root))


def mirror(root: Path | None = None) -> Path | None:
    """The folder of the local mirror: ``root``, else LIERE_DATA, else none.

    Raises:
        UsageError: when that is no folder.
    """
    if root is None and os.environ.get("LIERE_DATA"):
        root = Path(os.environ["LIERE_DATA"]).expanduser()
    if root is not None and not root.is_dir():
        raise UsageError(f"the data root {root} is not a folder (from --data-root or LIERE_DATA)")
    return root
