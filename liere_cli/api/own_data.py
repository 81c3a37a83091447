"""Data sets of Python objects, for the functions that take the name of one."""

import re
from collections.abc import Mapping
from typing import Any

from liere_cli.api.arguments import GridLike
from liere_cli.errors import UsageError, shortened
from liere_cli.utils.paths import cache_root


def data_from(
    dataset: Any,
    *,
    name: str,
    version: str,
    columns: tuple[str, str] = ("image", "label"),
    grid: GridLike | None = None,
) -> str:
    """A data set as ``compare(data=...)``, ``train`` and every command take it, also in other
    processes and later: its items are stored once for each name and version.

    Args:
        dataset: a ``torch.utils.data.Dataset``, a ``datasets.Dataset`` or any other sequence of an
            input and its class; or several by split, as ``{"train": ..., "test": ...}``. Inputs are
            PIL images, or uint8 or floats from 0 to 1, [C, *grid].
        name: of letters, digits, hyphens.
        version: changes when the data do; equal names and versions are not read again.
        columns: of inputs and classes, where an item is a mapping.
        grid: what inputs are resized to (images after a crop to its shape). None: all inputs have
            one shape, and keep it.

    Raises:
        UsageError: a name, version or split that is not allowed.
        LiereError: items that are no images or arrays, or that have several shapes without a grid.
    """
    for key, value in (("name", name), ("version", version)):
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", value):
            raise UsageError(
                f"data_from: {key} is {shortened(value)}, but letters, digits, dots and hyphens "
                "are expected"
            )
    from liere_cli.data.external.own import save_items

    extents = _extents(grid)
    size = f"@{'x'.join(map(str, extents))}" if extents else ""
    path = cache_root() / "own" / name / f"{version}{size}.npz"
    if not path.is_file():
        save_items(_by_split(dataset), path, columns, extents)
    return f"array:{path}"


def _extents(grid: GridLike | None) -> tuple[int, ...] | None:
    from liere_cli.data.options import parse_grid

    if grid is None:
        return None
    text = str(grid) if isinstance(grid, int | str) else "x".join(map(str, grid))
    return parse_grid(text, 3 if text.count("x") == 2 else 2)


def _by_split(dataset: Any) -> dict[str, Any]:
    """The sequences of items by split, or all under the empty name."""
    from liere_cli.data.splits import SPLITS, UNASSIGNED, split_in_name

    splits: dict[str, Any] = {}
    for given, items in (dataset if isinstance(dataset, Mapping) else {"": dataset}).items():
        if not (hasattr(items, "__getitem__") and hasattr(items, "__len__")):
            raise UsageError(
                f"data_from: the items are {shortened(items)}, but a sequence with a length is "
                "expected"
            )
        split = split_in_name(str(given)) if given else None
        if split == UNASSIGNED:
            raise UsageError(f"data_from: a split is {given!r}, but train, val or test is expected")
        name = "" if split is None else SPLITS[split]
        if name in splits:
            raise UsageError(f"data_from: {given!r} is a second split for {name}")
        splits[name] = items
    return splits
