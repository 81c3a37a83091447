"""The cache of prepared data: arrays decoded once and mapped into memory by later runs.

An entry is a folder ``CACHE/prepared/KEY`` of ``.npy`` files and an ``entry.json`` with the key and
the size, dtype, shape and digest of each array. It is written next to its final path and renamed,
under a lock, so that several processes can request it at once. What a killed process has written
is kept for builders that go on from there. An entry that doesn't match its ``entry.json`` is built
again: an array is read and checked once, and trusted as long as the size, time of change and inode
of its file stay; ``liere cache verify`` reads all of them again.
"""

import json
import shutil
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


class _Description(TypedDict):
    bytes: int
    dtype: str
    shape: list[int]
    sha256: str


def prepared(key: str, build: Callable[[Path], None], *, resumes: bool = False) -> Arrays:
    """The arrays of the entry ``key``, built if it is missing or damaged.

    Args:
        key: a relative path that names the content, such as ``FINGERPRINT/32x32-train``.
        build: writes the arrays as ``NAME.npy`` into a folder.
        resumes: the folder may hold what a killed process has written, and ``build`` checks it;
            otherwise it is empty.

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
        with built_beside(entry, resumes=resumes) as work:
            build(work)
            _write_description(work, key)
    arrays = _read(entry, key)
    if arrays is None:
        raise LiereError(f"the cache entry {entry} can't be read back after writing it")
    return arrays


def is_prepared(key: str) -> bool:
    """Whether there is an entry, which may still prove damaged."""
    return (cache_root() / "prepared" / key / "entry.json").is_file()


def verified() -> Iterator[tuple[Path, bool]]:
    """Reads every array of the cache again: each entry, and whether it matches its digests. An
    entry that does not is removed, so that it is built again.
    """
    root = cache_root() / "prepared"
    for description in sorted(root.rglob("entry.json")):
        entry = description.parent
        key = entry.relative_to(root)
        if any(part.startswith(".") for part in key.parts):
            continue  # another process is building it
        whole = _read(entry, str(key), trusting=False) is not None
        if not whole:
            with _writable(entry.parent) as parent, locked(parent / f".{entry.name}.lock"):
                shutil.rmtree(entry, ignore_errors=True)
        yield entry, whole


def cached_digest(key: Sequence[object], compute: Callable[[], str]) -> str:
    """The digest of a large file, computed once for each ``key``: the kind of digest and the file's
    path, size, time of change and inode.
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


def file_key(path: Path) -> tuple[str, int, int, int]:
    """Path, size, time of change and inode: differs when a file has changed."""
    status = path.stat()
    return str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ino


def _write_description(folder: Path, key: str) -> None:
    paths = sorted(folder.glob("*.npy"))
    arrays = {path.stem: _describe(path, digest_of_file(path)) for path in paths}
    trusted = {path.stem: _stamp(path) for path in paths}
    entry = {"format": _FORMAT, "key": key, "arrays": arrays, "trusted": trusted}
    (folder / "entry.json").write_text(json.dumps(entry, indent=1))


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _describe(path: Path, digest: str) -> _Description:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return {
        "bytes": path.stat().st_size,
        "dtype": str(array.dtype),
        "shape": list(array.shape),
        "sha256": digest,
    }


def _read(folder: Path, key: str, *, trusting: bool = True) -> Arrays | None:
    """The arrays of an entry; None if it is missing or damaged. Files whose stamps have changed, or
    all unless ``trusting``, are compared with their digests.
    """
    try:
        entry = json.loads((folder / "entry.json").read_text())
        if (entry["format"], entry["key"]) != (_FORMAT, key):
            return None
        expected: dict[str, _Description] = entry["arrays"]
        paths = {name: folder / f"{name}.npy" for name in expected}
        stamps = {name: _stamp(path) for name, path in paths.items()}
        trusted = entry.get("trusted", {}) if trusting else {}
        for name, path in paths.items():
            known = stamps[name] == trusted.get(name)
            digest = expected[name]["sha256"] if known else digest_of_file(path)
            # the digest first: numpy fails on damaged headers with many kinds of errors
            if digest != expected[name]["sha256"] or _describe(path, digest) != expected[name]:
                return None
        if stamps != entry.get("trusted"):
            # without a writable cache they are compared again next time
            with suppress(LiereError):
                write_atomically(
                    folder / "entry.json", json.dumps({**entry, "trusted": stamps}, indent=1)
                )
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
