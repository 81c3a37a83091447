"""Labelled items from any source: how they are split, identified, decoded once and kept.

An item (an image, a clip) is known by the digest of its stored bytes. Which split it belongs to,
its place in the split and the fingerprint of the set depend on these digests and the labels, and
not on the order of rows or the names of files. The same bytes from the hub, from a local mirror or
shuffled therefore give the same runs.

Shapes: N items, C channels.
"""

import hashlib
import os
from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from liere_cli.data.base import Dataset, Examples, Split
from liere_cli.data.sources.base import SPLITS, Array, Source
from liere_cli.data.sources.cache import prepared
from liere_cli.errors import LiereError

#: part of every fingerprint: what happens to a picture on its way to the grid
DECODING = "RGB, centred crop to the grid's shape, antialiased bilinear resize"
#: raised when scans come to give something else, so that old ones are not used
_INDEX_FORMAT = 1
_CHUNK = 256


class Labelled(Dataset):
    """A classification set whose items come from a :class:`Source`."""

    task = "classification"
    metric = "top1"
    channels = 3

    #: shares of train, val and test where the source has no splits of its own
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    #: share of train that becomes val where the source has train and test only
    validation: float = 0.1

    @property
    @abstractmethod
    def items(self) -> Source:
        """The source, opened on first use."""

    def load(self, split: Split, grid: tuple[int, ...] | None = None) -> Examples:
        """Items of the split, decoded on first use and then mapped from the prepared cache."""
        grid = grid or self.grid
        part = SPLITS.index(split)
        members = self._order[self._parts[self._order] == part]
        name = f"{'x'.join(map(str, grid))}-{split}"
        arrays = prepared(
            f"{self.fingerprint}/{name}", lambda folder: self._decode(folder, members, grid)
        )
        return Examples(
            torch.from_numpy(arrays["inputs"]),
            torch.from_numpy(arrays["labels"]),
            torch.from_numpy(arrays["groups"]),
        )

    @cached_property
    def _index(self) -> dict[str, Array]:
        if self.items.classes != self.classes:
            raise LiereError(
                f"{self.label} should have {self.classes} classes, but what was found has "
                f"{self.items.classes}"
            )
        stamp = repr((_INDEX_FORMAT, self.items.stamp()))
        key = hashlib.sha256(stamp.encode()).hexdigest()[:32]
        return prepared(f"index/{key}", self._scan)

    def _scan(self, folder: Path) -> None:
        items = list(self.items.scan())
        names = {group: number for number, group in enumerate(sorted({i.group for i in items}))}
        own = iter(range(len(names), len(names) + len(items)))
        columns: dict[str, Array] = {
            "digests": np.frombuffer(b"".join(item.digest for item in items), np.uint8),
            "labels": np.array([item.label for item in items], np.int64),
            "groups": np.array(
                [names[item.group] if item.group else next(own) for item in items], np.int64
            ),
            "parts": np.array([item.part for item in items], np.int64),
            "rows": np.array([row for item in items for row in item.rows], np.int64),
            "ends": np.cumsum([len(item.rows) for item in items], dtype=np.int64),
        }
        columns["digests"] = columns["digests"].reshape(-1, 16)
        for name, column in columns.items():
            np.save(folder / f"{name}.npy", column)

    @cached_property
    def _order(self) -> Array:
        high, low = self._index["digests"].view(">u8").T
        return np.lexsort((self._index["labels"], low, high))

    @cached_property
    def _parts(self) -> Array:
        """The split of every item, int64 [N]."""
        index = self._index
        if len(index["labels"]) == 0:
            raise LiereError(f"{self.label} holds no items")
        given = index["parts"]
        present = [part for part in range(3) if (given == part).any()]
        if present == [0, 1, 2]:
            return given
        if present in ([0, 1], [0, 2]):
            # two given parts are train and test, whatever the second is called
            parts = np.where(given == 0, 0, 2)
            carved = self._carve(np.flatnonzero(parts == 0), self.validation)
        else:
            parts = np.zeros_like(given)
            carved = self._carve(np.arange(len(given)), self.fractions[2])
            parts[carved] = 2
            rest = np.flatnonzero(parts == 0)
            carved = self._carve(rest, self.fractions[1] / (1 - self.fractions[2]))
        parts[carved] = 1
        return parts

    def _carve(self, members: Array, share: float) -> Array:
        """Whole groups out of ``members``, about ``share`` of the items.

        The groups with the lowest digests go, out of every class alike; where groups hold several
        classes, those go that bring every class nearest to its share.
        """
        groups: dict[int, list[int]] = {}
        for item in members.tolist():
            groups.setdefault(int(self._index["groups"][item]), []).append(item)
        digests, labels = self._index["digests"], self._index["labels"]
        ranked = sorted(
            groups.values(), key=lambda group: sorted(digests[item].tobytes() for item in group)
        )
        if all(len({int(labels[item]) for item in group}) == 1 for group in ranked):
            taken = _first_of_each_class(ranked, labels, share)
        else:
            taken = _balanced(ranked, labels, share)
        if not taken:
            raise LiereError(
                f"{self.label} can't be split into train, val and test: there are too few items "
                "or recordings of a class"
            )
        return np.array(taken, np.int64)

    @property
    def label(self) -> str:
        """What to call the set in a message."""
        return self.name

    @cached_property
    def fingerprint(self) -> str:
        order, index = self._order, self._index
        digest = hashlib.sha256(DECODING.encode())
        for column in (index["digests"], index["labels"], self._parts):
            digest.update(np.ascontiguousarray(column[order]).tobytes())
        return digest.hexdigest()[:16]

    def _decode(self, folder: Path, members: Array, grid: tuple[int, ...]) -> None:
        ends = self._index["ends"]
        rows = [self._index["rows"][ends[i - 1] if i else 0 : ends[i]] for i in members]
        inputs = np.lib.format.open_memmap(
            folder / "inputs.npy", "w+", np.uint8, (len(members), self.channels, *grid)
        )
        # a full disk must be an error now, since writing to mapped memory would kill the process
        with (folder / "inputs.npy").open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        source = self.items
        found = source.fetch(rows, grid)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            while chunk := list(islice(found, _CHUNK)):
                decoded = pool.map(lambda raw: source.decode(raw, grid), chunk)
                for raw, pixels in zip(chunk, decoded, strict=True):
                    inputs[raw.item] = pixels
        inputs.flush()
        np.save(folder / "labels.npy", self._index["labels"][members])
        np.save(folder / "groups.npy", self._index["groups"][members])


def _first_of_each_class(ranked: list[list[int]], labels: Array, share: float) -> list[int]:
    """Items of the first groups of every class; a class keeps at least one group."""
    classes: dict[int, list[list[int]]] = {}
    for group in ranked:
        classes.setdefault(int(labels[group[0]]), []).append(group)
    taken: list[int] = []
    for groups in classes.values():
        wanted = share * sum(map(len, groups))
        count = 0
        for group in groups[:-1]:
            if count and count + len(group) / 2 > wanted:
                break
            taken += group
            count += len(group)
    return taken


def _balanced(ranked: list[list[int]], labels: Array, share: float) -> list[int]:
    """Items of the groups that, added one by one, best approach ``share`` of every class."""
    counts = np.stack([np.bincount(labels[group], minlength=labels.max() + 1) for group in ranked])
    wanted = share * counts.sum(0)
    left = np.ones(len(ranked), bool)
    sums = np.zeros_like(wanted)
    weights = 1 / np.maximum(wanted, 1)
    taken: list[int] = []
    while left.sum() > 1:
        distances = ((sums + counts - wanted) ** 2 * weights).sum(1)
        best = int(np.where(left, distances, np.inf).argmin())
        if taken and distances[best] >= ((sums - wanted) ** 2 * weights).sum():
            break
        taken += ranked[best]
        sums += counts[best]
        left[best] = False
    return taken
