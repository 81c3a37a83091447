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
from typing import Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch.nn import functional as F

from liere_cli.config.section import Section
from liere_cli.data.base import Array, Dataset, Examples, Split
from liere_cli.data.options import (
    FLIPS,
    FRACTIONS,
    SHIFT,
    SplitFractions,
    default_patch_edge,
    given_file,
    read_grid,
)
from liere_cli.data.sources.archives import check_members
from liere_cli.data.sources.cache import cached_digest, file_key
from liere_cli.data.sources.folders.layout import listed
from liere_cli.data.splits import (
    SPLITS,
    TRAIN,
    UNASSIGNED,
    assign_splits,
    carve_classes,
    check_splits,
    split_in_name,
)
from liere_cli.data.summary import duplicate_notes, summary
from liere_cli.errors import LiereError, UsageError, counted
from liere_cli.utils.files import digest_of, digest_of_file

#: names of the inputs and labels of each split; the last are those of MedMNIST's files
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
    def _grid(cls, value: object) -> object:
        if value is None:
            return None
        extents = re.split(r"[x,]", value) if isinstance(value, str) else value
        return read_grid(value, 3 if isinstance(extents, Sequence) and len(extents) == 3 else 2)


class ArrayFile(Dataset):
    """Arrays ``x`` [N, *grid], [N, *grid, C] or [N, C, *grid] and ``y`` [N] in an ``.npz`` file.

    Values are uint8, integers from 0 to 255, floats from 0 to 1, or truth values (black and
    white). A last axis of 1, 3 or 4 is the channels, else the second axis where five axes are
    given; four axes without channels are volumes. Where the second of four axes is 1, 3 or 4,
    ``axes`` says whether these are channels (2) or slices (3). Splits come from ``x_train``,
    ``y_train`` and so on (or MedMNIST's ``train_images``, ``train_labels``); without them each
    class is split by ``fractions`` in a fixed random order. Another grid is interpolated linearly
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
        check_splits(self._splits, labels, self._names, str(self.path))
        edge = default_patch_edge(self.grid[-2:], 8 if len(self.grid) == 2 else 4)
        self.patch = (*(min(edge, default_patch_edge((n,), 4)) for n in self.grid[:-2]), edge, edge)

    @cached_property
    def fingerprint(self) -> str:
        key = ("file", *file_key(self.path))
        digest = cached_digest(key, lambda: digest_of_file(self.path))
        # truth values were 0 and 1 of 255 before they were black and white
        black_and_white = any(self._stored[x].dtype == bool for _, x, _ in self._pairs)
        scale = " black and white" if black_and_white else ""
        return digest_of(f"{digest} {self.options.axes} {self.options.fractions}{scale}", 16)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        inputs, labels = self._content
        used = {key for _, *pair in self._pairs for key in pair}
        others = sorted(self._stored.keys() - used)
        left = [f"left aside: {counted(len(others), 'array')} ({listed(others)})"] if others else []
        digests = [hashlib.sha256(item.tobytes()).digest()[:16] for item in inputs]
        content = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)
        return (
            summary(self._splits, labels, self._given, self._names),
            *left,
            *duplicate_notes(content, labels, self._splits),
        )

    def load(self, split: Split, grid: tuple[int, ...] | None = None) -> Examples:
        grid = grid or self.grid
        self._check(grid)
        inputs, labels = self._content
        members = torch.from_numpy(np.flatnonzero(self._splits == SPLITS.index(split)))
        chosen = torch.from_numpy(inputs)[members]
        if tuple(chosen.shape[2:]) != grid:
            chosen = _resized(chosen, grid)
        return Examples(chosen, torch.from_numpy(labels)[members], members)

    def _check(self, grid: tuple[int, ...]) -> None:
        axes = self._content[0].ndim - 2
        if len(grid) != axes:
            given = f"the grid {'x'.join(map(str, grid))} has {len(grid)} axes"
            raise UsageError(f"data.array: {given}, but the arrays in {self.path} have {axes}")

    @cached_property
    def _stored(self) -> dict[str, Array]:
        try:
            if not zipfile.is_zipfile(self.path):
                raise LiereError(f"{self.path} is not an .npz file")
            check_members(self.path)
            with np.load(self.path, allow_pickle=False) as file:
                return {key: file[key] for key in file.files}
        except (
            OSError, ValueError, EOFError, MemoryError, OverflowError, NotImplementedError,
            RuntimeError, SyntaxError, TokenError, zipfile.BadZipFile, zlib.error,
        ) as error:  # fmt: skip
            # pickled objects are never loaded: they could run code
            reason = "it contains Python objects" if "pickle" in str(error) else str(error)
            what = "is broken or not an .npz file of arrays"
            raise LiereError(f"{self.path} {what}: {reason}") from None

    @cached_property
    def _content(self) -> tuple[Array, Array]:
        """All items as uint8 [N, C, *grid] and int64 [N], split after split."""
        pairs = [self._read_pair(x, y) for _, x, y in self._pairs]
        shapes = {inputs.shape[1:] for inputs, _ in pairs}
        if len(shapes) > 1:
            raise LiereError(f"{self.path}: the splits have arrays of different shapes: {shapes}")
        inputs = np.concatenate([inputs for inputs, _ in pairs])
        labels = np.concatenate([labels for _, labels in pairs])
        distinct = len(np.unique(labels))
        if labels.max() >= distinct:
            raise self._gaps(labels)
        if distinct < 2:
            raise LiereError(f"{self.path} has one class, but two or more are needed")
        return inputs, labels

    @cached_property
    def _pairs(self) -> list[tuple[int, str, str]]:
        """Split and names of inputs and labels."""
        names = self._stored.keys()
        pairs = [
            (SPLITS.index(split), *pair)
            for split, keys in _KEYS.items()
            for pair in keys
            if set(pair) <= names
        ]
        if {"x", "y"} <= names:
            pairs.append((UNASSIGNED, "x", "y"))
        there = f"(there are: {', '.join(sorted(names)) or 'no arrays'})"
        splits = [split for split, _, _ in pairs]
        if TRAIN not in splits and UNASSIGNED not in splits:
            raise LiereError(f"{self.path} has neither x and y nor x_train and y_train {there}")
        used = {key for _, *pair in pairs for key in pair}
        unread = [key for key in sorted(names - used) if split_in_name(key) != UNASSIGNED]
        if unread or len(set(splits)) < len(splits) or (UNASSIGNED in splits and len(splits) > 1):
            problem = f"{unread[0]} would not be read" if unread else "a split has several names"
            raise LiereError(
                f"{self.path}: {problem} {there}: use x and y, or x_train, y_train, x_val, y_val, "
                "x_test and y_test"
            )
        return pairs

    @cached_property
    def _given(self) -> Array:
        """The split that the file gives each item, int64 [N]."""
        lengths = [len(self._stored[y]) for _, _, y in self._pairs]
        return np.repeat([split for split, _, _ in self._pairs], lengths)

    @cached_property
    def _splits(self) -> Array:
        """The split of every item, int64 [N]."""
        labels = self._content[1]
        train, val, _ = fractions = self.options.fractions
        share, carve = val / (train + val), carve_classes(labels)
        return assign_splits(self._given, fractions, share, carve, str(self.path))

    @property
    def _names(self) -> list[str]:
        """Of the classes."""
        return [str(label) for label in range(self.classes)]

    def _read_pair(self, x: str, y: str) -> tuple[Array, Array]:
        inputs, labels = self._stored[x], self._stored[y]
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim != 1 or len(labels) != len(inputs) or len(labels) == 0:
            raise LiereError(
                f"{self.path}: {y} must have one label for each item of {x}, but their shapes are "
                f"{labels.shape} and {inputs.shape}"
            )
        whole = np.issubdtype(labels.dtype, np.integer)
        if not whole or labels.min() < 0:
            wrong = labels.min() if whole else labels.dtype
            raise LiereError(f"{self.path}: {y} must be whole numbers from 0, not {wrong}")
        if labels.max() > np.iinfo(np.int64).max:
            raise self._gaps(labels)
        inputs = _channels_first(inputs, self.options.axes, self.path)
        return self._pixels(inputs, x), labels.astype(np.int64)

    def _gaps(self, labels: Array) -> LiereError:
        return LiereError(
            f"{self.path}: labels must be 0 to classes - 1 without gaps, but the largest is "
            f"{labels.max()} and the number of different ones {len(np.unique(labels))}"
        )

    def _pixels(self, inputs: Array, x: str) -> Array:
        if inputs.dtype.kind not in "buif":
            raise LiereError(f"{self.path}: {x} has {inputs.dtype} values: {_VALUES}")
        if inputs.size == 0:
            raise LiereError(f"{self.path}: {x} of shape {inputs.shape} is empty")
        if inputs.dtype == np.uint8:
            return np.ascontiguousarray(inputs)
        floating = np.issubdtype(inputs.dtype, np.floating)
        most = 1 if floating else 255
        # comparisons with NaN are false, so NaN is an error too
        if not (inputs.dtype == bool or (inputs.min() >= 0 and inputs.max() <= most)):
            outside = f"{inputs.dtype} values outside 0 to {most}"
            raise LiereError(f"{self.path}: {x} has {outside}: {_VALUES}")
        scaled = np.round(inputs * 255) if floating else inputs
        if inputs.dtype == bool:
            scaled = inputs * np.uint8(255)
        return np.ascontiguousarray(scaled).astype(np.uint8)


def _channels_first(inputs: Array, axes: int | None, path: Path) -> Array:
    channels = (1, 3, 4)
    last = inputs.ndim >= 4 and inputs.shape[-1] in channels
    if axes is None and inputs.ndim == 4 and not last and inputs.shape[1] in channels:
        count = inputs.shape[1]
        raise LiereError(
            f"{path}: arrays of shape {inputs.shape} may be images of {counted(count, 'channel')} "
            f"or volumes of {counted(count, 'slice')}: give axes=2 or axes=3"
        )
    axes = axes or {3: 2, 4: 2 if last else 3, 5: 3}.get(inputs.ndim)
    if axes is None or inputs.ndim not in (axes + 1, axes + 2):
        raise LiereError(
            f"{path}: arrays of shape {inputs.shape} are not {axes or '2 or 3'}D items: "
            "[N, *grid], [N, *grid, C] or [N, C, *grid] is expected"
        )
    if inputs.ndim == axes + 1:
        return inputs[:, None]
    if not last and inputs.shape[1] not in channels and inputs.shape[2] in channels:
        raise LiereError(
            f"{path}: arrays of shape {inputs.shape} have channels on their third axis, but "
            "[N, *grid, C] or [N, C, *grid] is expected: move that axis"
        )
    return np.moveaxis(inputs, -1, 1) if last else inputs


def _resized(inputs: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
    """uint8 [N, C, *grid] at another grid, antialiased in the plane."""
    count, channels = inputs.shape[:2]
    planes = inputs.flatten(0, -3)[:, None]
    parts = [
        F.interpolate(part.float(), size=grid[-2:], mode="bilinear", antialias=True)
        for part in planes.split(1024)
    ]
    resized = torch.cat(parts).view(count, channels, *inputs.shape[2:-2], *grid[-2:])
    if len(grid) == 3 and inputs.shape[2] != grid[0]:
        resized = F.interpolate(resized, size=grid, mode="trilinear", align_corners=False)
    return resized.round().clamp(0, 255).to(torch.uint8)
