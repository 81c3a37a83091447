"""The prepared cache: decoded arrays, stored once and mapped into memory by every later run.

An entry is a folder ``CACHE/prepared/KEY`` of ``.npy`` files and an ``entry.json`` that lists the
size, dtype, shape and a sampled digest of each. It is written beside its place and renamed, under
a lock, so that several processes may ask for it at once; an entry that does not match its list
(cut short by a full disk, say) is built again.
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

Arrays = dict[str, np.ndarray[Any, Any]]

_SAMPLES = 64
_SAMPLE_BYTES = 4096


def cache_root() -> Path:
    """LIERE_CACHE, else ``liere`` in the user's cache folder."""
    if os.environ.get("LIERE_CACHE"):
        return Path(os.environ["LIERE_CACHE"]).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "liere"


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
    arrays = _read(place)
    if arrays is not None:
        return arrays
    with _writable(place.parent) as parent, _lock(parent / f".{place.name}.lock"):
        arrays = _read(place)
        if arrays is not None:
            return arrays
        # under the lock nobody else writes here: what lies about was left by a killed process
        for stale in parent.glob(f".{place.name}.*/"):
            shutil.rmtree(stale, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=parent))
        try:
            build(work)
            _seal(work)
            # another process may still have the damaged entry mapped: it keeps its open files
            shutil.rmtree(place, ignore_errors=True)
            work.rename(place)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    arrays = _read(place)
    if arrays is None:
        raise LiereError(f"the cache entry {place} can't be read back after writing it")
    return arrays


def remembered(key: Sequence[object], compute: Callable[[], Any]) -> Any:
    """The JSON value that ``compute`` gave for ``key`` before, or gives now.

    Meant for digests of large files: the key holds path, size and time of change.
    """
    name = hashlib.sha256(json.dumps([str(part) for part in key]).encode()).hexdigest()[:32]
    place = cache_root() / "facts" / f"{name}.json"
    try:
        return json.loads(place.read_text())
    except (OSError, ValueError):
        pass
    value = compute()
    # without a cache it is merely computed again
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=place.parent)
        with os.fdopen(handle, "w") as file:
            json.dump(value, file)
        os.replace(temporary, place)
    return value


def file_key(path: Path) -> tuple[str, int, int]:
    """What tells a changed file from an unchanged one: path, size, time of change."""
    status = path.stat()
    return str(path.resolve()), status.st_size, status.st_mtime_ns


def _seal(folder: Path) -> None:
    entries = {path.stem: _describe(path) for path in sorted(folder.glob("*.npy"))}
    (folder / "entry.json").write_text(json.dumps(entries, indent=1))


def _describe(path: Path) -> dict[str, object]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return {
        "bytes": path.stat().st_size,
        "dtype": str(array.dtype),
        "shape": list(array.shape),
        "sampled_sha256": _sampled_digest(path),
    }


def _sampled_digest(path: Path) -> str:
    """Digest of evenly spaced blocks: notices holes and truncation at once, however large."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for number in range(_SAMPLES):
            file.seek(max(size - _SAMPLE_BYTES, 0) * number // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def _read(place: Path) -> Arrays | None:
    try:
        entries = json.loads((place / "entry.json").read_text())
        if any(_describe(place / f"{name}.npy") != facts for name, facts in entries.items()):
            return None
        # copy-on-write: torch wants writable memory, the file must never change
        return {
            name: np.load(place / f"{name}.npy", mmap_mode="c" if _size(facts) else None)
            for name, facts in entries.items()
        }
    except (OSError, ValueError, AttributeError, EOFError):
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
