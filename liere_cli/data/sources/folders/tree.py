"""The files below a folder: those of the wanted kinds, and what is left aside, with the reason."""

import os
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path

from liere_cli.errors import LiereError, unreadable

#: left by operating systems, file managers and notebooks
_SYSTEM = frozenset({
    "__macosx", "__pycache__", "@eadir", "$recycle.bin", "system volume information",
    "lost+found", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r",
})  # fmt: skip
HIDDEN, LINKS, SPECIAL, OUTSIDE = (
    "hidden or of the system", "broken links", "not regular files", "in no class folder"
)  # fmt: skip
_DEEPEST = 64


@dataclass
class Tree:
    """A folder with its files of the wanted kinds and its folders, each in the order of names.

    Args:
        left: what this folder itself has of other files, by the reason.
    """

    path: Path
    files: list[Path] = field(default_factory=list)
    folders: dict[str, "Tree"] = field(default_factory=dict)
    left: Counter[str] = field(default_factory=Counter)

    def walk(self) -> Iterator["Tree"]:
        """This folder and all below it."""
        yield self
        for folder in self.folders.values():
            yield from folder.walk()

    def all_files(self) -> list[Path]:
        """The wanted files in it and below it, in the order of their paths."""
        return sorted(path for tree in self.walk() for path in tree.files)

    def all_left(self) -> Counter[str]:
        return sum((tree.left for tree in self.walk()), Counter[str]())

    @property
    def nested(self) -> bool:
        """Whether there are wanted files below it, beside those in it."""
        return any(tree.files for folder in self.folders.values() for tree in folder.walk())


def read_tree(folder: Path, suffixes: Set[str]) -> Tree:
    """The files below ``folder`` with one of the lower-case suffixes; links are followed.

    Raises LiereError: a folder that can't be read, or a link to a folder that contains it.
    """
    return _read(folder, suffixes, ())


def is_system_name(name: str) -> bool:
    """Whether a file or folder is hidden, or left by an operating system, as ``__MACOSX``."""
    return name.startswith(".") or name.lower() in _SYSTEM


def _read(folder: Path, suffixes: Set[str], above: tuple[tuple[int, int], ...]) -> Tree:
    tree = Tree(folder)
    try:
        status = folder.stat()
        identity = status.st_dev, status.st_ino
        if identity in above or len(above) > _DEEPEST:
            raise LiereError(f"{folder} is a link to a folder that contains it: remove the link")
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        for entry in entries:
            path = Path(entry.path)
            # an entry knows its kind without asking again, but not that of a loop of links
            kind: os.DirEntry[str] | Path = path if entry.is_symlink() else entry
            if is_system_name(entry.name):
                tree.left[HIDDEN] += _count(path) if path.is_dir() else 1
            elif kind.is_dir():
                tree.folders[entry.name] = _read(path, suffixes, (*above, identity))
            elif not kind.is_file():
                tree.left[LINKS if entry.is_symlink() and not path.exists() else SPECIAL] += 1
            elif (suffix := os.path.splitext(entry.name)[1].lower().rstrip(".")) in suffixes:
                tree.files.append(path)
            else:
                tree.left[suffix or "without suffix"] += 1
    except OSError as error:
        raise unreadable(folder, error) from None
    return tree


def _count(folder: Path) -> int:
    """The files in and below a hidden folder, at least one, so that it is mentioned."""
    return max(1, sum(len(files) for _, _, files in os.walk(folder)))


def kinds(left: Counter[str]) -> str:
    """Files left aside, as ``2 hidden or of the system, 1 .csv``."""
    return ", ".join(f"{count:,} {reason}" for reason, count in left.most_common())
