"""The cache of prepared data: arrays decoded once and mapped into memory by later runs.

An entry is a folder ``CACHE/prepared/KEY`` of ``.npy`` files and an ``entry.json`` with the key and
the size, dtype, shape and digest of each array. It is written next to its final path and renamed,
under a lock, so that several processes can request it at once. An entry that doesn't match its
``entry.json`` is built again. Digests are checked once in a process.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypedDict

import numpy as np

from liere_cli.data.base import Array
from liere_cli.errors import LiereError, unwritable
from liere_cli.utils.files import built_beside, digest_of, digest_of_file, locked, write_atomically
from liere_cli.utils.paths import cache_root

Arrays = dict[str, Array]

#: raised when the content of entries changes
_FORMAT = 2
#: files that this process has checked: path, size, times, inode, description
_verified: set[tuple[object, ...]] = set()


class _Description(TypedDict):
    bytes: int
    dtype: str
    shape: list[int]
    sha256: str


def prepared(key: str, build: Callable[[Path], None]) -> Arrays:
    """The arrays of the entry ``key``, built if it is missing or damaged.

    Args:
        key: a relative path that names the content, such as ``FINGERPRINT/32x32-train``.
        build: writes the arrays as ``NAME.npy`` into an empty folder.

    Returns:
        Each array by its name, mapped from the disk; writing to one changes a private copy.

    Raises:
        LiereError: the cache folder can't be written.
    """
    entry = cache_root() / "prepared" / key
    arrays = _read(entry, key)
    if arrays is not None:
        return arrays
    with _writable(entry.parent) as parent, locked(parent / f".{entry.name}.lock"):
        arrays = _read(entry, key)
        if arrays is not None:
            return arrays
        with built_beside(entry) as work:
            build(work)
            _write_description(work, key)
    arrays = _read(entry, key)
    if arrays is None:
        raise LiereError(f"the cache entry {entry} can't be read back after writing it")
    return arrays


def cached_digest(key: Sequence[object], compute: Callable[[], str]) -> str:
    """The digest of a large file, computed once for each ``key``: the kind of digest and the file's
    path, size and time of change.
    """
    name = digest_of(json.dumps([str(part) for part in key]), 32)
    path = cache_root() / "digests" / f"{name}.json"
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        stored = json.loads(path.read_text())
        value = stored["value"]
        if isinstance(value, str) and stored["sha256"] == digest_of(f"{name} {value}"):
            return value
    value = compute()
    # without a writable cache the digest is computed again next time
    with suppress(LiereError):
        entry = {"value": value, "sha256": digest_of(f"{name} {value}")}
        write_atomically(path, json.dumps(entry))
    return value


def file_key(path: Path) -> tuple[str, int, int]:
    """Path, size and time of change: differs when a file has changed."""
    status = path.stat()
    return str(path.resolve()), status.st_size, status.st_mtime_ns


def _write_description(folder: Path, key: str) -> None:
    paths = sorted(folder.glob("*.npy"))
    arrays = {path.stem: _describe(path, digest_of_file(path)) for path in paths}
    entry = {"format": _FORMAT, "key": key, "arrays": arrays}
    (folder / "entry.json").write_text(json.dumps(entry, indent=1))


def _describe(path: Path, digest: str) -> _Description:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return {
        "bytes": path.stat().st_size,
        "dtype": str(array.dtype),
        "shape": list(array.shape),
        "sha256": digest,
    }


def _matches(path: Path, expected: _Description) -> bool:
    status = path.stat()
    description = json.dumps(expected, sort_keys=True)
    file = (*file_key(path), status.st_ino, status.st_ctime_ns, description)
    if file not in _verified:
        digest = digest_of_file(path)
        # the digest first: numpy fails on damaged headers with many kinds of errors
        if digest != expected["sha256"] or _describe(path, digest) != expected:
            return False
        _verified.add(file)
    return True


def _read(folder: Path, key: str) -> Arrays | None:
    try:
        entry = json.loads((folder / "entry.json").read_text())
        if (entry["format"], entry["key"]) != (_FORMAT, key):
            return None
        expected: dict[str, _Description] = entry["arrays"]
        paths = {name: folder / f"{name}.npy" for name in expected}
        if not all(_matches(path, expected[name]) for name, path in paths.items()):
            return None
        # copy-on-write: torch needs writable memory, and the file must never change;
        # an array without elements can't be mapped
        return {
            name: np.load(path, mmap_mode="c" if np.prod(expected[name]["shape"]) else None)
            for name, path in paths.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RecursionError):
        return None


@contextmanager
def _writable(folder: Path) -> Iterator[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        remedy = "set LIERE_CACHE to another folder"
        raise unwritable(f"the cache folder {folder}", error, remedy) from None
