"""What the cache folder has, and removing it: everything in it is downloaded or made again."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from liere_cli.errors import LiereError, unknown
from liere_cli.utils.files import locked
from liere_cli.utils.paths import cache_root

#: the cache's folders and their contents
PARTS = {
    "downloads": "data sets as downloaded",
    "prepared": "data sets as arrays",
    "digests": "digests of large files",
    "kernels": "compiled kernels",
}


@dataclass(frozen=True)
class CachePart:
    """One folder of the cache, with its files and their size in bytes."""

    name: str
    content: str
    path: Path
    files: int
    bytes: int


def cache_parts() -> list[CachePart]:
    parts = []
    for name, content in PARTS.items():
        path = cache_root() / name
        sizes = [size for file in _files(path) if (size := _size(file)) is not None]
        parts.append(CachePart(name, content, path, len(sizes), sum(sizes)))
    return parts


def clean_cache(names: list[str]) -> tuple[int, list[str]]:
    """Removes parts of the cache, all without names; returns the bytes freed and what was kept.

    Files that a process is downloading or preparing are kept. Data that a process has mapped stays
    valid for it. Raises UsageError for an unknown part.
    """
    for name in names:
        if name not in PARTS:
            raise unknown("part of the cache", name, PARTS)
    before = sum(part.bytes for part in cache_parts())
    kept: list[str] = []
    for name in names or PARTS:
        _clean(cache_root() / name, kept)
    return before - sum(part.bytes for part in cache_parts()), kept


def _clean(folder: Path, kept: list[str]) -> None:
    """Removes what is in a folder, but entries whose lock another process holds.

    The lock of ``NAME`` is ``.NAME.lock`` beside it. Lock files stay: another process may be about
    to take one.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        lock = path.with_name(f".{entry.name.removesuffix('.part')}.lock")
        is_folder = entry.is_dir(follow_symlinks=False)
        if is_folder and not lock.exists() and not (path / "entry.json").exists():
            _clean(path, kept)
            with suppress(OSError):
                path.rmdir()
            continue
        try:
            if not lock.exists():
                _remove(path, is_folder)
                continue
            with locked(lock, 0):
                _remove(path, is_folder)
        except TimeoutError:
            kept.append(f"{path}: another process is making it")
        except (OSError, LiereError) as error:
            kept.append(f"{path}: {getattr(error, 'strerror', None) or error}")


def _remove(path: Path, is_folder: bool) -> None:
    shutil.rmtree(path) if is_folder else path.unlink()


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield Path(parent, name)


def _size(path: Path) -> int | None:
    with suppress(OSError):
        return path.lstat().st_size
    return None
