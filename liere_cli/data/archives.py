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


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The unpacked content of ``path``, as a stream; plain unless its name says otherwise.

    Raises:
        LiereError: for a file that is missing, unreadable or broken, or a ``.zip`` that holds
            anything but one file.
    """
    broken: tuple[type[Exception], ...] = (
        EOFError, gzip.BadGzipFile, lzma.LZMAError, zipfile.BadZipFile, zlib.error
    )  # fmt: skip
    if path.suffix.lower() == ".zst":
        import zstandard

        broken += (zstandard.ZstdError,)
    try:
        with _unpacker(path) as stream:
            yield stream
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
        LiereError: for a broken archive, or a member with an unsafe path, link or device.
    """
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with tarfile.open(archive) as members:
            members.extractall(work, filter="data")
        work.rename(folder)
    except tarfile.FilterError as error:
        raise LiereError(f"{archive} holds an unsafe member: {error}") from None
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        raise LiereError(f"{archive} can't be unpacked: {error}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


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
