"""Images and videos with class labels, from any source: split, identified and decoded once.

An item (an image, a clip) is identified by the digest of its stored bytes. Its split, its index in
the split and the data set's fingerprint depend on these digests and the labels, and not on the
order of rows or the names of files. The same content from the hub, from a local mirror or in
another order therefore produces the same runs.

Shapes: N items, C channels.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from liere_cli.config.section import Section, added
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
from liere_cli.data.sources.base import REVISED, Source, StoredItem
from liere_cli.data.sources.cache import is_prepared, prepared
from liere_cli.data.sources.folders.tree import kinds
from liere_cli.data.sources.items.build import decode_into, write_index
from liere_cli.data.sources.items.encoded import EncodedItems
from liere_cli.data.splits import SPLITS, Fractions, assign_splits, carve_groups, check_splits
from liere_cli.data.summary import decoding_notes, duplicate_notes, summary
from liere_cli.errors import LiereError, counted
from liere_cli.utils.files import digest_of

#: part of every fingerprint: how images are decoded
DECODING = "RGB, centred crop to the grid's shape, antialiased bilinear resize"
#: raised when the content of an index changes
_INDEX_FORMAT = 3
#: largest split that is kept decoded where the option ``cache`` leaves the choice
CACHE_BYTES = 4 << 30


class LabelledOptions(Section):
    grid: tuple[int, ...]
    validation: Share = Field(0.1, description=VALIDATION)
    flips: bool = Field(True, description=FLIPS)
    shift: int | None = Field(None, ge=0, description=SHIFT_BY_SIZE)
    cache: Literal["auto", "full", "none"] = added(
        "auto",
        description="keep decoded items on disk (full), decode them in each epoch (none), or what "
        "fits their size (auto); results do not depend on it",
    )
    broken: Literal["refuse", "skip"] = added(
        "refuse", description="what to do about items that can't be decoded"
    )


class Labelled(Dataset):
    task = "classification"
    metric = "top1"
    channels = 3
    options: LabelledOptions

    #: shares of the splits where the source has none
    fractions: Fractions = (0.8, 0.1, 0.1)
    #: share of the sides of images that evaluation sees
    eval_crop: float = 1.0

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
        """Items of the split: decoded once, and mapped from the cache from then on, or decoded each
        time they are gathered, as the option ``cache`` says.
        """
        grid, index = grid or self.grid, self._index
        members = self.members(split)
        share = 1.0 if split == "train" else self.eval_crop
        cropped = "" if share == 1 else f"-crop{share:g}"
        key = f"{self.fingerprint}/{'x'.join(map(str, grid))}-{split}{cropped}"
        if self._decodes_each_time(split, len(members) * math.prod(grid), key):
            columns = {name: index[name] for name in ("digests", "rows", "ends")}
            inputs = EncodedItems(
                self._accessible, members, **columns, grid=grid, channels=self.channels, share=share
            )
            labels, groups = index["labels"][members], index["groups"][members]
            return Examples(inputs, torch.from_numpy(labels), torch.from_numpy(groups))
        arrays = prepared(
            key, lambda folder: self._decode(folder, members, grid, share), resumes=True
        )
        return Examples(**{name: torch.from_numpy(array) for name, array in arrays.items()})

    def _decodes_each_time(self, split: Split, pixels: int, key: str) -> bool:
        cache = self.options.cache
        if split == "train" and self.augmentation.crop is not None:
            return True
        large = pixels * self.channels > CACHE_BYTES and not is_prepared(key)
        return cache == "none" or (cache == "auto" and large)

    @cached_property
    def _accessible(self) -> Source:
        return self.items.with_random_access()

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
        index = prepared(
            f"index/{key}", lambda folder: write_index(self.items, folder), resumes=True
        )
        if (broken := len(index["broken"])) and self.options.broken == "refuse":
            others = f", and {broken - 1} others are broken too" if broken > 1 else ""
            raise LiereError(f"{index['reasons'][0]}{others}: {self.remedy}")
        return index

    @property
    def remedy(self) -> str:
        """What to do about items that can't be decoded."""
        return "remove what is broken, or leave it out with the option broken=skip"

    @cached_property
    def _order(self) -> Array:
        """Indices of the items by digest, then by label, int64 [N]."""
        high, low = self._index["digests"].view(">u8").T
        return np.lexsort((self._index["labels"], low, high))

    @cached_property
    def _splits(self) -> Array:
        """The split of every item, int64 [N]."""
        # items of a mapped file are slow to read one by one
        index = {name: np.asarray(column) for name, column in self._index.items()}
        if len(index["labels"]) == 0:
            raise LiereError(f"{self.label} has no items")
        carve = carve_groups(index["digests"], index["labels"], index["groups"])
        share = self.options.validation
        splits = assign_splits(index["parts"], self.fractions, share, carve, self.label)
        check_splits(splits, index["labels"], self.items.names, self.label)
        return splits

    def _decode(self, folder: Path, members: Array, grid: tuple[int, ...], share: float) -> None:
        index = self._index
        rows = [index["rows"][index["ends"][i - 1] if i else 0 : index["ends"][i]] for i in members]

        def encoded(left: Array) -> Iterator[StoredItem]:
            if share == 1:
                for item in self.items.fetch([rows[n] for n in left], grid):
                    yield replace(item, item=int(left[item.item]))
                return
            for n in left.tolist():
                digest = index["digests"][members[n]].tobytes()
                at = partial(self._accessible.decode_at, rows[n], grid, digest, None, share)
                yield StoredItem(n, at)

        # in the order in which they are stored
        order = np.argsort([row[0] for row in rows], kind="stable")
        decode_into(folder, (len(members), self.channels, *grid), order, encoded, self.label)
        np.save(folder / "labels.npy", index["labels"][members])
        np.save(folder / "groups.npy", index["groups"][members])


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
        if count := len(index["broken"]):
            left.append(
                f"left aside: {counted(count, 'broken item')}, such as {index['reasons'][0]}"
            )
        return (
            summary(self._splits, index["labels"], index["parts"], names, self.items.file_count),
            *left,
            *decoding_notes(index["decodings"]),
            *duplicate_notes(index["digests"], index["labels"], self._splits),
        )
