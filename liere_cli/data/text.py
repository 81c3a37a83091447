"""Running text as bytes: named corpora, any local file, and Python's own standard library."""

import hashlib
import os
import sysconfig
from abc import abstractmethod
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from liere_cli.config.section import Section
from liere_cli.data.base import BYTES, ByteStream, Dataset, Examples, Split
from liere_cli.data.options import Fractions, SplitFractions, TextGrid, given_file
from liere_cli.data.sources import archives
from liere_cli.data.sources.cache import file_key, prepared, remembered
from liere_cli.data.sources.download import Download, download
from liere_cli.errors import LiereError
from liere_cli.utils.paths import cache_root

ByteArray = np.ndarray[Any, np.dtype[np.uint8]]

_SPLITS: tuple[Split, ...] = ("train", "val", "test")


class TextOptions(Section):
    grid: TextGrid = (256,)


class _Text(Dataset):
    """Bytes, cut into contiguous train, val and test; metric bits per byte."""

    task = "language-model"
    metric = "bits_per_byte"
    axes = 1
    Options: ClassVar[type[Section]] = TextOptions
    options: TextOptions

    channels = 1
    classes = BYTES
    patch = (1,)
    fractions: Fractions = (0.9, 0.05, 0.05)

    def __init__(self, options: TextOptions, root: Path | None = None) -> None:
        super().__init__(options, root)
        self.grid = options.grid

    def load(self, split: Split, grid: tuple[int, ...] | None = None) -> ByteStream | Examples:
        """The bytes of the split; ``grid`` changes nothing, since batches cut the windows.

        Raises:
            LiereError: for a file that is missing, broken, or too short to be split.
        """
        data = self._bytes()
        sizes = self._sizes(len(data))
        if min(sizes) < 2:
            raise LiereError(
                f"{self._label()} has {len(data)} bytes, too few to be split into train, val and "
                "test"
            )
        first = sum(sizes[: _SPLITS.index(split)])
        return ByteStream(torch.from_numpy(data[first : first + sizes[_SPLITS.index(split)]]))

    @property
    def fingerprint(self) -> str:
        rule = f"{self._digest()} contiguous {self.fractions}"
        return hashlib.sha256(rule.encode()).hexdigest()[:16]

    def _sizes(self, count: int) -> list[int]:
        # cutting at rounded positions keeps every byte in exactly one split
        train = round(count * self.fractions[0])
        val = round(count * (self.fractions[0] + self.fractions[1])) - train
        return [train, val, count - train - val]

    def _label(self) -> str:
        return self.name

    @abstractmethod
    def _bytes(self) -> ByteArray:
        """The whole text, uint8 [N]."""

    @abstractmethod
    def _digest(self) -> str:
        """Hex digest of the whole text, if possible without reading it again."""


def _content(path: Path, digest: str) -> ByteArray:
    """The unpacked bytes of ``path``, mapped; unpacked into the cache once if compressed."""
    if path.suffix.lower() in archives.COMPRESSED:
        return prepared(
            f"text/{digest[:32]}",
            lambda folder: np.save(
                folder / "data.npy", np.frombuffer(archives.read_bytes(path), np.uint8)
            ),
        )["data"]
    try:
        if path.stat().st_size == 0:
            return np.zeros(0, np.uint8)
        return np.memmap(path, np.uint8, mode="c")
    except OSError as error:
        raise LiereError(f"{path} can't be read: {error.strerror}") from None


class TextFileOptions(TextOptions):
    path: str = Field(description="a file, plain or packed")
    fractions: SplitFractions = Field(
        (0.9, 0.05, 0.05), description="shares of train, val and test, as 0.9/0.05/0.05"
    )


class TextFile(_Text):
    name = "text"
    summary = "any local file, plain or .gz, .xz, .zst, .zip; split by fractions"
    source = "text:PATH"
    licence = "the file's own"
    Options = TextFileOptions
    options: TextFileOptions

    def __init__(self, options: TextFileOptions, root: Path | None = None) -> None:
        super().__init__(options, root)
        self.path = given_file(self.name, options.path)
        self.fractions = options.fractions

    @classmethod
    def is_available(cls, root: Path | None) -> bool:
        return True

    def _label(self) -> str:
        return str(self.path)

    def _digest(self) -> str:
        return str(
            remembered(("content", *file_key(self.path)), lambda: archives.digest_of(self.path))
        )

    def _bytes(self) -> ByteArray:
        return _content(self.path, self._digest())


class _Corpus(_Text):
    """A corpus with one canonical content, from a local mirror, the cache or the web."""

    archive: ClassVar[Download]
    algorithm: ClassVar[Literal["sha256", "md5"]] = "sha256"
    content_digest: ClassVar[str]
    names: ClassVar[tuple[str, ...]]

    @classmethod
    def _local(cls, root: Path | None) -> Path | None:
        """The corpus in the mirror, or where an earlier download has put it."""
        if root is not None:
            for level in ("", "*/", "*/*/"):
                for name in cls.names:
                    for suffix in ("", *archives.COMPRESSED):
                        found = next(iter(sorted(root.glob(f"{level}{name}{suffix}"))), None)
                        if found is not None and found.is_file():
                            return found
        stored = cls._stored()
        return stored if stored.is_file() else None

    @classmethod
    def _stored(cls) -> Path:
        return cache_root() / "downloads" / cls.archive.file_name

    @classmethod
    def is_available(cls, root: Path | None) -> bool:
        return cls._local(root) is not None

    def _digest(self) -> str:
        return self.content_digest

    def _bytes(self) -> ByteArray:
        path = self._local(self.root)
        if path is None:
            path = download(
                self.archive,
                self._stored(),
                f"put {self.names[0]} (plain or packed) into the folder that --data-root or "
                "LIERE_DATA names, or use text:PATH or the built-in stdlib",
            )
        found = remembered(
            (self.algorithm, *file_key(path)),
            lambda: archives.digest_of(path, self.algorithm),
        )
        if found != self.content_digest:
            raise LiereError(
                f"{path} is not {self.name}: its {self.algorithm} is {found}, but "
                f"{self.content_digest} is expected"
            )
        return _content(path, self.content_digest)


class Enwik8(_Corpus):
    name = "enwik8"
    summary = "first 100,000,000 bytes of the English Wikipedia of 2006; 90/5/5 million"
    source = "http://mattmahoney.net/dc/enwik8.zip"
    licence = "GFDL / CC BY-SA"
    names = ("enwik8",)
    archive = Download(
        source, 36_445_475, "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc"
    )
    content_digest = "2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8"


class Text8(_Corpus):
    name = "text8"
    summary = "enwik8 reduced to a-z and spaces, 100,000,000 bytes; 90/5/5 million"
    source = "http://mattmahoney.net/dc/text8.zip"
    licence = "GFDL / CC BY-SA"
    names = ("text8",)
    archive = Download(
        source, None, "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232"
    )
    algorithm = "md5"
    content_digest = "3bea1919949baf155f99411df5fada7e"


class TinyShakespeare(_Corpus):
    name = "tinyshakespeare"
    summary = "Shakespeare's plays, 1,115,394 bytes; split 90/5/5 percent"
    source = (
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
    )
    licence = "public domain"
    names = ("tinyshakespeare.txt", "tinyshakespeare/input.txt")
    archive = Download(
        source,
        1_115_394,
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        "tinyshakespeare.txt",
    )
    content_digest = archive.sha256


class Stdlib(_Text):
    """The source of the running CPython's standard library, so that it differs between versions.

    Modules are joined in the order of their paths, up to ``LIMIT`` bytes; tests, installed
    packages and what the build generates for one machine are left out.
    """

    name = "stdlib"
    summary = "source text of the running Python's standard library, at most 16,000,000 bytes"
    source = "built in"
    licence = "PSF"

    LIMIT = 16_000_000
    _LEFT_OUT = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test"})

    @classmethod
    def is_available(cls, root: Path | None) -> bool:
        return True

    def _digest(self) -> str:
        return hashlib.sha256(self._bytes().tobytes()).hexdigest()

    def _bytes(self) -> ByteArray:
        return _joined(self.LIMIT, self._LEFT_OUT)


@cache
def _joined(limit: int, left_out: frozenset[str]) -> ByteArray:
    home = Path(sysconfig.get_path("stdlib"))
    modules = []
    for place, folders, files in os.walk(home):
        folders[:] = [name for name in folders if name not in left_out]
        modules += [
            Path(place, name)
            for name in files
            if name.endswith(".py") and not name.startswith("_sysconfigdata")
        ]
    text = bytearray()
    for path in sorted(modules, key=lambda path: path.relative_to(home).as_posix()):
        if len(text) >= limit:
            break
        text += path.read_bytes()
    if not text:
        raise LiereError(
            f"this Python has no source of its standard library in {home}: use text:PATH"
        )
    return np.frombuffer(text, np.uint8)[:limit]
