"""Vocabularies that encode text without loss, so that bits per byte compare between them.

Shapes: V tokens of the vocabulary, T tokens of a text.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from liere_cli.data.base import BYTES, Array
from liere_cli.errors import LiereError, UsageError, unknown, unreadable
from liere_cli.utils.files import digest_of, read_limited

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: raised when equal files come to be encoded differently
_FORMAT = 1
MOST_TOKENIZER_BYTES = 1 << 28


class Vocabulary(ABC):
    """Tokens and the bytes that each stands for."""

    #: what determines the encoding of a text
    digest: str
    #: the bytes of each token; none for those that stand for no text
    tokens: list[bytes]

    @abstractmethod
    def encode(self, parts: Sequence[bytes], where: str) -> list[Array]:
        """The tokens of each part, int64 [T]; LiereError for a part that can't be encoded."""

    @property
    def name(self) -> str:
        """For messages."""
        return "bytes"

    def token_of(self, text: str) -> int:
        """The number of the token ``text``; UsageError if it is not one token."""
        raise NotImplementedError

    @cached_property
    def lengths(self) -> Array:
        """The bytes of each token, int64 [V]."""
        return np.array([len(token) for token in self.tokens], np.int64)

    def decode(self, numbers: Array) -> bytes:
        """The text of tokens, int64 [T]."""
        content, starts = self._joined
        lengths = self.lengths[numbers]
        ends = np.cumsum(lengths)
        first = np.repeat(starts[numbers] - (ends - lengths), lengths)
        return content[first + np.arange(len(first))].tobytes()

    @cached_property
    def _joined(self) -> tuple[Array, Array]:
        ends = np.cumsum(self.lengths)
        return np.frombuffer(b"".join(self.tokens) or b"\0", np.uint8), ends - self.lengths


class Bytes(Vocabulary):
    """The 256 bytes, and a token for the separator of documents."""

    def __init__(self, separator: bytes) -> None:
        self.tokens = [bytes([value]) for value in range(BYTES)] + [separator]
        self.digest = f"bytes {separator!r}"

    def encode(self, parts: Sequence[bytes], where: str) -> list[Array]:
        return [np.frombuffer(part, np.uint8).astype(np.int64) for part in parts]

    def token_of(self, text: str) -> int:
        return BYTES


class TokenizerFile(Vocabulary):
    """A ``tokenizer.json`` of the library ``tokenizers``.

    What the file asks for beyond dividing text is left out: normalisation, a space before the text,
    special tokens around it, truncation and padding. Tokens then stand for the bytes of the text
    exactly, which is checked for every text.

    Raises LiereError: the library is missing, or the file is not a tokenizer, or one whose tokens
    stand for no certain bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = read_limited(path, MOST_TOKENIZER_BYTES)
        except (OSError, ValueError) as error:
            raise unreadable(path, error) from None
        self.digest = f"{_FORMAT} {digest_of(content)}"
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise LiereError(
                f"{path}: reading a tokenizer needs the library tokenizers: "
                "pip install 'liere[tokenizers]'"
            ) from None
        try:
            settings = _lossless(json.loads(content))
            self.tokenizer: Tokenizer = Tokenizer.from_str(json.dumps(settings))
            self.tokens = list(_bytes_of_tokens(self.tokenizer, settings))
        except Exception as error:  # the library raises errors of class Exception
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise LiereError(
                f"{path} is broken or not a tokenizer.json of the library tokenizers: {reason}"
            ) from None

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def special(self) -> list[int]:
        """Tokens that mark up text."""
        added = self.tokenizer.get_added_tokens_decoder()
        return [number for number, token in added.items() if token.special]

    def encode(self, parts: Sequence[bytes], where: str) -> list[Array]:
        try:
            texts = [part.decode() for part in parts]
        except UnicodeDecodeError as error:
            raise LiereError(
                f"{where} is not UTF-8 ({error.reason} in {error.object[error.start :][:8]!r}), "
                "which a tokenizer needs: convert it, or read it as bytes, without tokenizer="
            ) from None
        encoded = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        numbers = [np.array(encoding.ids, np.int64) for encoding in encoded]
        for part, ids in zip(parts, numbers, strict=True):
            if (written := self.decode(ids)) != part:
                raise self._lossy(part, written, where)
        return numbers

    def _lossy(self, part: bytes, written: bytes, where: str) -> LiereError:
        first = next(
            (n for n, (a, b) in enumerate(zip(part, written, strict=False)) if a != b),
            min(len(part), len(written)),
        )
        return LiereError(
            f"{self.path} does not encode {where} without loss: {part[first : first + 20]!r} "
            f"becomes {written[first : first + 20]!r}, so that bits per byte would not compare; "
            "use a tokenizer of bytes (byte-level BPE)"
        )

    def token_of(self, text: str) -> int:
        number = self.tokenizer.token_to_id(text)
        if number is None:
            special = [
                token.content for token in self.tokenizer.get_added_tokens_decoder().values()
            ]
            if special:
                raise unknown(f"token in {self.path},", text, special)
            raise UsageError(f"{self.path} has no token {text!r}")
        return int(number)


def _lossless(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a tokenizer without what changes or adds text."""
    kept = dict.fromkeys(("truncation", "padding", "post_processor"))
    settings = {**settings, **kept, "normalizer": _replacing_spaces(settings.get("normalizer"))}
    return {**settings, "pre_tokenizer": _without_prefix(settings.get("pre_tokenizer"))}


def _replacing_spaces(normalizer: dict[str, Any] | None) -> dict[str, Any] | None:
    """The steps that write spaces as ``▁``, which the tokens themselves need."""
    steps = (normalizer or {}).get("normalizers", [normalizer])
    return next((step for step in steps if step and step.get("content") == "▁"), None)


def _without_prefix(step: object) -> object:
    if isinstance(step, list):
        return [_without_prefix(part) for part in step]
    if not isinstance(step, dict):
        return step
    off = {"add_prefix_space": False, "prepend_scheme": "never"}
    return {key: off.get(key, _without_prefix(value)) for key, value in step.items()}


def _bytes_of_tokens(tokenizer: "Tokenizer", settings: dict[str, Any]) -> Iterator[bytes]:
    """The bytes of each token, by its number; none for numbers without a token."""
    by_number = {number: token for token, number in tokenizer.get_vocab().items()}
    added = {token["id"] for token in settings.get("added_tokens") or []}
    kinds = json.dumps([settings.get("decoder"), settings.get("pre_tokenizer")])
    byte_of = _byte_of_character() if '"ByteLevel"' in kinds else {}
    for number in range(max(by_number, default=-1) + 1):
        token = by_number.get(number, "")
        if number in added:
            yield token.encode()
        elif byte_of:
            # a character outside is no byte; the text's check finds tokens that are used
            yield bytes(byte_of[c] for c in token if c in byte_of)
        elif len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            yield bytes([int(token[3:5], 16)])
        else:
            yield token.replace("▁", " ").encode()


def _byte_of_character() -> dict[str, int]:
    """The printable characters that stand for bytes (Radford et al. 2019, ``bytes_to_unicode``)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [value for value in range(BYTES) if value not in printable]
    return {chr(value): value for value in printable} | {
        chr(BYTES + index): value for index, value in enumerate(others)
    }
