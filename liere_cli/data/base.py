"""The interface of data sets: tensors of each split, a task, a metric and a fingerprint.

Shapes: N items, C channels; grid is the extents of an item in pixels (or frames and pixels).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from liere_cli.config.section import Section

Task = Literal["language-model", "classification"]
Metric = Literal["bits_per_byte", "bits_per_token", "top1"]
Split = Literal["train", "val", "test"]
BYTES = 256
#: tokens that are searched at once, so that a mapped file is never in memory as a whole
SCANNED = 1 << 22
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ByteStream:
    """Text as bytes, or as the numbers of tokens.

    Args:
        data: uint8 [N]; of tokens, uint16 or uint32 seen as int16 or int32 [N].
        token_bytes: int64 [V], how many bytes of text each token encodes; None: one each.
        separator: the token that begins each document; None: all is one document.
    """

    data: Tensor
    token_bytes: Tensor | None = None
    separator: int | None = None

    def __len__(self) -> int:
        return len(self.data)

    @property
    def unit(self) -> str:
        """What ``data`` counts, in messages."""
        return "bytes" if self.data.dtype == torch.uint8 else "tokens"

    def to(self, device: torch.device | str) -> "ByteStream":
        lengths = self.token_bytes
        return replace(
            self,
            data=self.data.to(device),
            token_bytes=None if lengths is None else lengths.to(device),
        )

    def documents(self, tokens: Tensor) -> Tensor | None:
        """The document of each token of windows, int64 [B, T], counted within each window; None
        where all is one document.
        """
        return None if self.separator is None else (tokens == self.separator).cumsum(1)

    @cached_property
    def starts(self) -> Tensor:
        """Where the separators are, int64 [D], ascending."""
        return torch.cat(list(self._starts_after(0)))

    def next_document(self, position: int) -> int:
        """Where the first document begins at or after ``position``; the end if none does."""
        if position == 0:
            return 0
        starts = filter(len, self._starts_after(position))
        return int(next(starts, torch.tensor([len(self)]))[0])

    def _starts_after(self, position: int) -> Iterator[Tensor]:
        for start in range(position, max(len(self), position + 1), SCANNED):
            block = numbers(self.data[start : start + SCANNED])
            separator = -1 if self.separator is None else self.separator
            yield torch.eq(block, separator).nonzero()[:, 0] + start


def numbers(tokens: Tensor) -> Tensor:
    """The unsigned values, int64, of tokens as a :class:`ByteStream` holds them."""
    return tokens.long() & 0xFFFF if tokens.dtype == torch.int16 else tokens.long()


class Sampled(ABC):
    """Large items, such as videos, of which parts are read each time they are needed."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """[N, C, *grid], as of a tensor with one part of each item."""

    @property
    @abstractmethod
    def views(self) -> int:
        """The parts of each item, V, whose scores are averaged in evaluation."""

    @abstractmethod
    def random(self, chosen: Tensor, draws: Tensor) -> Tensor:
        """A part for training of each of the items ``chosen``, int64 [B]: uint8 [B, C, *grid].

        ``draws``, float [B, 3] from 0 to 1, say where the parts lie, along up to three axes. Raises
        LiereError: an item that can't be decoded.
        """

    @abstractmethod
    def fixed(self, chosen: Tensor) -> Tensor:
        """All views of each of the items ``chosen``, int64 [B]: uint8 [B * V, C, *grid], those of
        one item one after another; errors as in :meth:`random`.
        """

    @abstractmethod
    def take(self, chosen: Tensor) -> "Sampled":
        """The items with the numbers ``chosen``, int64 [M]."""


@dataclass(frozen=True)
class Examples:
    """Items, uint8 [N, C, *grid] or large ones of which parts are read, their labels, int64 [N],
    and groups, int64 [N], the same for items that belong together (clips of one recording).
    """

    inputs: Tensor | Sampled
    labels: Tensor
    groups: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def views(self) -> int:
        """Parts of each item that evaluation averages over."""
        return self.inputs.views if isinstance(self.inputs, Sampled) else 1

    def to(self, device: torch.device | str) -> "Examples":
        """On a device; items of which parts are read stay."""
        if isinstance(self.inputs, Sampled):
            return self
        return Examples(self.inputs.to(device), self.labels.to(device), self.groups.to(device))


class Dataset(ABC):
    """A data set with its options. Constructing one is cheap; ``load`` does the work.

    A subclass with a ``name`` of its own, anywhere below ``liere_cli.data``, is a data set of that
    name; nothing else has to list it.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    licence: ClassVar[str]
    task: ClassVar[Task]
    metric: Metric
    axes: ClassVar[int | None]
    """Axes of the grid; None where the file determines them (``array``)."""
    Options: ClassVar[type[Section]]

    #: extents of one item, slowest axis first: bytes, rows x columns, frames x rows x columns
    grid: tuple[int, ...]
    #: default patch; empty for text
    patch: tuple[int, ...] = ()
    channels: int
    classes: int
    #: of each channel, of pixel values divided by 255
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    #: whether training items are flipped left to right at random
    flips: bool = False
    #: largest random translation of training items, in pixels
    shift: int = 0

    def __init__(self, options: Section, root: Path | None = None) -> None:
        """``root`` is the folder of a local mirror, searched before the hub or the web."""
        self.options: Section = options
        self.root = root

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """16 hex digits that change with the content and with how it is split."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what was read from the user's files and what was left aside; errors as in
        :meth:`load`. None for published and generated data.
        """
        return ()

    @abstractmethod
    def load(self, split: Split, grid: tuple[int, ...] | None = None) -> ByteStream | Examples:
        """The split on the CPU; at another grid items are resized or generated again. Raises
        LiereError: data that is missing or broken; names what was tried and what to do.
        """

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, for a language model; LiereError where they are not known."""
        return list(text.encode())

    def decode(self, tokens: list[int]) -> str:
        """The text of tokens; LiereError where it is not known."""
        return bytes(tokens).decode(errors="replace")

    def check_grid(self, grid: tuple[int, ...], patch: tuple[int, ...]) -> None:  # noqa: B027
        """Raises UsageError if it can't be generated at a grid that the patches divide."""

    @classmethod
    def is_available(cls, root: Path | None) -> bool:
        """Whether it loads without a download."""
        return True
