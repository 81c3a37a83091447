"""Volumes with a class each: files in class folders, files of lists, rows of an array."""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from liere_cli.data.base import Array
from liere_cli.data.clips.lists import read_lists
from liere_cli.data.sources.base import Decoding
from liere_cli.data.sources.folders.source import ClassFile, Folder
from liere_cli.data.sources.folders.tree import Tree, read_tree
from liere_cli.data.splits import SPLITS, UNASSIGNED
from liere_cli.data.volumes.stored import (
    SUFFIXES,
    Volume,
    Window,
    arrays_in,
    container_of,
    described,
    digest_of_volume,
    open_volume,
    reading,
    row_path,
    status_of,
    to_bytes,
    window_of,
)
from liere_cli.errors import LiereError

#: bytes of planes that are read at once
_SLAB = 1 << 26


class Volumes(Folder):
    """Volumes and their classes; rows of an array are files ``FILE/ROW``.

    Args:
        crops: least extents of a volume; None: volumes of any size are resized.
    """

    def __init__(self, window: Window, crops: tuple[int, ...] | None) -> None:
        self.window, self.crops = window, crops
        self.groups: Mapping[Path, str] = {}
        # as long as the data set, which scans each volume once and decodes it several times
        self.range_of = lru_cache(maxsize=1 << 16)(partial(_range_of, window=window))

    def in_folder(self, folder: Path) -> "Volumes":
        super().__init__(with_zarr(read_tree(folder, SUFFIXES)), SUFFIXES)
        return self

    def in_lists(self, lists: list[Path], folder: Path | None) -> "Volumes":
        videos = read_lists(lists, folder, SUFFIXES)
        self.names, self.files, self.groups = videos.names, videos.files, videos.groups
        self.left = videos.left
        self._counted()
        return self

    def in_array(self, path: Path, labels: Path | None) -> "Volumes":
        """Rows of one array with ``labels`` in a file of their own, or of the arrays ``x`` and
        ``y``, ``x_train`` and ``y_train`` and so on, or MedMNIST's ``train_images`` and so on.
        """
        arrays = arrays_in(path)
        pairs: list[tuple[int, str, Array]] = []
        if labels is not None:
            single = list(arrays) if len(arrays) == 1 else [name for name in arrays if name == "x"]
            if not single:
                raise LiereError(f"{path} has arrays {', '.join(arrays)}, but one is expected")
            pairs = [(UNASSIGNED, single[0], _labels_in(labels))]
        else:
            names = {(f"x_{s}", f"y_{s}"): n for n, s in enumerate(SPLITS)}
            names |= {(f"{s}_images", f"{s}_labels"): n for n, s in enumerate(SPLITS)}
            names[("x", "y")] = UNASSIGNED
            for (x, y), split in names.items():
                if x in arrays and y in arrays:
                    with reading(path):
                        pairs.append((split, x, np.asarray(arrays[y][:])))
        if not pairs:
            there = f"(there are: {', '.join(filter(None, arrays)) or 'one array'})"
            raise LiereError(
                f"{path} has no labels {there}: give labels_file=FILE.npy, or arrays named x and "
                "y, or x_train, y_train and so on"
            )
        self.files = []
        for split, name, values in pairs:
            count, numbers = arrays[name].shape[0], _whole(values, f"{path}: labels of {name}")
            if len(numbers) != count:
                raise LiereError(f"{path} has {count} volumes, but {len(numbers)} labels")
            self.files += [
                ClassFile(row_path(path, name, row), int(label), split)
                for row, label in enumerate(numbers)
            ]
        present = np.unique([file.label for file in self.files])
        if len(present) < 2 or present[-1] != len(present) - 1:
            raise LiereError(
                f"{path}: labels must be 0 to classes - 1 without gaps, but are "
                f"{', '.join(map(str, present[:6]))}"
            )
        self.names, self.left = [str(label) for label in present], Counter()
        self._counted()
        self.file_count = 1
        return self

    def _counted(self) -> None:
        self.classes, self.file_count = len(self.names), len(self.files)

    def stamp(self) -> list[object]:
        places = {file.path: container_of(file.path) for file in self.files}
        statuses = {
            path: status_of(path)
            for path in sorted({place[0] if place else path for path, place in places.items()})
        }
        files = [(file.label, file.split, str(file.path)) for file in self.files]
        groups = sorted((str(path), group) for path, group in self.groups.items())
        # what a scan checks beside the files
        checked = self.window if isinstance(self.window, str) else self.window is None, self.crops
        return [type(self).__name__, *checked, *statuses.values(), *files, *groups]

    def group_of(self, path: Path) -> str:
        return self.groups.get(path, "")

    @staticmethod
    def read(path: Path) -> bytes:
        """A digest of the volume, which may be larger than memory."""
        return digest_of_volume(path)

    def decoding_of(self, path: Path, data: bytes) -> Decoding:
        volume, first = open_volume(path), open_volume(self.files[0].path)
        if volume.channels != first.channels:
            raise LiereError(f"{path} is {described(volume)}, but {first.where} {described(first)}")
        if self.crops and any(a < b for a, b in zip(volume.grid, self.crops, strict=True)):
            needed = "x".join(map(str, self.crops))
            raise LiereError(
                f"{path} is {described(volume)}, smaller than crops of {needed}: give a smaller "
                "grid, or crop=false, which resizes volumes"
            )
        self.range_of(path)
        return Decoding.USUAL

    def decode(self, path: Path, grid: tuple[int, ...]) -> Array:
        return resized(open_volume(path), grid, self.range_of(path))

    def patch(self, path: Path, grid: tuple[int, ...], shares: tuple[float, ...]) -> Array:
        """A part of the grid's size, uint8 [C, *grid]; ``shares``, from 0 to 1, say where it lies
        between one end and the other.
        """
        volume = open_volume(path)
        starts = [
            int(share * (extent - size + 1))
            for share, extent, size in zip(shares, volume.grid, grid, strict=True)
        ]
        region = [slice(start, start + size) for start, size in zip(starts, grid, strict=True)]
        return np.round(to_bytes(volume.read(region), self.range_of(path))).astype(np.uint8)


def _range_of(path: Path, window: Window) -> tuple[float, float]:
    return window_of(open_volume(path), window)


def with_zarr(tree: Tree) -> Tree:
    """The tree with folders named ``.zarr`` as files."""
    for name, folder in list(tree.folders.items()):
        if name.lower().endswith(".zarr"):
            del tree.folders[name]
            tree.files = sorted([*tree.files, folder.path])
        else:
            with_zarr(folder)
    return tree


def _labels_in(path: Path) -> Array:
    with reading(path):
        if path.suffix == ".npy":
            labels: Array = np.load(path, allow_pickle=False)
            return labels
        return np.loadtxt(path, dtype=np.int64, ndmin=1)


def _whole(labels: Array, where: str) -> Array:
    """Labels as int64 [N]; LiereError for others than whole numbers from 0."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "bui" or (len(labels) and labels.min() < 0):
        raise LiereError(
            f"{where} are {labels.dtype} of shape {labels.shape}, but whole numbers from 0, one "
            "for each volume, are expected"
        )
    whole: Array = labels.astype(np.int64)
    return whole


def resized(volume: Volume, grid: tuple[int, ...], window: tuple[float, float]) -> Array:
    """The whole volume at another grid, uint8 [C, *grid]: the mean of the planes that each new one
    covers, each resized linearly with antialiasing. Reads some planes at a time.
    """
    depth, *size = volume.grid
    plane = volume.channels * size[0] * size[1] * 4
    most = max(1, _SLAB // max(plane, 1))
    out = np.empty((volume.channels, *grid), np.uint8)
    for new in range(grid[0]):
        start = new * depth // grid[0]
        stop = max(start + 1, -(-(new + 1) * depth // grid[0]))
        total = torch.zeros(volume.channels, *grid[1:])
        for first in range(start, stop, most):
            planes = to_bytes(volume.planes(first, min(first + most, stop)), window)
            # [C, planes, rows, columns]
            part = torch.from_numpy(np.ascontiguousarray(planes))
            if tuple(size) != grid[1:]:
                part = F.interpolate(part, size=grid[1:], mode="bilinear", antialias=True)
            total += part.sum(1)
        out[:, new] = (total / (stop - start)).round().clamp(0, 255).to(torch.uint8).numpy()
    return out
