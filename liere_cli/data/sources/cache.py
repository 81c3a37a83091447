"""The prepared cache: decoded arrays, stored once and mapped into memory by every later run.

An entry is a folder ``CACHE/prepared/KEY`` of ``.npy`` files and an ``entry.json`` that holds the
key and the size, dtype, shape and digest of each. It is written beside its place and renamed, under
a lock, so that several processes may ask for it at once; an entry that does not match its list
(cut short by a full disk, say, or put in another's place) is built again. Digests are checked once
in a process.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from liere_cli.errors import LiereError
from liere_cli.utils.paths import cache_root

Arrays = dict[str, np.ndarray[Any, Any]]

#: raised when entries come to hold something else
_FORMAT = 2
#: what identifies files that this process has found to be as they were written
_verified: set[tuple[object, ...]] = set()


def prepared(key: str, build: Callable[[Path], None]) -> Arrays:
    """The arrays of the entry ``key``, built if there is none or if it is damaged.

    Args:
        key: a relative path that names the content, such as ``FINGERPRINT/32x32-train``.
        build: writes the arrays as ``NAME.npy`` into the empty folder that it is given.

    Returns:
        Each array by its name, mapped from the disk; writing to one changes a private copy.

    Raises:
        LiereError: when the cache folder can't be written.
    """
    place = cache_root() / "prepared" / key
    arrays = _read(place, key)
    if arrays is not None:
        return arrays
    with _writable(place.parent) as parent, _lock(parent / f".{place.name}.lock"):
        arrays = _read(place, key)
        if arrays is not None:
            return arrays
        # under the lock nobody else writes here: what lies about was left by a killed process
        for stale in parent.glob(f".{place.name}.*/"):
            shutil.rmtree(stale, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=parent))
        try:
            build(work)
            _seal(work, key)
            # another process may still have the damaged entry mapped: it keeps its open files
            shutil.rmtree(place, ignore_errors=True)
            work.rename(place)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    arrays = _read(place, key)
    if arrays is None:
        raise LiereError(f"the cache entry {place} can't be read back after writing it")
    return arrays


def remembered(key: Sequence[object], compute: Callable[[], Any]) -> Any:
    """The JSON value that ``compute`` gave for ``key`` before, or gives now.

    Meant for digests of large files: the key holds path, size and time of change.
    """
    name = hashlib.sha256(json.dumps([str(part) for part in key]).encode()).hexdigest()[:32]
    place = cache_root() / "facts" / f"{name}.json"

    def sealed(value: object) -> str:
        return hashlib.sha256(f"{name} {json.dumps(value)}".encode()).hexdigest()

    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        fact = json.loads(place.read_text())
        if fact["sha256"] == sealed(fact["value"]):
            return fact["value"]
    value = compute()
    # without a cache it is merely computed again
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=place.parent)
        with os.fdopen(handle, "w") as file:
            json.dump({"value": value, "sha256": sealed(value)}, file)
        os.replace(temporary, place)
    return value


def file_key(path: Path) -> tuple[str, int, int]:
    """What tells a changed file from an unchanged one: path, size, time of change."""
    status = path.stat()
    return str(path.resolve()), status.st_size, status.st_mtime_ns


def _seal(folder: Path, key: str) -> None:
    arrays = {path.stem: _describe(path, _digest_of(path)) for path in sorted(folder.glob("*.npy"))}
    entry = {"format": _FORMAT, "key": key, "arrays": arrays}
    (folder / "entry.json").write_text(json.dumps(entry, indent=1))


def _describe(path: Path, digest: str) -> dict[str, object]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return {
        "bytes": path.stat().st_size,
        "dtype": str(array.dtype),
        "shape": list(array.shape),
        "sha256": digest,
    }


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_as_described(path: Path, facts: Any) -> bool:
    status = path.stat()
    mark = (*file_key(path), status.st_ino, status.st_ctime_ns, json.dumps(facts, sort_keys=True))
    if mark not in _verified:
        digest = _digest_of(path)
        # the digest first: numpy's reader of headers fails at damaged ones in ways of its own
        if digest != facts["sha256"] or _describe(path, digest) != facts:
            return False
        _verified.add(mark)
    return True


def _read(place: Path, key: str) -> Arrays | None:
    try:
        entry = json.loads((place / "entry.json").read_text())
        if (entry["format"], entry["key"]) != (_FORMAT, key):
            return None
        arrays = entry["arrays"].items()
        if not all(_is_as_described(place / f"{name}.npy", facts) for name, facts in arrays):
            return None
        # copy-on-write: torch wants writable memory, the file must never change
        return {
            name: np.load(place / f"{name}.npy", mmap_mode="c" if _size(facts) else None)
            for name, facts in arrays
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RecursionError):
        return None


def _size(facts: dict[str, Any]) -> int:
    return int(np.prod(facts["shape"]))


@contextmanager
def _writable(folder: Path) -> Iterator[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        raise LiereError(
            f"the cache folder {folder} can't be written ({error.strerror or error}): set "
            "LIERE_CACHE to another folder"
        ) from None


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    from filelock import FileLock

    with FileLock(path):
        yield
