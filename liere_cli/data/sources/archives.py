"""Reading compressed files and archives, with limits on what untrusted ones can do."""

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from liere_cli.data.sources.folders.tree import is_system_name
from liere_cli.errors import LiereError, unreadable
from liere_cli.utils.files import built_beside

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer
    from zstandard import ZstdDecompressionObj

COMPRESSED = (".gz", ".xz", ".zst", ".zip", ".bz2", ".lzma")
_STARTS = {
    b"\x1f\x8b": ".gz", b"\xfd7zXZ\0": ".xz", b"(\xb5/\xfd": ".zst", b"PK\3\4": ".zip",
    b"PK\5\6": ".zip", b"]\0\0": ".lzma",
}  # fmt: skip
_BLOCK = 1 << 20
#: text is compressed to a third and images hardly at all: a file that unpacks to more than so many
#: times its size, and to more than so many bytes, is refused
MOST_TIMES, MOST_BYTES_ANYWAY = 200, 1 << 28


def packing_of(path: Path) -> str:
    """How a file is packed, as one of ``COMPRESSED``, or empty: by its content, and by its suffix,
    so that a file that isn't what its suffix says is an error. LiereError: it can't be read.
    """
    suffix = path.suffix.lower()
    try:
        with path.open("rb") as file:
            start = file.read(10)
    except FileNotFoundError:
        raise LiereError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise LiereError(f"{path} is a folder, but a file is expected") from None
    except OSError as error:
        raise unreadable(path, error) from None
    by_content = next((kind for magic, kind in _STARTS.items() if start.startswith(magic)), "")
    if start.startswith(b"BZh") and start[4:] in (b"1AY&SY", b"\x17rE8P\x90"):
        return ".bz2"
    return by_content or (suffix if suffix in COMPRESSED else "")


@contextmanager
def opened(path: Path, packing: str | None = None) -> Iterator[BinaryIO]:
    """The content of ``path`` as a stream, unpacked if it is packed (:func:`packing_of`), or as
    ``packing`` says. Raises LiereError: a file that is missing, unreadable or broken, a ``.zip``
    that doesn't hold exactly one file, or a file that unpacks to much more than its size.
    """
    packing = packing_of(path) if packing is None else packing
    broken: tuple[type[Exception], ...] = (
        EOFError, gzip.BadGzipFile, lzma.LZMAError, zipfile.BadZipFile, zlib.error
    )  # fmt: skip
    if packing == ".zst":
        import zstandard

        broken += (zstandard.ZstdError,)
    try:
        with _unpacker(path, packing) as stream:
            yield cast(BinaryIO, _Limited(stream, path)) if packing else stream
    except FileNotFoundError:
        raise LiereError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise LiereError(f"{path} is a folder, but a file is expected") from None
    except broken as error:
        raise LiereError(f"{path} is broken or not a {packing} file: {error}") from None
    except OSError as error:
        # bz2 has no error of its own
        if packing == ".bz2" and error.errno is None:
            raise LiereError(f"{path} is broken or not a .bz2 file: {error}") from None
        raise unreadable(path, error) from None


def read_bytes(path: Path, packing: str | None = None) -> bytes:
    """The unpacked content of ``path``; arguments and errors as in :func:`opened`."""
    with opened(path, packing) as stream:
        return stream.read()


def unpacked_digest(path: Path, algorithm: str = "sha256", packing: str | None = None) -> str:
    """Hex digest of the unpacked content; arguments and errors as in :func:`opened`."""
    digest = hashlib.new(algorithm)
    with opened(path, packing) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def extract_into(archive: Path, folder: Path) -> None:
    """Unpacks a tar archive to ``folder``, which appears when it is complete. Raises LiereError: a
    broken archive, a member with an unsafe path, link or device, or an archive that unpacks to much
    more than its size.
    """
    try:
        with built_beside(folder) as work, tarfile.open(archive) as members:
            size = 0
            for member in members:
                size += member.size
                if size > _allowed(archive):
                    raise _oversized(archive)
            members.extractall(work, filter="data")
    except tarfile.FilterError as error:
        raise LiereError(f"{archive} contains an unsafe member: {error}") from None
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        raise LiereError(f"{archive} can't be unpacked: {error}") from None


def check_members(path: Path) -> None:
    """Raises LiereError for a ``.zip`` whose files unpack to much more than its size."""
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > _allowed(path):
            raise _oversized(path)


def _allowed(archive: Path) -> int:
    return max(MOST_BYTES_ANYWAY, MOST_TIMES * archive.stat().st_size)


def _oversized(archive: Path) -> LiereError:
    limit = f"{_allowed(archive):,} bytes, {MOST_TIMES} times its size or more"
    remedy = "unpack it yourself if you trust it"
    return LiereError(f"{archive} unpacks to more than {limit}: {remedy}")


class _Limited:
    """A stream that fails when ``path`` unpacks to much more than its size."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream, self._path, self._left = stream, path, _allowed(path)

    def read(self, size: int = -1) -> bytes:
        most = self._left + 1
        block = self._stream.read(most if size < 0 else min(size, most))
        self._left -= len(block)
        if self._left < 0:
            raise _oversized(self._path)
        return block


def _unpacker(path: Path, packing: str) -> BinaryIO:
    match packing:
        case ".gz":
            return cast(BinaryIO, gzip.open(path))
        case ".xz" | ".lzma":
            return cast(BinaryIO, lzma.open(path))
        case ".bz2":
            return cast(BinaryIO, bz2.open(path))
        case ".zst":
            return io.BufferedReader(_ZstandardFile(path), _BLOCK)
        case ".zip":
            return _single_member(path)
    return path.open("rb")


def _single_member(path: Path) -> BinaryIO:
    archive = zipfile.ZipFile(path)
    files = [
        member
        for member in archive.infolist()
        if not member.is_dir() and not any(map(is_system_name, Path(member.filename).parts))
    ]
    if len(files) != 1:
        raise LiereError(f"{path} contains {len(files)} files, but exactly one text is expected")
    try:
        return cast(BinaryIO, archive.open(files[0]))
    except (RuntimeError, NotImplementedError) as error:
        raise LiereError(f"{path} can't be unpacked: {error}") from None


class _ZstandardFile(io.RawIOBase):
    """A ``.zst`` file, frame by frame: the library's reader accepts files that were cut short."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._frame: ZstdDecompressionObj | None = None
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer") -> int:
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
        view = memoryview(buffer)
        count = min(len(view), len(self._ready))
        view[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
