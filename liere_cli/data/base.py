"""What every data set gives: tensors, a task and a fingerprint.

Shapes: N items, C channels, P positions of the grid in pixels (or frames x pixels).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from liere_cli.config.section import Section

Task = Literal["language-model", "classification"]
Metric = Literal["bits_per_byte", "top1"]
Split = Literal["train", "val", "test"]
BYTES = 256


@dataclass(frozen=True)
class ByteStream:
    """Running text: ``data`` is uint8 [N]."""

    data: Tensor

    def __len__(self) -> int:
        return len(self.data)

    def to(self, device: torch.device | str) -> "ByteStream":
        return ByteStream(self.data.to(device))


@dataclass(frozen=True)
class Examples:
    """Labelled arrays.

    Args:
        inputs: uint8 [N, C, *grid].
        labels: int64 [N].
        groups: int64 [N]; items that belong together (clips of one recording) share a number.
    """

    inputs: Tensor
    labels: Tensor
    groups: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "Examples":
        return Examples(self.inputs.to(device), self.labels.to(device), self.groups.to(device))


class Dataset(ABC):
    """A data set in a given configuration. Making one is cheap; ``load`` does the work."""

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    licence: ClassVar[str]
    task: ClassVar[Task]
    metric: ClassVar[Metric]
    axes: ClassVar[int | None]
    """Axes of the grid; None where the file decides (``array``)."""
    Options: ClassVar[type[Section]]

    #: extent of one example along each axis, slowest first: bytes, rows x columns, frames x ...
    grid: tuple[int, ...]
    #: patch that suits the set where the recipe names none; empty for text
    patch: tuple[int, ...] = ()
    channels: int
    classes: int
    #: per channel, of pixel values divided by 255
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    #: random horizontal flips keep the label
    flips: bool = False
    #: pixels of random translation (crop of the padded image); 0 turns it off
    shift: int = 0

    def __init__(self, options: Any, root: Path | None = None) -> None:
        """
        Args:
            options: an instance of ``Options``.
            root: folder of a local mirror, searched before the hub or the web.
        """
        self.options = options
        self.root = root

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """16 hex digits that change whenever the bytes or the rule that splits them do."""

    @abstractmethod
    def load(self, split: Split, grid: tuple[int, ...] | None = None) -> ByteStream | Examples:
        """The split on the CPU, at another grid if given (resized, or rendered anew).

        Raises:
            LiereError: what is missing or broken, what was tried, and how to go on.
        """

    def check_grid(self, grid: tuple[int, ...], patch: tuple[int, ...]) -> None:  # noqa: B027
        """Raises UsageError where a set has more to ask of a grid than that patches divide it."""

    @classmethod
    @abstractmethod
    def is_available(cls, root: Path | None) -> bool:
        """Whether it loads without a download."""
