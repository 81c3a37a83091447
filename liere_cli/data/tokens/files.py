"""Files of token numbers, as nanoGPT's ``prepare.py`` and llm.c write them."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from liere_cli.data.base import Array, ByteStream, Split
from liere_cli.data.options import VALIDATION, Share, SplitFractions, TextGrid, given_path
from liere_cli.data.sources.binary import kind_of_binary
from liere_cli.data.sources.cache import cached_digest, file_key
from liere_cli.data.splits import (
    SPLITS,
    TEST,
    TRAIN,
    UNASSIGNED,
    VAL,
    split_in_name,
)
from liere_cli.data.text import TextData, TextOptions
from liere_cli.data.tokens.encode import narrow, signed, stream_note
from liere_cli.data.tokens.vocabulary import TokenizerFile, Vocabulary
from liere_cli.errors import LiereError, UsageError, unreadable
from liere_cli.utils.files import digest_of

#: first number of llm.c's header of 256 int32, and the type of the tokens behind it
_HEADERS = {20240520: narrow(1 << 16), 20240801: narrow(1 << 31)}
_HEADER_BYTES = 1024
_BLOCK = 1 << 22
#: beginnings of files of other kinds, long enough that tokens hardly have them
_OTHER = (
    b"\x93NUMPY",
    b"PAR1",
    b"PK\3\4",
    b"\x1f\x8b\x08",
    b"(\xb5/\xfd",
    b"\xfd7zXZ\0",
    b"ARROW1",
)


class TokenOptions(TextOptions):
    grid: TextGrid = Field((256,), description="tokens in one window")
    path: str = Field(description="a .bin file of tokens, or a folder with train.bin and val.bin")
    vocab: int | None = Field(
        None, ge=2, le=1 << 31, description="number of tokens; null: the tokenizer's"
    )
    dtype: Literal["uint16", "uint32"] | None = Field(
        None, description="type of the numbers; null: uint16 for up to 65,536 tokens, else uint32"
    )
    tokenizer: str | None = Field(
        None,
        description="the tokenizer.json that wrote the tokens; null: scores are bits per token",
    )
    separator: int | str | None = Field(
        None,
        description="token that begins each document, as a number or, with a tokenizer, its text; "
        "null: all is one document",
    )
    fractions: SplitFractions = Field(
        (0.9, 0.05, 0.05), description="shares of train, val and test of a single file"
    )
    validation: Share = Field(0.05, description=VALIDATION)


@dataclass(frozen=True)
class _File:
    """A file of tokens, whose numbers begin at byte ``offset``."""

    path: Path
    dtype: np.dtype[np.uint16] | np.dtype[np.uint32]
    offset: int

    @property
    def tokens(self) -> Array:
        """uint16 or uint32 [N], mapped."""
        count = (self.path.stat().st_size - self.offset) // self.dtype.itemsize
        return np.memmap(self.path, self.dtype, "c", self.offset, (count,))


class Tokens(TextData):
    """Numbers of tokens in uint16 or uint32, mapped and never read as a whole.

    Scores are bits per byte where ``tokenizer`` gives the bytes of each token; its special tokens
    stand for none. Otherwise they are bits per token, which only compare within one tokenisation.
    """

    name = "tokens"
    summary = "tokens of any text in .bin files, as nanoGPT's prepare.py writes them"
    source = "tokens:PATH"
    licence = "the file's own"
    Options = TokenOptions
    options: TokenOptions

    def __init__(self, options: TokenOptions, root: Path | None = None) -> None:
        super().__init__(options, root)
        self.fractions = options.fractions
        self.path = given_path(self.name, options.path)
        self.tokenizer: TokenizerFile | None = None
        if options.tokenizer is None:
            self.metric = "bits_per_token"
        else:
            self.tokenizer = TokenizerFile(given_path(self.name, options.tokenizer))
        known = None if self.tokenizer is None else len(self.tokenizer.tokens)
        if (vocabulary := options.vocab or known) is None:
            raise UsageError(
                "data.tokens: 'vocab' is missing: give the number of tokens, as vocab=50257, or "
                "tokenizer=FILE.json"
            )
        self.classes = vocabulary
        self.separator = self._separator(options.separator)

    def _separator(self, given: int | str | None) -> int | None:
        if isinstance(given, str) and given.isdigit():
            given = int(given)
        if isinstance(given, str):
            if self.tokenizer is None:
                raise UsageError(
                    f"data.tokens: 'separator' is '{given}', but without tokenizer=FILE.json a "
                    "number of a token is expected"
                )
            return self.tokenizer.token_of(given)
        if given is not None and not 0 <= given < self.classes:
            raise UsageError(
                f"data.tokens: 'separator' is {given}, but tokens are 0 to {self.classes - 1}"
            )
        return given

    def _label(self) -> str:
        return str(self.path)

    @property
    def _vocabulary(self) -> Vocabulary:
        if self.tokenizer is None:
            raise LiereError(f"{self.path}: the text of its tokens needs tokenizer=FILE.json")
        return self.tokenizer

    @cached_property
    def notes(self) -> tuple[str, ...]:
        name = self.tokenizer.name if self.tokenizer else f"a vocabulary of {self.classes:,}"
        files = [self._whole(file) for file in self._files.values()]
        return tuple(stream_note(text, name) for text in files)

    @cached_property
    def _files(self) -> dict[int, _File]:
        """The files by split, ``UNASSIGNED`` for a single one."""
        if self.path.is_file():
            return {UNASSIGNED: self._checked(self.path)}
        files: dict[int, Path] = {}
        for path in sorted(self.path.glob("*.bin")):
            split = split_in_name(path.stem)
            if split in files:
                problem = f"{files[split].name} and {path.name} of one split"
                raise LiereError(f"{self.path} has {problem}: join them, or give one of them")
            files[split] = path
        if UNASSIGNED in files and len(files) > 1:
            named = f"{files[UNASSIGNED].name} has none of train, val and test in its name"
            raise LiereError(f"{self.path}: {named}, as others have: move it out")
        if TRAIN not in files and UNASSIGNED not in files:
            present = ", ".join(path.name for path in files.values()) or "no .bin files"
            raise LiereError(f"{self.path} has {present}, but train.bin is expected")
        return {split: self._checked(path) for split, path in files.items()}

    def _checked(self, path: Path) -> _File:
        """The file, if it holds tokens of the vocabulary."""
        try:
            with path.open("rb") as file:
                start = file.read(1 << 20)
            size = path.stat().st_size
        except OSError as error:
            raise unreadable(path, error) from None
        dtype, offset = narrow(self.classes), 0
        if self.options.dtype:
            dtype = narrow(1 << 16 if self.options.dtype == "uint16" else 1 << 31)
        header = int.from_bytes(start[:4], "little") if len(start) >= _HEADER_BYTES else 0
        if header in _HEADERS and not any(start[12:_HEADER_BYTES]):
            dtype, offset = _HEADERS[header], _HEADER_BYTES
        if kind := _foreign(start):
            raise LiereError(f"{path} holds no tokens but is {kind}")
        if (size - offset) % dtype.itemsize:
            raise LiereError(
                f"{path} has {size:,} bytes, which is no whole number of {dtype}: it was cut "
                "short, or give the 'dtype' that it was written with"
            )
        numbers = np.frombuffer(start[offset : max(len(start) // 4 * 4, offset)], dtype)
        if dtype.itemsize == 2 and len(numbers) >= 64 and not numbers[1::2].any():
            raise LiereError(f"{path}: every second number is 0, as in uint32: give dtype=uint32")
        return _File(path, dtype, offset)

    def _digest(self) -> str:
        return digest_of(
            " ".join(f"{split} {self._digest_of(file)}" for split, file in self._files.items())
        )

    def _digest_of(self, file: _File) -> str:
        """Digest of the tokens; LiereError if one is not in the vocabulary."""
        key = ("tokens", str(file.dtype), file.offset, *file_key(file.path))
        digest, largest = cached_digest(key, lambda: _digest_and_largest(file)).split()
        if int(largest) >= self.classes:
            raise LiereError(
                f"{file.path} has token {int(largest):,}, but the vocabulary is 0 to "
                f"{self.classes - 1:,}: give the 'vocab' and 'dtype' that it was written with"
            )
        return digest

    @property
    def fingerprint(self) -> str:
        parts = [self._digest(), self.options.fractions, self.options.validation, self.separator]
        if self.tokenizer:
            parts.append(self.tokenizer.digest)
        return digest_of(" ".join(map(str, parts)), 16)

    def _whole(self, file: _File) -> ByteStream:
        self._digest_of(file)
        lengths = None
        if self.tokenizer is not None:
            lengths = torch.zeros(self.classes, dtype=torch.long)
            known = torch.from_numpy(self.tokenizer.lengths)[: self.classes]
            lengths[: len(known)] = known
            lengths[[token for token in self.tokenizer.special if token < self.classes]] = 0
        return ByteStream(torch.from_numpy(signed(file.tokens)), lengths, self.separator)

    def load(self, split: Split, grid: tuple[int, ...] | None = None) -> ByteStream:
        """As of other text; of two files the second is the test split, and the end of the first is
        held out for validation.
        """
        part, files, shares = SPLITS.index(split), self._files, self.fractions
        if len(files) == len(SPLITS):
            text = self._whole(files[part])
        elif len(files) == 1:
            text = self.parts(self._whole(*files.values()), shares)[part]
        elif part == TEST:
            text = self._whole(files[TEST if TEST in files else VAL])
        else:
            held_out = self.options.validation
            text = self.parts(self._whole(files[TRAIN]), (1 - held_out, held_out, 0))[part]
        if len(text) < 2:
            raise LiereError(f"{self.path} has {len(text)} tokens of {split}, too few")
        return text


def _foreign(start: bytes) -> str:
    """What a file is if it holds no tokens, and what to do with it; empty if it may."""
    if start.startswith(_OTHER):
        return kind_of_binary(start) or "packed: unpack it"
    if not start:
        return "empty"
    # the end may be in the middle of a character
    text = start.decode(errors="replace")[:-1]
    control = {chr(value) for value in range(32)} - set("\t\r\n\f")
    return (
        "" if len(start) < 16 or control & set(text) or "\ufffd" in text else "text: use text:FILE"
    )


def _digest_and_largest(file: _File) -> str:
    """Hex digest of the numbers as uint32, and the largest."""
    digest, largest, tokens = hashlib.sha256(), 0, file.tokens
    for begin in range(0, len(tokens), _BLOCK):
        block = tokens[begin : begin + _BLOCK]
        digest.update(block.astype("<u4").data)
        largest = max(largest, int(block.max()))
    return f"{digest.hexdigest()} {largest}"
