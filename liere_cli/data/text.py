"""Text as bytes: published corpora, any local file, and Python's standard library."""

import os
import sysconfig
from abc import abstractmethod
from dataclasses import replace
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from liere_cli.config.section import Section, added
from liere_cli.data.base import BYTES, ByteStream, Dataset, Examples, Metric, Split
from liere_cli.data.options import SplitFractions, TextGrid, given_file
from liere_cli.data.sources.archives import (
    COMPRESSED,
    opened,
    packing_of,
    unpacked_digest,
)
from liere_cli.data.sources.arrays import growing_array
from liere_cli.data.sources.binary import kind_of_binary
from liere_cli.data.sources.cache import cached_digest, file_key, prepared
from liere_cli.data.sources.download import Download, download
from liere_cli.data.sources.hub import find_paths
from liere_cli.data.splits import SPLITS, Fractions, contiguous
from liere_cli.data.tokens.encode import encoded, encoded_key, signed, stream_note
from liere_cli.data.tokens.vocabulary import Bytes, TokenizerFile, Vocabulary
from liere_cli.errors import LiereError, counted, unreadable
from liere_cli.utils.files import digest_of
from liere_cli.utils.paths import cache_root

ByteArray = npt.NDArray[np.uint8]
#: bytes at the beginning of a file that show whether it is text
_SAMPLE = 1 << 20


class TextOptions(Section):
    grid: TextGrid = (256,)


class TextData(Dataset):
    """Bytes, split into contiguous train, val and test."""

    task = "language-model"
    metric: Metric = "bits_per_byte"
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
        """The bytes of the split; ``grid`` is ignored, since batches select the windows. Raises
        LiereError: a file that is missing, broken, or too short to be split.
        """
        text = self._stream()
        parts = self.parts(text, self.fractions)
        if min(map(len, parts)) < 2:
            counted_in = f"{len(text)} {text.unit}"
            if text.separator is not None and not len(text.starts):
                raise LiereError(f"{self._label()} has no separator of documents in {counted_in}")
            if text.separator is not None:
                counted_in = f"{counted(len(text.starts), 'document')} of {counted_in}"
            raise LiereError(
                f"{self._label()} has {counted_in}, too few to be split into train, val and test"
            )
        return parts[SPLITS.index(split)]

    @staticmethod
    def parts(text: ByteStream, fractions: Fractions) -> list[ByteStream]:
        """Train, val and test, of whole documents where there are any."""
        bounds = [part.start or 0 for part in contiguous(len(text), fractions)]
        if text.separator is not None:
            bounds = [text.next_document(bound) for bound in bounds]
        return [
            replace(text, data=text.data[start:end])
            for start, end in zip(bounds, [*bounds[1:], len(text)], strict=True)
        ]

    @property
    def fingerprint(self) -> str:
        return digest_of(f"{self._digest()} contiguous {self.fractions}", 16)

    def _label(self) -> str:
        """Its name in messages."""
        return self.name

    def _stream(self) -> ByteStream:
        """The whole text."""
        return ByteStream(torch.from_numpy(self._bytes()))

    @property
    def _vocabulary(self) -> Vocabulary | None:
        """Of the tokens; None where they are the bytes."""
        return None

    def encode(self, text: str) -> list[int]:
        if self._vocabulary is None:
            return super().encode(text)
        (tokens,) = self._vocabulary.encode([text.encode()], "the text")
        return [int(token) for token in tokens]

    def decode(self, tokens: list[int]) -> str:
        if self._vocabulary is None:
            return super().decode(tokens)
        return self._vocabulary.decode(np.array(tokens, np.int64)).decode(errors="replace")

    def _bytes(self) -> ByteArray:
        """The whole text, uint8 [N], where it is read as bytes."""
        raise NotImplementedError

    @abstractmethod
    def _digest(self) -> str:
        """Hex digest of the whole text, without reading it again where it is known."""


def _content(path: Path, digest: str, packing: str | None = None) -> ByteArray:
    """The bytes of ``path``, mapped; a packed file is unpacked into the cache once."""
    packing = packing_of(path) if packing is None else packing
    if packing:

        def build(folder: Path) -> None:
            with (
                opened(path, packing) as stream,
                growing_array(folder / "data.npy", np.dtype(np.uint8)) as write,
            ):
                while block := stream.read(_SAMPLE):
                    write(np.frombuffer(block, np.uint8))

        return prepared(f"text/{digest[:32]}", build)["data"]
    try:
        if path.stat().st_size == 0:
            return np.zeros(0, np.uint8)
        return np.memmap(path, np.uint8, mode="c")
    except OSError as error:
        raise unreadable(path, error) from None


class TextFileOptions(TextOptions):
    path: str = Field(description="a file, plain or compressed")
    raw: bool = added(False, description="take the file's bytes as they are, packed or not text")
    fractions: SplitFractions = Field(
        (0.9, 0.05, 0.05), description="shares of train, val and test, as 0.9/0.05/0.05"
    )
    tokenizer: str | None = added(None, description="a tokenizer.json; null: every byte is a token")
    separator: str | None = added(
        None, min_length=1, description="text that begins each document; null: all is one document"
    )


class TextFile(TextData):
    """Any local text; packed files are recognised by their content, and so is what is not text."""

    name = "text"
    summary = "any local text, plain or .gz, .bz2, .xz, .zst, .zip; split by fractions"
    source = "text:PATH"
    licence = "the file's own"
    Options = TextFileOptions
    options: TextFileOptions

    def __init__(self, options: TextFileOptions, root: Path | None = None) -> None:
        super().__init__(options, root)
        self.path = given_file(self.name, options.path)
        self.fractions = options.fractions
        if self._vocabulary:
            self.classes = len(self._vocabulary.tokens)

    def _label(self) -> str:
        return str(self.path)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        packed = f", unpacked from {self._packing}" if self._packing else ""
        if self._vocabulary is None:
            return (f"read {len(self._bytes()):,} bytes{packed}",) if packed else ()
        return (stream_note(self._stream(), self._vocabulary.name) + packed,)

    @property
    def fingerprint(self) -> str:
        if self._vocabulary is None:
            return super().fingerprint
        return digest_of(f"{self._key} contiguous {self.fractions}", 16)

    @cached_property
    def _vocabulary(self) -> Vocabulary | None:
        if self.options.tokenizer:
            return TokenizerFile(given_file(self.name, self.options.tokenizer))
        return Bytes(self._separator) if self._separator else None

    @property
    def _separator(self) -> bytes:
        return (self.options.separator or "").encode()

    @property
    def _key(self) -> str:
        """What determines the tokens."""
        assert self._vocabulary is not None
        return encoded_key(self._digest(), self._vocabulary, self._separator)

    @cached_property
    def _whole(self) -> ByteStream:
        return super()._stream() if self._vocabulary is None else self._encoded(self._vocabulary)

    def _stream(self) -> ByteStream:
        return self._whole

    def _encoded(self, vocabulary: Vocabulary) -> ByteStream:
        separator = self.options.separator
        token = vocabulary.token_of(separator) if separator else None
        tokens = encoded(self.path, self._packing, self._key, vocabulary, self._separator, token)
        lengths = torch.from_numpy(vocabulary.lengths)
        return ByteStream(torch.from_numpy(signed(tokens)), lengths, token)

    @cached_property
    def _packing(self) -> str:
        return "" if self.options.raw else packing_of(self.path)

    def _digest(self) -> str:
        key = ("bytes", self._packing, *file_key(self.path))
        digest = cached_digest(key, lambda: unpacked_digest(self.path, packing=self._packing))
        if self._binary:
            packed = f"(unpacked from {self._packing}) " if self._packing else ""
            raise LiereError(
                f"{self.path} {packed}is not text but {self._binary}; raw=true takes the bytes as "
                "they are"
            )
        return digest

    @cached_property
    def _binary(self) -> str:
        """What the file is if it is not text, and what to do with it."""
        if self.options.raw:
            return ""
        with opened(self.path, self._packing) as stream:
            return kind_of_binary(stream.read(_SAMPLE))

    def _bytes(self) -> ByteArray:
        return _content(self.path, self._digest(), self._packing)


class _Corpus(TextData):
    """A published corpus, known by its digest: from a local mirror, the cache or the web."""

    archive: ClassVar[Download]
    algorithm: ClassVar[Literal["sha256", "md5"]] = "sha256"
    content_digest: ClassVar[str]
    names: ClassVar[tuple[str, ...]]

    @classmethod
    def _local(cls, root: Path | None) -> Path | None:
        """The corpus in the mirror, else an earlier download."""
        names = [name + suffix for name in cls.names for suffix in ("", *COMPRESSED)]
        paths = chain(find_paths(root, names), [cls._download_path()])
        return next((path for path in paths if path.is_file()), None)

    @classmethod
    def _download_path(cls) -> Path:
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
                self._download_path(),
                f"put {self.names[0]} (plain or compressed) into the folder that --data-root or "
                "LIERE_DATA names, or use text:PATH or the built-in stdlib",
            )
        key = (self.algorithm, *file_key(path))
        digest = cached_digest(key, lambda: unpacked_digest(path, self.algorithm))
        if digest != self.content_digest:
            found = f"its {self.algorithm} is {digest}, but {self.content_digest} is expected"
            raise LiereError(f"{path} is not {self.name}: {found}")
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


class Stdlib(TextData):
    """The source code of the running CPython's standard library; it differs between versions.

    Modules are joined in the order of their paths, up to ``LIMIT`` bytes, without tests, installed
    packages and the file that the build generates.
    """

    name = "stdlib"
    summary = "source text of the running Python's standard library, at most 16,000,000 bytes"
    source = "built in"
    licence = "PSF"

    LIMIT = 16_000_000
    _EXCLUDED = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test"})

    def _digest(self) -> str:
        return digest_of(self._bytes().tobytes())

    def _bytes(self) -> ByteArray:
        return _joined(self.LIMIT, self._EXCLUDED)


@cache
def _joined(limit: int, excluded: frozenset[str]) -> ByteArray:
    home = Path(sysconfig.get_path("stdlib"))
    modules = []
    for parent, folders, files in os.walk(home):
        folders[:] = [name for name in folders if name not in excluded]
        modules += [
            Path(parent, name)
            for name in files
            if name.endswith(".py") and not name.startswith("_sysconfigdata")
        ]
    text = bytearray()
    for path in sorted(modules, key=lambda path: path.relative_to(home).as_posix()):
        if len(text) >= limit:
            break
        text += path.read_bytes()
    if not text:
        problem = f"has no source code of its standard library in {home}"
        raise LiereError(f"this Python {problem}: use text:PATH")
    return np.frombuffer(text, np.uint8)[:limit]
