"""Reading files that may be compressed, as bytes, without trusting what is in them."""

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
from typing import IO

from liere_cli.errors import LiereError

COMPRESSED = (".gz", ".xz", ".zst", ".zip")
_BLOCK = 1 << 20


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The unpacked content of ``path``, as a stream; plain unless its name says otherwise.

    Raises:
        LiereError: for a file that is missing, unreadable or broken, or a ``.zip`` that holds
            anything but one file.
    """
    try:
        with _unpacker(path) as stream:
            yield stream
    except FileNotFoundError:
        raise LiereError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise LiereError(f"{path} is a folder, but a file is expected") from None
    except (EOFError, lzma.LZMAError, zipfile.BadZipFile, zlib.error) as error:
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


def extract_tar(archive: Path, folder: Path) -> None:
    """Unpacks a tar archive inside ``folder`` and never outside it.

    Raises:
        LiereError: for a broken archive, or a member with an unsafe path, link or device.
    """
    try:
        with tarfile.open(archive) as members:
            members.extractall(folder, filter="data")
    except tarfile.FilterError as error:
        raise LiereError(f"{archive} holds an unsafe member: {error}") from None
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        raise LiereError(f"{archive} can't be unpacked: {error}") from None


def _unpacker(path: Path) -> IO[bytes]:
    match path.suffix.lower():
        case ".gz":
            return gzip.open(path)
        case ".xz":
            return lzma.open(path)
        case ".zst":
            return _zstandard(path)
        case ".zip":
            return _single_member(path)
    return path.open("rb")


def _single_member(path: Path) -> IO[bytes]:
    archive = zipfile.ZipFile(path)
    files = [member for member in archive.infolist() if not member.is_dir()]
    if len(files) != 1:
        raise LiereError(f"{path} holds {len(files)} files, but exactly one text is expected")
    try:
        return archive.open(files[0])
    except (RuntimeError, NotImplementedError) as error:
        raise LiereError(f"{path} can't be unpacked: {error}") from None


def _zstandard(path: Path) -> IO[bytes]:
    import zstandard

    reader = zstandard.ZstdDecompressor().stream_reader(
        path.open("rb"), read_across_frames=True, closefd=True
    )
    return _ZstandardStream(reader, path)


class _ZstandardStream(io.RawIOBase):
    """Turns the errors of zstandard into the kind that :func:`opened` explains."""

    def __init__(self, reader: io.RawIOBase, path: Path) -> None:
        self._reader = reader
        self._path = path

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        import zstandard

        try:
            return self._reader.read(size) or b""
        except zstandard.ZstdError as error:
            raise EOFError(error) from None

    def close(self) -> None:
        self._reader.close()
        super().close()
