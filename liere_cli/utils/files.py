"""Atomic writes, limited reads, strict JSON, digests and lock files."""

import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from liere_cli.errors import shortened, unwritable

TEMPORARY = ".tmp-"
#: end of the name of a folder that a later process goes on with
_UNFINISHED = "unfinished"


def make_folder(folder: Path) -> None:
    """Creates a folder and its parents; raises LiereError if that can't be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None


def seal(record: Mapping[str, object], key: str) -> str:
    """Digest of a JSON record without the value of ``key``, where the digest is stored."""
    rest = {name: value for name, value in record.items() if name != key}
    return digest_of(json.dumps(rest, sort_keys=True).encode())


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a temporary file, flushes it to disk, and renames it: readers see all or nothing.

    File and folder are both synchronised, so that a power failure at any moment is harmless. The
    umask decides the file's mode. Raises LiereError where the folder can't be written, or the disk
    is full.
    """
    # labels may contain a file name, which need not be valid UTF-8
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unwritable(path, error) from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def read_limited(path: Path, most: int) -> bytes:
    """The content of a file that need not be trusted.

    Raises ValueError if it is not a regular file, or has more than ``most`` bytes, and OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for a writer
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        # not most + 1, a buffer of which costs more than reading a small file
        content = file.read(min(status.st_size, most) + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


def read_json(path: Path, most: int) -> Any:
    """The JSON value in a file, with the errors of :func:`read_limited` and :func:`parse_json`."""
    return parse_json(read_limited(path, most))


def parse_json(text: str | bytes) -> Any:
    """A JSON value of finite numbers; raises ValueError for anything else."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not a number")

    def whole(digits: str) -> int:
        if len(digits) <= 30:
            return int(digits)
        raise ValueError(f"{shortened(digits)} is not a number of a usual size")

    def finite(digits: str) -> float:
        if math.isfinite(number := float(digits)):
            return number
        raise ValueError(f"{shortened(digits)} is not a number of a usual size")

    try:
        return json.loads(text, parse_constant=refuse, parse_float=finite, parse_int=whole)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def digest_of(content: bytes | str, digits: int = 64) -> str:
    """The first hex digits of the SHA-256 of bytes, or of text as UTF-8."""
    data = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(data).hexdigest()[:digits]


@contextmanager
def locked(path: Path, patience_seconds: float = -1) -> Iterator[None]:
    """Holds the lock file at ``path``; waits for another holder, without limit by default.

    Raises TimeoutError if another process still holds it then, and OSError.
    """
    from filelock import FileLock

    with FileLock(path, timeout=patience_seconds):
        yield


def to_json(value: object) -> str:
    """Standard JSON (no NaN, no infinity) without characters that control a terminal."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    return _UNSHOWN.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


#: control characters, marks that reorder a line, and lone surrogates, which JSON can escape
_UNSHOWN = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@contextmanager
def built_beside(folder: Path, *, resumes: bool = False) -> Iterator[Path]:
    """A folder next to ``folder`` that replaces it once the block ends without an error.

    After an error the new folder is removed and ``folder`` stays as it was. The caller holds a
    lock, so that folders left by killed processes can be removed first.

    Args:
        resumes: what an interrupted process has left stays in the new folder.
    """
    work = folder.with_name(f".{folder.name}.{_UNFINISHED if resumes else secrets.token_hex(8)}")
    for stale in folder.parent.glob(f".{folder.name}.*/"):
        if not (resumes and stale.name == work.name):
            shutil.rmtree(stale, ignore_errors=True)
    work.mkdir(exist_ok=resumes)
    try:
        yield work
        # a process that has files of the old folder mapped keeps them until it closes them
        shutil.rmtree(folder, ignore_errors=True)
        work.rename(folder)
    except KeyboardInterrupt:
        if not resumes:
            shutil.rmtree(work, ignore_errors=True)
        raise
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def digest_of_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, 64 hex digits; raises OSError if it can't be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
