"""The interface of sources: files that hold labelled items."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from liere_cli.data.base import Array


@dataclass(frozen=True)
class Item:
    """One item as a scan finds it.

    Args:
        digest: 16 bytes, of its stored bytes.
        label: 0 .. classes - 1.
        group: the same for items of one recording; the empty string is a group by itself.
        split: index into ``splits.SPLITS``, or ``UNASSIGNED`` where the source has no splits.
        rows: numbers of the rows or files that hold it.
    """

    digest: bytes
    label: int
    group: str
    split: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Encoded:
    """The stored content of the requested item number ``item``; ``decode``, to uint8 [C, *grid],
    may be called from any thread.
    """

    item: int
    decode: Callable[[], Array]


class Source(ABC):
    classes: int

    @abstractmethod
    def stamp(self) -> list[object]:
        """Paths, sizes and times of the files: changes when they do, without reading them."""

    @abstractmethod
    def scan(self) -> Iterator[Item]:
        """Every item once."""

    @abstractmethod
    def fetch(self, rows: Sequence[Array], grid: tuple[int, ...]) -> Iterator[Encoded]:
        """The items stored at ``rows`` (one array for each), in any order."""


def item_digest(*contents: bytes) -> bytes:
    """16 bytes of SHA-256 over the contents of one item, such as the frames of a clip."""
    digests = [hashlib.sha256(content).digest() for content in contents]
    return (digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(digests)).digest())[:16]
