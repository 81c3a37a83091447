"""Encodes text of any length into a file of token numbers, in parts that its content determines."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from liere_cli.data.base import SCANNED, Array, ByteStream, numbers
from liere_cli.data.sources.archives import opened
from liere_cli.data.sources.arrays import growing_array
from liere_cli.data.sources.cache import prepared
from liere_cli.data.tokens.vocabulary import Vocabulary
from liere_cli.errors import counted
from liere_cli.utils.files import digest_of

#: bytes of a part of text that is encoded by itself, and parts that are encoded at a time
_PART, _PARTS = 1 << 20, 8
#: raised when the same text comes to be divided into other parts, or into other files of parts
_FORMAT = 1


def narrow(vocabulary: int) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
    """The smallest type of numbers for so many tokens."""
    return np.dtype(np.uint16) if vocabulary <= 1 << 16 else np.dtype(np.uint32)


def signed(tokens: Array) -> Array:
    """Numbers seen as the signed type of their size, which torch can index."""
    return tokens.view(np.dtype(f"i{tokens.dtype.itemsize}"))


def encoded_key(text: str, vocabulary: Vocabulary, separator: bytes) -> str:
    """What determines the tokens of a text of digest ``text``."""
    return digest_of(f"{_FORMAT} {text} {vocabulary.digest} {separator!r}", 32)


def encoded(
    path: Path, packing: str, key: str, vocabulary: Vocabulary, separator: bytes, token: int | None
) -> Array:
    """The tokens of a text, uint16 or uint32 [T], mapped; encoded into the cache once. A
    build that was killed goes on after the last whole part.

    Args:
        packing: how the file is packed, as in :func:`liere_cli.data.sources.archives.opened`.
        key: as :func:`encoded_key` makes it.
        separator, token: bytes that begin each document, and the number of their token; none where
            documents are not kept apart.

    Raises LiereError: a text that can't be read or encoded, or a cache that can't be written.
    """

    dtype = narrow(len(vocabulary.tokens))

    def build(folder: Path) -> None:
        paths: list[Path] = []
        with opened(path, packing) as stream:
            blocks = _blocks(stream, separator)
            while batch := list(islice(blocks, _PARTS)):
                paths.append(folder / f"part-{len(paths):06d}.bin")
                if paths[-1].exists():
                    continue  # from a process that was killed
                unfinished = folder / "unfinished.bin"
                with unfinished.open("wb") as file:
                    for tokens in _encode(batch, vocabulary, separator, token, str(path)):
                        file.write(tokens.astype(dtype).data)
                unfinished.replace(paths[-1])
        (folder / "data.npy").unlink(missing_ok=True)
        with growing_array(folder / "data.npy", dtype) as write:
            for part in paths:
                write(np.fromfile(part, dtype))
        for part in paths:
            part.unlink()
        (folder / "unfinished.bin").unlink(missing_ok=True)

    return prepared(f"tokens/{key}", build, resumes=True)["data"]


def _encode(
    blocks: list[bytes], vocabulary: Vocabulary, separator: bytes, token: int | None, where: str
) -> Iterator[Array]:
    """The tokens of consecutive blocks, those of separators among them."""
    parts: list[bytes] = []
    begins: list[bool] = []
    for block in blocks:
        pieces = block.split(separator) if separator else [block]
        parts += pieces
        begins += [index > 0 for index in range(len(pieces))]
    for first, tokens in zip(begins, vocabulary.encode(parts, where), strict=True):
        if first:
            yield np.array([token])
        yield tokens


def _blocks(stream: BinaryIO, separator: bytes) -> Iterator[bytes]:
    """Consecutive parts of a text, each cut before a separator, after a line, before a space, or
    between characters: the first that is possible.
    """
    rest, ended = b"", False
    while not ended:
        read = b""
        while len(read) < _PART and not ended:
            more = stream.read(_PART - len(read))
            read, ended = read + more, not more
        rest += read
        cut = len(rest) if ended else _cut(rest, separator)
        if cut:
            yield rest[:cut]
        rest = rest[cut:]


def _cut(text: bytes, separator: bytes) -> int:
    """Where a part ends; no separator goes on after it, as far as the text is known."""
    if separator and (cut := text.rfind(separator)) > 0:
        return cut
    end = len(text) - max(len(separator), 1)
    if cut := text.rfind(b"\n", 0, end) + 1:
        return cut
    if (cut := text.rfind(b" ", 0, end)) > 0:
        return cut
    while end > 0 and text[end] & 0xC0 == 0x80:
        end -= 1
    return end


def stream_note(text: ByteStream, vocabulary: str) -> str:
    """How many tokens, bytes and documents a text has."""
    parts = [f"read {len(text):,} tokens of {vocabulary}"]
    if text.token_bytes is not None:
        blocks = text.data.split(SCANNED)
        count = sum(int(text.token_bytes[numbers(block)].sum()) for block in blocks)
        parts.append(f"{count:,} bytes ({count / max(len(text), 1):.2f} each)")
    if text.separator is not None:
        parts.append(f"{counted(len(text.starts), 'separator')} of documents")
    return ", ".join(parts)
