"""Files in one folder a class, with or without a folder a split above."""

import os
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from liere_cli.data.sources.base import UNASSIGNED, Array, Item, Raw, Source, digest_of
from liere_cli.data.sources.cache import file_key
from liere_cli.data.sources.hub import part_of
from liere_cli.errors import LiereError

_SPLIT_FOLDERS = frozenset({"train", "training", "val", "valid", "validation", "dev", "test"})


@dataclass(frozen=True)
class ClassFile:
    path: Path
    label: int
    part: int


class Folder(Source):
    """Files by class: ``DIR/CLASS/FILE`` or ``DIR/SPLIT/CLASS/FILE``.

    Args:
        suffixes: of the files that count, lower case; others are left aside.

    Raises:
        LiereError: for a folder that is missing or can't be read, that has fewer than two classes,
            or a class without files.
    """

    def __init__(self, folder: Path, suffixes: Set[str]) -> None:
        self.folder = folder
        tops = split_folders(folder)
        places = {UNASSIGNED: folder} if not tops else {part_of(top.name): top for top in tops}
        by_part = {part: _class_folders(place) for part, place in places.items()}
        names = sorted({name for classes in by_part.values() for name in classes})
        if len(names) < 2:
            raise LiereError(
                f"{folder} holds {len(names) or 'no'} class{'' if names else 'es'}"
                f"{f' ({names[0]})' if names else ''}, but one folder for each of two or more "
                "classes is needed"
            )
        self.names = names
        self.classes = len(names)
        self.files: list[ClassFile] = []
        for part, classes in by_part.items():
            for name, place in classes.items():
                found = [path for path in _walk(place) if path.suffix.lower() in suffixes]
                if not found:
                    counted = ", ".join(sorted(suffixes))
                    raise LiereError(f"{place} is a class without files (counted are {counted})")
                self.files += [ClassFile(path, names.index(name), part) for path in found]

    def stamp(self) -> list[object]:
        return [
            type(self).__name__,
            *((file.label, file.part, *file_key(file.path)) for file in self.files),
        ]

    def group_of(self, path: Path) -> str:
        """The recording that a file was cut from; empty where it is one of its own."""
        return ""

    def scan(self) -> Iterator[Item]:
        for number, file in enumerate(self.files):
            digest = digest_of(self.read(file.path))
            yield Item(digest, file.label, self.group_of(file.path), file.part, (number,))

    def fetch(self, rows: Sequence[Array], grid: tuple[int, ...]) -> Iterator[Raw]:
        for item, row in enumerate(rows):
            path = self.files[int(row[0])].path
            yield Raw(item, str(path), path)

    @staticmethod
    def read(path: Path) -> bytes:
        """The content of a file, or a sentence on why not."""
        try:
            return path.read_bytes()
        except OSError as error:
            raise LiereError(f"{path} can't be read: {error.strerror}") from None


def looks_like_classes(folder: Path) -> bool:
    """Whether class or split folders lie right in ``folder``."""
    return bool(split_folders(folder)) or len(_class_folders(folder)) > 1


def split_folders(folder: Path) -> list[Path]:
    """The folders named after splits, if every folder is."""
    tops = list(_class_folders(folder).values())
    return tops if tops and all(top.name.lower() in _SPLIT_FOLDERS for top in tops) else []


def _class_folders(folder: Path) -> dict[str, Path]:
    try:
        return {
            entry.name: Path(entry.path)
            for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)
            if entry.is_dir() and not entry.name.startswith(".")
        }
    except OSError as error:
        raise LiereError(f"the folder {folder} can't be read: {error.strerror}") from None


def _walk(folder: Path) -> list[Path]:
    # names with a dot are the file manager's, not the data set's
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")
    )
