"""Labelled arrays in an ``.npz`` file: images, volumes or videos.

Shapes: N items, C channels; the grid has two axes (rows, columns) or three (depth or frames, rows,
columns).
"""

import hashlib
import re
import zipfile
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch.nn import functional as F

from liere_cli.config.section import Section
from liere_cli.data.base import Dataset, Examples, Split
from liere_cli.data.options import FLIPS, FRACTIONS, SHIFT, SplitFractions, given_file, read_grid
from liere_cli.data.sources.archives import check_members
from liere_cli.data.sources.archives import digest_of as file_digest
from liere_cli.data.sources.base import SPLITS, Array
from liere_cli.data.sources.cache import file_key, remembered
from liere_cli.data.visual import patch_edge
from liere_cli.errors import LiereError, UsageError

#: names of the inputs and labels of each split; those of MedMNIST's files come last
_KEYS: dict[Split, tuple[tuple[str, str], ...]] = {
    split: ((f"x_{split}", f"y_{split}"), (f"{split}_images", f"{split}_labels"))
    for split in SPLITS
}
_VALUES = "uint8, whole numbers from 0 to 255 or floats from 0 to 1 are expected"


class ArrayOptions(Section):
    path: str = Field(description="an .npz file with x and y, or x_train, y_train and so on")
    grid: tuple[int, ...] | None = Field(
        None, description="ROWSxCOLUMNS or FRAMESxROWSxCOLUMNS; null: as stored"
    )
    axes: Literal[2, 3] | None = Field(None, description="2 or 3; null: by the arrays' shape")
    fractions: SplitFractions = Field((0.8, 0.1, 0.1), description=FRACTIONS)
    flips: bool = Field(False, description=FLIPS)
    shift: int = Field(0, ge=0, description=SHIFT)

    @field_validator("grid", mode="before")
    @classmethod
    def _grid(cls, value: Any) -> Any:
        if value is None:
            return None
        text = isinstance(value, str)
        extents = re.split(r"[x,]", value) if text else value
        return read_grid(value, 3 if isinstance(extents, Sequence) and len(extents) == 3 else 2)


class ArrayFile(Dataset):
    """Arrays ``x`` [N, *grid], [N, *grid, C] or [N, C, *grid] and ``y`` [N] in an ``.npz`` file.

    Values are uint8, integers from 0 to 255, or floats from 0 to 1. A last axis of 1, 3 or 4 is
    the channels, else a second axis of 1, 3 or 4 where five axes are given; four axes without
    channels are volumes (``axes`` says otherwise). Splits come from ``x_train``, ``y_train`` and so
    on (or MedMNIST's ``train_images``, ``train_labels``); without them items are dealt out by
    ``fractions`` in a fixed random order, class by class. Another grid is interpolated linearly
    along each axis from the stored array.
    """

    name = "array"
    summary = "arrays x and y in an .npz file: images, 3D volumes or videos"
    source = "array:PATH.npz"
    licence = "the file's own"
    task = "classification"
    metric = "top1"
    axes = None
    Options = ArrayOptions
    options: ArrayOptions

    def __init__(self, options: ArrayOptions, root: Path | None = None) -> None:
        super().__init__(options, root)
        self.path = given_file(self.name, options.path)
        self.flips = options.flips
        self.shift = options.shift
        inputs, labels = self._content
        self.channels = inputs.shape[1]
        self.mean, self.std = (0.5,) * self.channels, (0.25,) * self.channels
        self.classes = int(labels.max()) + 1
        self.grid = options.grid or tuple(inputs.shape[2:])
        self._check(self.grid)
        edge = patch_edge(self.grid[-2:], 8 if len(self.grid) == 2 else 4)
        self.patch = (*(min(edge, patch_edge((n,), 4)) for n in self.grid[:-2]), edge, edge)

    @classmethod
    def is_available(cls, root: Path | None) -> bool:
        return True

    @cached_property
    def fingerprint(self) -> str:
        digest = remembered(("file", *file_key(self.path)), lambda: file_digest(self.path))
        rule = f"{digest} {self.options.axes} {self.options.fractions}"
        return hashlib.sha256(rule.encode()).hexdigest()[:16]

    def load(self, split: Split, grid: tuple[int, ...] | None = None) -> Examples:
        grid = grid or self.grid
        self._check(grid)
        inputs, labels = self._content
        members = torch.from_numpy(np.flatnonzero(self._parts == SPLITS.index(split)))
        chosen = torch.from_numpy(inputs)[members]
        if tuple(chosen.shape[2:]) != grid:
            chosen = _resized(chosen, grid)
        return Examples(chosen, torch.from_numpy(labels)[members], members)

    def _check(self, grid: tuple[int, ...]) -> None:
        axes = self._content[0].ndim - 2
        if len(grid) != axes:
            raise UsageError(
                f"data.array: the grid {'x'.join(map(str, grid))} has {len(grid)} axes, but the "
                f"arrays in {self.path} have {axes}"
            )

    @cached_property
    def _stored(self) -> dict[str, Array]:
        try:
            if not zipfile.is_zipfile(self.path):
                raise LiereError(f"{self.path} is no .npz file")
            check_members(self.path)
            with np.load(self.path, allow_pickle=False) as file:
                return {key: file[key] for key in file.files}
        except (
            OSError, ValueError, EOFError, MemoryError, OverflowError, NotImplementedError,
            RuntimeError, SyntaxError, TokenError, zipfile.BadZipFile, zlib.error,
        ) as error:  # fmt: skip
            # nothing pickled is ever loaded: it could run code
            reason = "it holds Python objects" if "pickle" in str(error) else str(error)
            raise LiereError(f"{self.path} is broken or no .npz file of arrays: {reason}") from None

    @cached_property
    def _content(self) -> tuple[Array, Array]:
        """All items as uint8 [N, C, *grid] and int64 [N], split after split."""
        pieces = [self._piece(x, y) for _, x, y in self._pairs]
        shapes = {inputs.shape[1:] for inputs, _ in pieces}
        if len(shapes) > 1:
            raise LiereError(f"{self.path}: the splits have arrays of different shapes: {shapes}")
        inputs = np.concatenate([inputs for inputs, _ in pieces])
        labels = np.concatenate([labels for _, labels in pieces])
        distinct = len(np.unique(labels))
        if labels.max() >= distinct:
            raise self._gaps(labels)
        if distinct < 2:
            raise LiereError(f"{self.path} holds one class, but two or more are needed")
        return inputs, labels

    @cached_property
    def _pairs(self) -> list[tuple[int, str, str]]:
        names = self._stored.keys()
        if {"x", "y"} <= names:
            return [(-1, "x", "y")]
        found = [
            (SPLITS.index(split), *pair)
            for split, pairs in _KEYS.items()
            for pair in pairs
            if set(pair) <= names
        ]
        if not any(part == 0 for part, _, _ in found):
            raise LiereError(
                f"{self.path} has neither x and y nor x_train and y_train (there are: "
                f"{', '.join(sorted(names)) or 'no arrays'})"
            )
        return found

    @cached_property
    def _parts(self) -> Array:
        """The split of every item, int64 [N]."""
        labels = self._content[1]
        lengths = [len(self._stored[y]) for _, _, y in self._pairs]
        given = np.repeat([part for part, _, _ in self._pairs], lengths)
        present = set(given.tolist())
        if present == {0, 1, 2}:
            return given
        train, val, test = self.options.fractions
        if len(present) == 2:
            # two given parts are train and test, whatever the second is called
            parts = np.where(given == 0, 0, 2)
            return _deal(parts, labels, ((1, val / (train + val)),))
        return _deal(np.zeros_like(given), labels, ((1, val), (2, test)))

    def _piece(self, x: str, y: str) -> tuple[Array, Array]:
        inputs, labels = self._stored[x], self._stored[y]
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim != 1 or len(labels) != len(inputs) or len(labels) == 0:
            raise LiereError(
                f"{self.path}: {y} must give one label for each item of {x}, but their shapes are "
                f"{labels.shape} and {inputs.shape}"
            )
        if not np.issubdtype(labels.dtype, np.integer):
            raise LiereError(f"{self.path}: {y} must hold whole numbers from 0, not {labels.dtype}")
        if labels.min() < 0:
            raise LiereError(f"{self.path}: {y} must hold whole numbers from 0, not {labels.min()}")
        if labels.max() > np.iinfo(np.int64).max:
            raise self._gaps(labels)
        return self._pixels(
            _channels_first(inputs, self.options.axes, self.path), x
        ), labels.astype(np.int64)

    def _gaps(self, labels: Array) -> LiereError:
        return LiereError(
            f"{self.path}: labels must be 0 to classes - 1 without gaps, but the largest is "
            f"{labels.max()} and the number of different ones {len(np.unique(labels))}"
        )

    def _pixels(self, inputs: Array, x: str) -> Array:
        if inputs.dtype.kind not in "buif":
            raise LiereError(f"{self.path}: {x} holds {inputs.dtype} values: {_VALUES}")
        if inputs.size == 0:
            raise LiereError(f"{self.path}: {x} of shape {inputs.shape} holds nothing")
        if inputs.dtype == np.uint8:
            return np.ascontiguousarray(inputs)
        floating = np.issubdtype(inputs.dtype, np.floating)
        most = 1 if floating else 255
        # a comparison with NaN is false, so NaN is refused too
        if not (inputs.dtype == bool or (inputs.min() >= 0 and inputs.max() <= most)):
            raise LiereError(
                f"{self.path}: {x} holds {inputs.dtype} values outside 0 to {most}: {_VALUES}"
            )
        scaled = np.round(inputs * 255) if floating else inputs
        return np.ascontiguousarray(scaled).astype(np.uint8)


def _channels_first(inputs: Array, axes: int | None, path: Path) -> Array:
    last = inputs.ndim >= 4 and inputs.shape[-1] in (1, 3, 4)
    found = {3: 2, 4: 2 if last else 3, 5: 3}.get(inputs.ndim)
    axes = axes or found
    if axes is None or inputs.ndim not in (axes + 1, axes + 2):
        raise LiereError(
            f"{path}: arrays of shape {inputs.shape} are no {axes or '2 or 3'}D items: "
            "[N, *grid], [N, *grid, C] or [N, C, *grid] is expected"
        )
    if inputs.ndim == axes + 1:
        return inputs[:, None]
    return np.moveaxis(inputs, -1, 1) if last else inputs


def _deal(parts: Array, labels: Array, shares: tuple[tuple[int, float], ...]) -> Array:
    """Moves a share of the train items of every class to other parts, in a fixed random order."""
    parts = parts.copy()
    order = np.random.default_rng(0).permutation(len(labels))
    for label in np.unique(labels):
        members = order[(labels[order] == label) & (parts[order] == 0)]
        start = 0
        for part, share in shares:
            # a class of few items still keeps one for training
            count = min(max(1, round(share * len(members))), max(len(members) - 1 - start, 0))
            parts[members[start : start + count]] = part
            start += count
    return parts


def _resized(inputs: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
    """uint8 [N, C, *grid] at another grid, antialiased in the plane."""
    count, channels = inputs.shape[:2]
    planes = inputs.flatten(0, -3)[:, None]
    resized = torch.cat(
        [
            F.interpolate(part.float(), size=grid[-2:], mode="bilinear", antialias=True)
            for part in planes.split(1024)
        ]
    )
    resized = resized.view(count, channels, *inputs.shape[2:-2], *grid[-2:])
    if len(grid) == 3 and inputs.shape[2] != grid[0]:
        resized = F.interpolate(resized, size=grid, mode="trilinear", align_corners=False)
    return resized.round().clamp(0, 255).to(torch.uint8)
