"""Files in class folders, ``DIR/CLASS/FILE``, with or without split folders above them."""

import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from liere_cli.data.base import Array
from liere_cli.data.sources.base import Encoded, Item, Source, item_digest
from liere_cli.data.sources.cache import file_key
from liere_cli.data.splits import UNASSIGNED, split_in_name
from liere_cli.errors import LiereError, unreadable

_SPLIT_FOLDERS = frozenset({"train", "training", "val", "valid", "validation", "dev", "test"})


@dataclass(frozen=True)
class ClassFile:
    path: Path
    label: int
    split: int


class Folder(Source):
    """Files with one of the lower-case suffixes in ``DIR/CLASS`` or ``DIR/SPLIT/CLASS``. Raises
    LiereError: a folder that is missing or can't be read, that has fewer than two classes, or a
    class without files.
    """

    def __init__(self, folder: Path, suffixes: Set[str]) -> None:
        self.folder = folder
        split_folders = _split_folders(folder)
        tops = {split_in_name(top.name): top for top in split_folders} or {UNASSIGNED: folder}
        by_split = {split: _subfolders(top) for split, top in tops.items()}
        self.names = sorted({name for classes in by_split.values() for name in classes})
        self.classes = len(self.names)
        if self.classes < 2:
            raise LiereError(
                f"{folder} has {self.classes or 'no'} class{'' if self.names else 'es'}"
                f"{f' ({self.names[0]})' if self.names else ''}, but one folder for each of two or "
                "more classes is needed"
            )
        self.files: list[ClassFile] = []
        for split, classes in by_split.items():
            for name, class_folder in classes.items():
                files = _files_in(class_folder)
                paths = [path for path in files if path.suffix.lower() in suffixes]
                if not paths:
                    allowed = f"(allowed: {', '.join(sorted(suffixes))})"
                    raise LiereError(f"{class_folder} is a class without files {allowed}")
                label = self.names.index(name)
                self.files += [ClassFile(path, label, split) for path in paths]

    def stamp(self) -> list[object]:
        files = [(file.label, file.split, *file_key(file.path)) for file in self.files]
        return [type(self).__name__, *files]

    def group_of(self, path: Path) -> str:
        """The recording of a file; empty where each file is its own."""
        return ""

    def scan(self) -> Iterator[Item]:
        for number, file in enumerate(self.files):
            digest = item_digest(self.read(file.path))
            yield Item(digest, file.label, self.group_of(file.path), file.split, (number,))

    def fetch(self, rows: Sequence[Array], grid: tuple[int, ...]) -> Iterator[Encoded]:
        for item, row in enumerate(rows):
            yield Encoded(item, partial(self.decode, self.files[int(row[0])].path, grid))

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


def has_class_folders(folder: Path) -> bool:
    """Whether ``folder`` itself holds class or split folders."""
    return bool(_split_folders(folder)) or len(_subfolders(folder)) > 1


def _split_folders(folder: Path) -> list[Path]:
    """The folders named after splits, if all of them are."""
    folders = list(_subfolders(folder).values())
    named = all(subfolder.name.lower() in _SPLIT_FOLDERS for subfolder in folders)
    return folders if named else []


def _subfolders(folder: Path) -> dict[str, Path]:
    try:
        return {
            entry.name: Path(entry.path)
            for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)
            if entry.is_dir() and not entry.name.startswith(".")
        }
    except OSError as error:
        raise unreadable(folder, error) from None


def _files_in(folder: Path) -> list[Path]:
    # file managers leave hidden files of their own
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")
    )
