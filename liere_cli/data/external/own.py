"""Data sets of the user's own code: any map-style sequence of inputs and labels.

Shapes: N items, C channels.
"""

import operator
import zipfile
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
from liere_cli.errors import LiereError, shortened, unwritable
from liere_cli.utils.files import digest_of, locked
from liere_cli.utils.user_code import error_summary, file_digest

#: an input and its class: a PIL image, or uint8 or floats from 0 to 1, [C, *grid]
Item = tuple[Any, int]


_SHAPES = "[channels, *grid] with 1, 3 or 4 channels"


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


def save_items(
    datasets: Mapping[str, Any],
    path: Path,
    columns: tuple[str, str],
    grid: tuple[int, ...] | None = None,
) -> None:
    """Writes splits as an ``.npz`` file that the data set ``array`` reads, item by item.

    Args:
        datasets: by split, or all under the empty name; sequences of an input and a class, or of
            mappings with the two ``columns``.
        grid: what inputs are resized to; None: they have one shape.

    Raises LiereError: no items, inputs of several shapes without a grid, inputs that are no images
    or arrays, or a file that can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f".{path.name}.lock")):
            if path.is_file():
                return
            unfinished = path.with_name(f".{path.name}.unfinished")
            try:
                with zipfile.ZipFile(unfinished, "w") as archive:
                    for split, items in datasets.items():
                        _save_split(archive, split, items, columns, grid)
                unfinished.replace(path)
            finally:
                unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error, "set LIERE_CACHE to another folder") from None


def _save_split(
    archive: zipfile.ZipFile,
    split: str,
    items: Any,
    columns: tuple[str, str],
    grid: tuple[int, ...] | None,
) -> None:
    where, ending = (f"{split}, ", f"_{split}") if split else ("", "")
    labels = np.zeros(len(items), np.int64)
    if not len(labels):
        raise LiereError(f"data_from: {where or 'the data set '}has no items")
    shape: tuple[int, ...] | None = None
    with archive.open(f"x{ending}.npy", "w", force_zip64=True) as file:
        for number in range(len(labels)):
            item = _item(items, number, where)
            try:
                pair = [item[name] for name in columns] if isinstance(item, Mapping) else item
                labels[number] = operator.index(pair[1])
                pixels = _resized_input(pair[0], grid, shape)
            except (ValueError, TypeError, IndexError, KeyError) as error:
                # arrays are written in several lines
                content = " ".join(shortened(item).split())
                raise LiereError(f"{where}item {number} ({content}): {error}") from None
            if shape is None:
                shape = pixels.shape
                # channels last, which no one can take for slices of a volume
                stored = {"descr": "|u1", "fortran_order": False}
                stored["shape"] = (len(labels), *shape[1:], shape[0])
                np.lib.format.write_array_header_1_0(file, stored)
            file.write(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)).data)
    with archive.open(f"y{ending}.npy", "w") as file:
        np.lib.format.write_array(file, labels, allow_pickle=False)


def _item(items: Any, number: int, where: str) -> Any:
    try:
        return items[number]
    except Exception as error:  # the user's own code
        raise LiereError(f"data_from: {where}item {number}: {error_summary(error)}") from error


def _resized_input(
    value: Any, grid: tuple[int, ...] | None, shape: tuple[int, ...] | None
) -> Array:
    """An input as uint8 [C, *grid], of the ``shape`` of earlier ones."""
    axes = 2 if hasattr(value, "getexif") else np.ndim(value) - 1
    if axes not in (2, 3) or (grid is not None and len(grid) != axes):
        expected = f"{len(grid)} axes after the channels" if grid else _SHAPES
        raise _WrongInput(
            f"the input has the shape {tuple(np.shape(value))}, but {expected} is expected"
        )
    if grid is not None and hasattr(value, "getexif"):
        pixels = pixels_of(value, (3, *grid))
    else:
        pixels = pixels_of(value, None)
    if pixels.shape[0] not in (1, 3, 4):
        raise _WrongInput(f"the input has the shape {pixels.shape}, but {_SHAPES} is expected")
    if grid is not None and pixels.shape[1:] != grid:
        pixels = _interpolated(pixels, grid)
    if shape is not None and pixels.shape != shape:
        remedy = " (give a grid, as grid=64, to resize them)" if grid is None else ""
        raise _WrongInput(
            f"the input has the shape {pixels.shape}, but {shape} is expected, as of the items "
            f"before{remedy}"
        )
    return pixels
