"""Images and videos with class labels, from any source: split, identified and decoded once.

An item (an image, a clip) is identified by the digest of its stored bytes. Its split, its index in
the split and the data set's fingerprint depend on these digests and the labels, and not on the
order of rows or the names of files. The same content from the hub, from a local mirror or in
another order therefore produces the same runs.

Shapes: N items, C channels.
"""

import os
from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from pydantic import Field

from liere_cli.config.section import Section
from liere_cli.data.base import Array, Dataset, Examples, Split
from liere_cli.data.options import (
    FLIPS,
    FRACTIONS,
    SHIFT_BY_SIZE,
    VALIDATION,
    Share,
    SplitFractions,
    default_patch_edge,
)
from liere_cli.data.sources.base import REVISED, Source
from liere_cli.data.sources.cache import prepared
from liere_cli.data.sources.decode_image import quiet
from liere_cli.data.sources.folders.tree import kinds
from liere_cli.data.splits import SPLITS, Fractions, assign_splits, carve_groups, check_splits
from liere_cli.data.summary import decoding_notes, duplicate_notes, summary
from liere_cli.errors import LiereError
from liere_cli.utils.files import digest_of

#: part of every fingerprint: how images are decoded
DECODING = "RGB, centred crop to the grid's shape, antialiased bilinear resize"
#: raised when the content of an index changes
_INDEX_FORMAT = 2
_CHUNK = 256


class LabelledOptions(Section):
    grid: tuple[int, ...]
    validation: Share = Field(0.1, description=VALIDATION)
    flips: bool = Field(True, description=FLIPS)
    shift: int | None = Field(None, ge=0, description=SHIFT_BY_SIZE)


class Labelled(Dataset):
    task = "classification"
    metric = "top1"
    channels = 3
    options: LabelledOptions

    #: shares of the splits where the source has none
    fractions: Fractions = (0.8, 0.1, 0.1)

    def __init__(self, options: LabelledOptions, root: Path | None = None) -> None:
        super().__init__(options, root)
        *frames, rows, columns = self.grid = options.grid
        self.flips = options.flips
        # the common 4 pixels for an image of 32
        self.shift = rows // 8 if options.shift is None else options.shift
        edge = default_patch_edge((rows, columns))
        self.patch = (*(2 - count % 2 for count in frames), edge, edge)

    @property
    @abstractmethod
    def items(self) -> Source:
        """Opened on first use."""

    @property
    def label(self) -> str:
        """The data set's name in messages."""
        return self.name

    def load(self, split: Split, grid: tuple[int, ...] | None = None) -> Examples:
        """Items of the split, decoded on first use and mapped from the cache from then on."""
        grid = grid or self.grid
        members = self.members(split)
        arrays = prepared(
            f"{self.fingerprint}/{'x'.join(map(str, grid))}-{split}",
            lambda folder: self._decode(folder, members, grid),
        )
        return Examples(**{name: torch.from_numpy(array) for name, array in arrays.items()})

    def members(self, split: Split) -> Array:
        """The numbers in the index of the items of a split, int64 [N], in their order."""
        members: Array = self._order[self._splits[self._order] == SPLITS.index(split)]
        return members

    @cached_property
    def fingerprint(self) -> str:
        columns = [self._index["digests"], self._index["labels"], self._splits]
        revised = self._index["decodings"] & REVISED
        if revised.any():
            columns.append(revised)
        content = b"".join(column[self._order].tobytes() for column in columns)
        return digest_of(DECODING.encode() + content, 16)

    @cached_property
    def _index(self) -> dict[str, Array]:
        """Columns of all items: digests, labels, groups, given splits (``parts``), rows."""
        if self.items.classes != self.classes:
            found = f"the files have {self.items.classes}"
            raise LiereError(f"{self.label} should have {self.classes} classes, but {found}")
        key = digest_of(repr((_INDEX_FORMAT, self.items.stamp())), 32)
        return prepared(f"index/{key}", self._scan)

    def _scan(self, folder: Path) -> None:
        with quiet():
            items = list(self.items.scan())
        groups = {name: number for number, name in enumerate(sorted({i.group for i in items}))}
        ungrouped = iter(range(len(groups), len(groups) + len(items)))
        numbers = [groups[item.group] if item.group else next(ungrouped) for item in items]
        digests = np.frombuffer(b"".join(item.digest for item in items), np.uint8)
        columns: dict[str, Array] = {
            "digests": digests.reshape(-1, 16),
            "labels": np.array([item.label for item in items], np.int64),
            "groups": np.array(numbers, np.int64),
            "parts": np.array([item.split for item in items], np.int64),
            "decodings": np.array([item.decoding for item in items], np.uint8),
            "rows": np.array([row for item in items for row in item.rows], np.int64),
            "ends": np.cumsum([len(item.rows) for item in items], dtype=np.int64),
        }
        for name, column in columns.items():
            np.save(folder / f"{name}.npy", column)

    @cached_property
    def _order(self) -> Array:
        """Indices of the items by digest, then by label, int64 [N]."""
        high, low = self._index["digests"].view(">u8").T
        return np.lexsort((self._index["labels"], low, high))

    @cached_property
    def _splits(self) -> Array:
        """The split of every item, int64 [N]."""
        index = self._index
        if len(index["labels"]) == 0:
            raise LiereError(f"{self.label} has no items")
        carve = carve_groups(index["digests"], index["labels"], index["groups"])
        share = self.options.validation
        splits = assign_splits(index["parts"], self.fractions, share, carve, self.label)
        check_splits(splits, index["labels"], self.items.names, self.label)
        return splits

    def _decode(self, folder: Path, members: Array, grid: tuple[int, ...]) -> None:
        ends = self._index["ends"]
        rows = [self._index["rows"][ends[i - 1] if i else 0 : ends[i]] for i in members]
        inputs = np.lib.format.open_memmap(
            folder / "inputs.npy", "w+", np.uint8, (len(members), self.channels, *grid)
        )
        # reserves the space: a full disk is an error here, and would be a signal in mapped memory
        with (folder / "inputs.npy").open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        encoded = self.items.fetch(rows, grid)
        with quiet(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            while chunk := list(islice(encoded, _CHUNK)):
                decoded = pool.map(lambda item: item.decode(), chunk)
                for item, pixels in zip(chunk, decoded, strict=True):
                    inputs[item.item] = pixels
        inputs.flush()
        np.save(folder / "labels.npy", self._index["labels"][members])
        np.save(folder / "groups.npy", self._index["groups"][members])


class LocalOptions(LabelledOptions):
    path: str = Field(description="a folder by class, a parquet file, or a pattern of such files")
    fractions: SplitFractions = Field((0.8, 0.1, 0.1), description=FRACTIONS)
    flips: bool = Field(False, description=FLIPS)
    shift: int | None = Field(0, ge=0, description=SHIFT_BY_SIZE)
    label: str | None = Field(None, description="parquet column of classes; null: found by name")


class Local(Labelled):
    """The user's own files, which determine the number of classes.

    A folder holds one folder for each class, directly or below ``train``, ``val``, ``test``. Files
    without splits are split by ``fractions``; where there are two splits, the second is the test
    split and ``validation`` of train is held out. What can be read in several ways is refused, and
    :attr:`notes` counts what is left aside.
    """

    licence = "the files' own"
    options: LocalOptions

    def __init__(self, options: LocalOptions, root: Path | None = None) -> None:
        super().__init__(options, root)
        self.fractions = options.fractions
        self.classes = self.items.classes

    @property
    def label(self) -> str:
        return self.options.path

    @cached_property
    def notes(self) -> tuple[str, ...]:
        index, names = self._index, self.items.names
        left = [f"left aside: {kinds(self.items.left)}"] if self.items.left else []
        return (
            summary(self._splits, index["labels"], index["parts"], names, self.items.file_count),
            *left,
            *decoding_notes(index["decodings"]),
            *duplicate_notes(index["digests"], index["labels"], self._splits),
        )
