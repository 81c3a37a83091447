"""Data sets of Python objects, for the functions that take the name of one."""

import re
from collections.abc import Mapping
from typing import Any

from liere_cli.errors import UsageError, shortened
from liere_cli.utils.paths import cache_root


def data_from(
    dataset: Any,
    *,
    name: str,
    version: str,
    columns: tuple[str, str] = ("image", "label"),
) -> str:
    """A data set as ``compare(data=...)``, ``train`` and every command take it, also in other
    processes and later: its items are stored once for each name and version.

    Args:
        dataset: a ``torch.utils.data.Dataset``, a ``datasets.Dataset`` or any other sequence of an
            input and its class; or several by split, as ``{"train": ..., "test": ...}``. Inputs are
            PIL images, or uint8 or floats from 0 to 1 of one shape, [C, *grid].
        name: of letters, digits, hyphens.
        version: changes when the data do; equal names and versions are not read again.
        columns: of inputs and classes, where an item is a mapping.

    Raises:
        UsageError: a name, version or split that is not allowed.
        LiereError: items that are no images or arrays of one shape.
    """
    for key, value in (("name", name), ("version", version)):
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", value):
            raise UsageError(
                f"data_from: {key} is {shortened(value)}, but letters, digits, dots and hyphens "
                "are expected"
            )
    splits = dict(dataset) if isinstance(dataset, Mapping) else {"": dataset}
    if wrong := [split for split in splits if split not in ("", "train", "val", "test")]:
        raise UsageError(f"data_from: a split is {wrong[0]!r}, but train, val or test is expected")
    path = cache_root() / "own" / f"{name}-{version}.npz"
    if not path.is_file():
        from liere_cli.data.external.own import save_items

        save_items(splits, path, columns)
    return f"array:{path}"
