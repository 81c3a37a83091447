"""Data sets of the user's own code: any map-style sequence of inputs and labels.

Shapes: N items, C channels.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from liere_cli.config.section import Section
from liere_cli.data.augment.settings import View
from liere_cli.data.base import Array, Dataset, Encoded, Examples, Metric, Split, Task
from liere_cli.data.feeding.gather import seen
from liere_cli.data.options import ImageGrid, default_patch_edge
from liere_cli.data.sources.decode_image import fit
from liere_cli.errors import LiereError, shortened
from liere_cli.utils.files import digest_of
from liere_cli.utils.user_code import error_summary, file_digest

#: an input and its class: a PIL image, or uint8 or floats from 0 to 1, [C, *grid]
Item = tuple[Any, int]


class ItemOptions(Section):
    grid: ImageGrid = (64, 64)


class ItemDataset(Dataset):
    """A data set of your own: :meth:`items` returns any sequence, such as a
    ``torch.utils.data.Dataset``, whose items are an input and its class.

    Items are read when they are needed, each epoch again, and must be the same every time: random
    transformations belong to training (``flips``, ``shift``, ``augmentation``). The fingerprint is
    of the code of the class's file, its options and :attr:`version`; raise the version when data
    outside that file change.
    """

    summary: ClassVar[str] = "your own"
    source: ClassVar[str] = "your own code"
    licence: ClassVar[str] = "your own"
    task: ClassVar[Task] = "classification"
    metric: Metric = "top1"
    axes: ClassVar[int | None] = 2
    Options: ClassVar[type[Section]] = ItemOptions
    channels = 3
    #: changes when the data do
    version: ClassVar[str] = "1"
    #: whether several threads may read items at once
    thread_safe: ClassVar[bool] = False

    def __init__(self, options: Section, root: Path | None = None) -> None:
        super().__init__(options, root)
        self.grid = tuple(getattr(options, "grid"))  # noqa: B009
        edge = default_patch_edge(self.grid[-2:])
        self.patch = (*(2 - count % 2 for count in self.grid[:-2]), edge, edge)
        self.mean, self.std = (0.5,) * self.channels, (0.25,) * self.channels

    @abstractmethod
    def items(self, split: Split) -> Sequence[Item]:
        """The items of a split; called once for each."""

    def labels(self, split: Split, items: Sequence[Item]) -> Sequence[int]:
        """The classes of all items, 0 .. classes - 1: those in ``targets`` or ``labels`` of the
        sequence, as in torchvision, or of each item. Override it where reading items is slow.
        """
        known = getattr(items, "targets", getattr(items, "labels", None))
        if known is not None and len(known) == len(items):
            return [int(label) for label in known]
        return [int(items[number][1]) for number in range(len(items))]

    @cached_property
    def fingerprint(self) -> str:
        code = file_digest(type(self)) or ""
        options = self.options.model_dump_json()
        return digest_of(f"{code} {type(self).__name__} {self.version} {options}", 16)

    def load(self, split: Split, grid: tuple[int, ...] | None = None) -> Examples:
        try:
            items = self.items(split)
            labels = torch.tensor(list(self.labels(split, items)), dtype=torch.int64)
        except LiereError:
            raise
        except Exception as error:
            raise LiereError(f"data set '{self.name}', {split}: {error_summary(error)}") from error
        wrong = labels[(labels < 0) | (labels >= self.classes)]
        if len(wrong):
            raise LiereError(
                f"data set '{self.name}', {split}: a label is {int(wrong[0])}, but there are "
                f"{self.classes} classes from 0"
            )
        where = f"data set '{self.name}', {split}"
        lock = None if self.thread_safe else Lock()
        inputs = _Sequence(
            items,
            self.channels,
            self.grid,
            grid or self.grid,
            where,
            torch.arange(len(items)),
            lock,
        )
        return Examples(inputs, labels, torch.arange(len(labels)))


class _WrongInput(ValueError):
    """An input that is no image or array of the data set's shape."""


@dataclass(frozen=True)
class _Sequence(Encoded):
    items: Sequence[Item]
    channels: int
    stored: tuple[int, ...]
    grid: tuple[int, ...]
    where: str
    members: Tensor
    lock: Any = field(compare=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.members), self.channels, *self.grid

    def decode(self, item: int, view: View | None = None, number: int = 0) -> Array:
        number = int(self.members[item])
        try:
            with self.lock or nullcontext():
                value = self.items[number][0]
            # images are resized by themselves, arrays from the data set's own grid
            grid = self.grid if hasattr(value, "getexif") else self.stored
            pixels = pixels_of(value, (self.channels, *grid))
            return seen(pixels if grid == self.grid else _interpolated(pixels, self.grid), view)
        except Exception as error:
            reason = str(error) if isinstance(error, _WrongInput) else error_summary(error)
            raise LiereError(f"{self.where}, item {number}: {reason}") from error

    def take(self, chosen: Tensor) -> "_Sequence":
        return replace(self, members=self.members[chosen])


def _interpolated(pixels: Array, grid: tuple[int, ...]) -> Array:
    mode = "bilinear" if len(grid) == 2 else "trilinear"
    values = torch.from_numpy(pixels)[None].float()
    resized = F.interpolate(values, grid, mode=mode, antialias=mode == "bilinear")
    return resized[0].round().clamp(0, 255).byte().numpy()


def pixels_of(value: Any, shape: tuple[int, ...] | None) -> Array:
    """An input as uint8 [C, *grid].

    Args:
        value: a PIL image, which is cropped and resized to the grid; or an array or tensor of that
            shape, uint8 or floats from 0 to 1.
        shape: [C, *grid]; None: the value's own.

    Raises _WrongInput: another type, shape or range.
    """
    if hasattr(value, "getexif"):  # a PIL image
        image = value.convert("RGB") if shape is None or shape[0] == 3 else value.convert("L")
        size = shape[1:] if shape is not None else (image.height, image.width)
        if image.mode == "L":
            return fit(image.convert("RGB"), size)[:1]
        return fit(image, size)
    array = np.asarray(value.numpy() if isinstance(value, Tensor) else value)
    if shape is not None and array.shape != shape:
        raise _WrongInput(f"an input has the shape {array.shape}, but {shape} is expected")
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):
            raise _WrongInput(
                f"float values from {array.min():g} to {array.max():g} were found, but 0 to 1 are "
                "expected: return inputs that are not normalised"
            )
        return np.round(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise _WrongInput(f"values are {array.dtype}, but uint8 or floats are expected")
    return array


def save_items(datasets: Mapping[str, Any], path: Path, columns: tuple[str, str]) -> None:
    """Writes splits as an ``.npz`` file that the data set ``array`` reads.

    Args:
        datasets: by split, or all under the empty name; sequences of an input and a class, or of
            mappings with the two ``columns``.

    Raises LiereError: inputs of several shapes, or that are no images or arrays.
    """
    arrays: dict[str, Array] = {}
    for split, items in datasets.items():
        inputs: list[Array] = []
        labels: list[int] = []
        for number in range(len(items)):
            item = items[number]
            try:
                pair = [item[name] for name in columns] if isinstance(item, Mapping) else item
                inputs.append(pixels_of(pair[0], inputs[0].shape if inputs else None))
                labels.append(int(pair[1]))
                if inputs[-1].shape[0] not in (1, 3, 4):
                    raise _WrongInput(
                        f"an input has the shape {inputs[-1].shape}, but 1, 3 or 4 "
                        "channels come first"
                    )
            except (ValueError, TypeError, IndexError, KeyError) as error:
                raise LiereError(f"{split}, item {number} ({shortened(item)}): {error}") from None
        ending = f"_{split}" if split else ""
        # channels last, which no one can take for slices of a volume
        arrays[f"x{ending}"] = np.moveaxis(np.stack(inputs), 1, -1)
        arrays[f"y{ending}"] = np.array(labels, np.int64)
    unfinished = path.with_name(f".{path.name}.unfinished.npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    with unfinished.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    unfinished.replace(path)
