"""The interface of sources: files that hold labelled items."""

import hashlib
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntFlag

from liere_cli.data.augment.settings import View
from liere_cli.data.base import Array
from liere_cli.errors import LiereError


class Decoding(IntFlag):
    """What decoding an item involves beyond the usual, for the summary and the fingerprint."""

    USUAL = 0
    #: 16-bit or float values are scaled to 8 bits
    SCALED = 1
    #: transparent pixels are shown on white
    ON_WHITE = 2
    #: frames are sampled by time, since they are not evenly spaced
    BY_TIME = 4
    #: the file asks to show frames rotated
    ROTATED = 8
    #: a file has several frames or pages, and the first is the image
    FIRST_FRAME = 16
    #: the end of the file is missing, and what is there is used
    CUT = 32


#: those with other pixels than before they were known: part of the fingerprint
REVISED = Decoding.SCALED | Decoding.ON_WHITE | Decoding.BY_TIME | Decoding.ROTATED


@dataclass(frozen=True)
class Item:
    """One item as a scan finds it.

    Args:
        digest: 16 bytes, of its stored bytes.
        label: 0 .. classes - 1.
        group: the same for items of one recording; the empty string is a group by itself.
        split: index into ``splits.SPLITS``, or ``UNASSIGNED`` where the source has no splits.
        rows: numbers of the rows or files that hold it.
        decoding: what decoding it involves.
    """

    digest: bytes
    label: int
    group: str
    split: int
    rows: tuple[int, ...]
    decoding: Decoding = Decoding.USUAL


@dataclass(frozen=True)
class Broken:
    """An item that can't be decoded: the row or file that holds it, and why."""

    row: int
    reason: str


@dataclass(frozen=True)
class Part:
    """Some of the items of a source: how many rows or files, and what scans them."""

    count: int
    scan: "Callable[[], Iterator[Item | Broken]]"


@dataclass(frozen=True)
class StoredItem:
    """The stored content of the requested item number ``item``; ``decode``, to uint8 [C, *grid],
    may be called from any thread.
    """

    item: int
    decode: Callable[[], Array]


class Source(ABC):
    classes: int
    #: of the classes, by label
    names: list[str]
    file_count: int
    #: files left aside, by the reason
    left: Counter[str]

    @abstractmethod
    def stamp(self) -> list[object]:
        """Paths, sizes and times of the files: changes when they do, without reading them."""

    @abstractmethod
    def parts(self) -> "list[Part]":
        """Parts of the source, which are scanned one by one."""

    def with_random_access(self) -> "Source":
        """The source with items that :meth:`decode_at` reads without reading others."""
        return self

    @abstractmethod
    def decode_at(
        self,
        rows: Array,
        grid: tuple[int, ...],
        digest: bytes,
        view: View | None = None,
        share: float = 1.0,
    ) -> Array:
        """The item stored at ``rows``, uint8 [C, *grid]; called from several threads. Raises
        LiereError: it is broken, or has changed since it was scanned.

        Args:
            digest: of the item as it was scanned.
            view: of a training image, see :func:`decode_image`; None: the whole item.
            share: of the sides of an image that are seen.
        """

    @abstractmethod
    def fetch(self, rows: Sequence[Array], grid: tuple[int, ...]) -> Iterator[StoredItem]:
        """The items stored at ``rows`` (one array for each), in any order."""


def item_digest(*contents: bytes) -> bytes:
    """16 bytes of SHA-256 over the contents of one item, such as the frames of a clip."""
    digests = [hashlib.sha256(content).digest() for content in contents]
    return (digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(digests)).digest())[:16]


def check_unchanged(contents: Sequence[bytes], digest: bytes, where: str) -> None:
    """Raises LiereError if the contents of an item are not those that were scanned."""
    if item_digest(*contents) != digest:
        raise LiereError(
            f"{where} has changed since this command began: run it again, and the data set has "
            "another fingerprint"
        )


def check_names(names: Sequence[str], where: str) -> None:
    """Raises LiereError for names of classes that differ in case, spaces or accents' encoding."""
    seen: dict[str, str] = {}
    for name in names:
        # single letters are classes of handwriting
        text = unicodedata.normalize("NFC", name.strip())
        folded = text if len(text) == 1 else " ".join(text.casefold().split())
        if not folded:
            raise LiereError(f"{where}: a class has a blank name ({name!r})")
        if folded in seen:
            raise LiereError(
                f"{where}: the classes {seen[folded]!r} and {name!r} differ in case or spaces "
                "only: give them the same name, or names that differ more"
            )
        seen[folded] = name
