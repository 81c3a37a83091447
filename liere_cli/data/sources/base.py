"""Where labelled items come from: what every source of files provides."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from liere_cli.data.base import Split

Array = np.ndarray[Any, Any]


SPLITS: tuple[Split, ...] = ("train", "val", "test")


UNASSIGNED = -1


@dataclass(frozen=True)
class Item:
    """What a scan tells about one item.

    Args:
        digest: 16 bytes that stand for its stored bytes.
        label: 0 .. classes - 1.
        group: items of one recording share it; the empty string is a group of its own.
        part: index into ``SPLITS`` where the source says which, else ``UNASSIGNED``.
        rows: where the source finds it again.
    """

    digest: bytes
    label: int
    group: str
    part: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Raw:
    """An item as it is stored: ``where`` names it in messages."""

    item: int
    where: str
    data: Any


class Source(ABC):
    """Where labelled items come from."""

    classes: int

    @abstractmethod
    def stamp(self) -> list[object]:
        """Changes when the files do; cheap."""

    @abstractmethod
    def scan(self) -> Iterator[Item]:
        """Every item once."""

    @abstractmethod
    def fetch(self, rows: Sequence[Array], grid: tuple[int, ...]) -> Iterator[Raw]:
        """The stored content of the items that lie at ``rows``, in any order."""

    @abstractmethod
    def decode(self, raw: Raw, grid: tuple[int, ...]) -> Array:
        """uint8 [C, *grid]; called from several threads."""


def digest_of(*contents: bytes) -> bytes:
    """16 bytes that stand for the contents of one item, such as the frames of a clip."""
    if len(contents) == 1:
        return hashlib.sha256(contents[0]).digest()[:16]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in contents)).digest()[
        :16
    ]
