"""Reading files that may be compressed, as bytes, without trusting what is in them."""

import gzip
import hashlib
import io
import lzma
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from liere_cli.errors import LiereError

COMPRESSED = (".gz", ".xz", ".zst", ".zip")
_BLOCK = 1 << 20
#: a text is packed to a third, a picture hardly: what unpacks to more than so many times its size,
#: and more than that anyway, is made to fill a disk or the memory
MOST_TIMES, MOST_BYTES_ANYWAY = 200, 1 << 28


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The unpacked content of ``path``, as a stream; plain unless its name says otherwise.

    Raises:
        LiereError: for a file that is missing, unreadable or broken, a ``.zip`` that holds
            anything but one file, or one that unpacks to very much more than its size.
    """
    broken: tuple[type[Exception], ...] = (
        EOFError, gzip.BadGzipFile, lzma.LZMAError, zipfile.BadZipFile, zlib.error
    )  # fmt: skip
    if path.suffix.lower() == ".zst":
        import zstandard

        broken += (zstandard.ZstdError,)
    try:
        with _unpacker(path) as stream:
            packed = path.suffix.lower() in COMPRESSED
            yield cast(BinaryIO, _Limited(stream, path, _allowed(path))) if packed else stream
    except FileNotFoundError:
        raise LiereError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise LiereError(f"{path} is a folder, but a file is expected") from None
    except broken as error:
        raise LiereError(f"{path} is broken or no {path.suffix} file: {error}") from None
    except OSError as error:
        raise LiereError(f"{path} can't be read: {error.strerror or error}") from None


def read_bytes(path: Path) -> bytes:
    """The unpacked content of ``path``; errors as in :func:`opened`."""
    with opened(path) as stream:
        return stream.read()


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    """Hex digest of the unpacked content; errors as in :func:`opened`."""
    digest = hashlib.new(algorithm)
    with opened(path) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def extract_into(archive: Path, folder: Path) -> None:
    """Unpacks a tar archive beside ``folder`` and renames the result to it, never writing outside.

    Raises:
        LiereError: for a broken archive, a member with an unsafe path, link or device, or one that
            unpacks to very much more than its size.
    """
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with tarfile.open(archive) as members:
            size = 0
            for member in members:
                size += member.size
                if size > _allowed(archive):
                    raise _bomb(archive, _allowed(archive))
            members.extractall(work, filter="data")
        work.rename(folder)
    except tarfile.FilterError as error:
        raise LiereError(f"{archive} holds an unsafe member: {error}") from None
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        raise LiereError(f"{archive} can't be unpacked: {error}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check_members(path: Path) -> None:
    """Refuses a ``.zip`` whose files together unpack to very much more than its size."""
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > _allowed(path):
            raise _bomb(path, _allowed(path))


def _allowed(archive: Path) -> int:
    return max(MOST_BYTES_ANYWAY, MOST_TIMES * archive.stat().st_size)


def _bomb(archive: Path, most: int) -> LiereError:
    return LiereError(
        f"{archive} unpacks to more than {most:,} bytes, {MOST_TIMES} times its size or more: "
        "unpack it yourself if you trust it"
    )


class _Limited:
    """A stream that gives no more than so many bytes."""

    def __init__(self, stream: BinaryIO, path: Path, most: int) -> None:
        self._stream, self._path, self._most, self._given = stream, path, most, 0

    def read(self, size: int = -1) -> bytes:
        left = self._most - self._given + 1
        block = self._stream.read(left if size < 0 else min(size, left))
        self._given += len(block)
        if self._given > self._most:
            raise _bomb(self._path, self._most)
        return block


def _unpacker(path: Path) -> BinaryIO:
    match path.suffix.lower():
        case ".gz":
            return cast(BinaryIO, gzip.open(path))
        case ".xz":
            return cast(BinaryIO, lzma.open(path))
        case ".zst":
            return io.BufferedReader(_ZstandardFile(path), _BLOCK)
        case ".zip":
            return _single_member(path)
    return path.open("rb")


def _single_member(path: Path) -> BinaryIO:
    archive = zipfile.ZipFile(path)
    files = [member for member in archive.infolist() if not member.is_dir()]
    if len(files) != 1:
        raise LiereError(f"{path} holds {len(files)} files, but exactly one text is expected")
    try:
        return cast(BinaryIO, archive.open(files[0]))
    except (RuntimeError, NotImplementedError) as error:
        raise LiereError(f"{path} can't be unpacked: {error}") from None


class _ZstandardFile(io.RawIOBase):
    """The frames of a ``.zst`` file, one after the other.

    The library's own reader takes a file that was cut short for one that ends there.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._frame: Any = None
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        import zstandard

        while not self._ready:
            packed = self._file.read(_BLOCK)
            if not packed:
                if self._frame is not None:
                    raise EOFError("it ends in the middle of a frame")
                return 0
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._ready = self._frame.decompress(packed)
            if self._frame.eof:
                self._file.seek(-len(self._frame.unused_data), io.SEEK_CUR)
                self._frame = None
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
