"""The interface of data sets: tensors of each split, a task, a metric and a fingerprint.

Shapes: N items, C channels; grid is the extents of an item in pixels (or frames and pixels).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from liere_cli.config.section import Section
from liere_cli.data.augment.settings import Augmentation, View

Task = Literal["language-model", "classification"]
Metric = Literal["bits_per_byte", "top1"]
Split = Literal["train", "val", "test"]
BYTES = 256
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ByteStream:
    """Text as bytes: ``data`` is uint8 [N]."""

    data: Tensor

    def __len__(self) -> int:
        return len(self.data)

    def to(self, device: torch.device | str) -> "ByteStream":
        return ByteStream(self.data.to(device))


class Encoded(ABC):
    """Items that are decoded each time they are gathered."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """[N, C, *grid], as of the tensor of all decoded items."""

    @abstractmethod
    def decode(self, item: int, view: View | None = None) -> Array:
        """An item, uint8 [C, *grid], or what a view shows of it; called from several threads.
        Raises LiereError: it is broken, or has changed since its content was read.
        """

    @abstractmethod
    def take(self, chosen: Tensor) -> "Encoded":
        """The items with the numbers ``chosen``, int64 [M]."""


@dataclass(frozen=True)
class Examples:
    """Items, uint8 [N, C, *grid], as a tensor or decoded when they are gathered; their labels,
    int64 [N], and groups, int64 [N], the same for items that belong together (clips of one
    recording).
    """

    inputs: Tensor | Encoded
    labels: Tensor
    groups: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: Tensor) -> "Examples":
        """The items with the numbers ``chosen``, int64 [M]."""
        chosen, inputs = chosen.to(self.labels.device), self.inputs
        taken = inputs.take(chosen) if isinstance(inputs, Encoded) else inputs[chosen]
        return Examples(taken, self.labels[chosen], self.groups[chosen])

    def to(self, device: torch.device | str) -> "Examples":
        """On a device; items that are decoded when they are gathered stay."""
        if isinstance(self.inputs, Encoded):
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
    metric: ClassVar[Metric]
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
    #: what else training items undergo
    augmentation: Augmentation = Augmentation()

    #: the name that a recipe builds it by, such as ``path/to/file.py:Class``
    spec_name: str = ""

    def __init__(self, options: Section, root: Path | None = None) -> None:
        """``root`` is the folder of a local mirror, searched before the hub or the web."""
        self.options: Section = options
        self.root = root

    @classmethod
    def build(cls, options: Section, root: Path | None) -> "Dataset":
        """The data set that these options ask for; errors as of constructing it."""
        return cls(options, root)

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

    def check_grid(self, grid: tuple[int, ...], patch: tuple[int, ...]) -> None:  # noqa: B027
        """Raises UsageError if it can't be generated at a grid that the patches divide."""

    @classmethod
    def is_available(cls, root: Path | None) -> bool:
        """Whether it loads without a download."""
        return True
