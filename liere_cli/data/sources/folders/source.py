"""Files in class folders, ``DIR/CLASS/FILE``, with or without split folders above them."""

import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from liere_cli.data.augment.settings import View
from liere_cli.data.base import Array
from liere_cli.data.feeding.gather import decoding_pool
from liere_cli.data.sources.base import (
    Broken,
    Decoding,
    Item,
    Part,
    Source,
    StoredItem,
    check_names,
    item_digest,
)
from liere_cli.data.sources.folders.layout import ASIDE, layout_of
from liere_cli.data.sources.folders.tree import OUTSIDE, Tree, kinds
from liere_cli.errors import LiereError, UsageError, unreadable

#: files in a part, after which an interrupted scan goes on
_PART = 2048


@dataclass(frozen=True)
class ClassFile:
    path: Path
    label: int
    split: int


class Folder(Source):
    """Files with one of the lower-case suffixes in the class folders of a tree, as
    :mod:`liere_cli.data.sources.folders.layout` finds them.

    Raises LiereError: a folder that can't be read in one way, that has fewer than two classes, or a
    class without files.
    """

    def __init__(self, tree: Tree, suffixes: Set[str]) -> None:
        layout = layout_of(tree)
        self.names = sorted({folder.name for folder in layout.folders})
        self.classes = len(self.names)
        if self.classes < 2:
            raise LiereError(_too_few(tree, self.names, layout.outside))
        check_names(self.names, str(tree.path))
        self.files: list[ClassFile] = []
        for folder in layout.folders:
            paths = folder.tree.all_files()
            if not paths:
                others = f"; it has {kinds(left)}" if (left := folder.tree.all_left()) else ""
                allowed = f"(allowed: {', '.join(sorted(suffixes))}{others})"
                raise LiereError(f"{folder.tree.path} is a class without files {allowed}: {ASIDE}")
            label = self.names.index(folder.name)
            self.files += [ClassFile(path, label, folder.split) for path in paths]
        self.left = tree.all_left() + Counter({OUTSIDE: len(layout.outside)})
        self.file_count = len(self.files)

    def stamp(self) -> list[object]:
        folders: dict[str, str] = {}
        files = []
        for file in self.files:
            path = str(file.path)
            folder, _, name = path.rpartition("/")
            if folder not in folders:
                folders[folder] = os.path.realpath(folder)
            status = os.stat(path)
            known = status.st_size, status.st_mtime_ns, status.st_ino
            files.append((file.label, file.split, folders[folder], name, *known))
        return [type(self).__name__, *files]

    def group_of(self, path: Path) -> str:
        """The recording of a file; empty where each file is its own."""
        return ""

    def parts(self) -> list[Part]:
        numbers = range(len(self.files))
        chunks = [numbers[first : first + _PART] for first in numbers[::_PART]]
        return [Part(len(chunk), partial(self._scan, chunk)) for chunk in chunks]

    def _scan(self, numbers: Sequence[int]) -> Iterator[Item | Broken]:
        # most of the time is reading and digests, which other threads don't wait for
        yield from decoding_pool().map(self._scanned, numbers)

    def _scanned(self, number: int) -> Item | Broken:
        file = self.files[number]
        data = self.read(file.path)
        try:
            decoding = self.decoding_of(file.path, data)
        except UsageError:
            raise  # an option is missing, nothing is broken
        except LiereError as error:
            return Broken(number, str(error))
        group = self.group_of(file.path)
        return Item(item_digest(data), file.label, group, file.split, (number,), decoding)

    def fetch(self, rows: Sequence[Array], grid: tuple[int, ...]) -> Iterator[StoredItem]:
        for item, row in enumerate(rows):
            yield StoredItem(item, partial(self.decode, self.files[int(row[0])].path, grid))

    def decode_at(
        self,
        rows: Array,
        grid: tuple[int, ...],
        digest: bytes,
        view: View | None = None,
        share: float = 1.0,
    ) -> Array:
        return self.decode(self.files[int(rows[0])].path, grid)

    @abstractmethod
    def decoding_of(self, path: Path, data: bytes) -> Decoding:
        """What decoding the file involves; LiereError: it is broken."""

    @abstractmethod
    def decode(self, path: Path, grid: tuple[int, ...]) -> Array:
        """uint8 [C, *grid]; called from several threads."""

    @staticmethod
    def read(path: Path) -> bytes:
        """The content of a file; LiereError if it can't be read."""
        try:
            return path.read_bytes()
        except OSError as error:
            raise unreadable(path, error) from None


def _too_few(tree: Tree, names: list[str], outside: list[Path]) -> str:
    found = f"{len(names)} class ({names[0]})" if names else "no classes"
    loose = f" and {len(outside)} files in no folder" if outside else ""
    return (
        f"{tree.path} has {found}{loose}, but one folder for each of two or more classes is needed"
    )
