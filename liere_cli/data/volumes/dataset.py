"""Volumes with a class each, from the user's files."""

import glob
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import AfterValidator, BeforeValidator, Field
from torch import Tensor

from liere_cli.data.augment.settings import View
from liere_cli.data.base import Array, Encoded, Examples, Split
from liere_cli.data.classification import LabelledOptions, Local
from liere_cli.data.clips.lists import LISTS
from liere_cli.data.options import (
    FLIPS,
    FRACTIONS,
    SHIFT,
    SplitFractions,
    VideoGrid,
    default_patch_edge,
    given_file,
    given_path,
)
from liere_cli.data.volumes.source import Volumes
from liere_cli.data.volumes.stored import ARRAYS, Window, open_volume
from liere_cli.errors import UsageError
from liere_cli.utils.files import digest_of


def _read_window(value: object) -> object:
    return re.split(r"\s*/\s*", value.strip()) if isinstance(value, str) and "/" in value else value


def _check_window(value: Window) -> Window:
    if isinstance(value, tuple) and value[0] >= value[1]:
        raise ValueError("a lower and a higher value are expected, as -1000/400")
    return value


class VolumeOptions(LabelledOptions):
    grid: VideoGrid = Field((32, 32, 32), description="DEPTHxROWSxCOLUMNS")
    path: str = Field(
        description="a folder by class or a list of .nii, .nii.gz, .npy or .zarr, or one .npy, "
        ".npz or .zarr of many volumes"
    )
    fractions: SplitFractions = Field((0.8, 0.1, 0.1), description=FRACTIONS)
    flips: bool = Field(False, description=FLIPS)
    shift: int = Field(0, ge=0, description=SHIFT)
    window: Annotated[
        tuple[float, float] | Literal["volume"] | None,
        BeforeValidator(_read_window),
        AfterValidator(_check_window),
    ] = Field(
        None,
        description="values that become black and white, as -1000/400; volume: the 0.5th and "
        "99.5th percentile of each volume; null: 0/255 of uint8",
    )
    crop: bool = Field(
        False, description="patches of the grid's size, random in training; false: resized volumes"
    )
    views: int = Field(
        1, ge=1, le=1000, description="patches of a volume whose scores evaluation averages"
    )
    labels_file: str | None = Field(
        None, description="labels of one array, .npy or text; null: in the file"
    )
    volumes: str | None = Field(
        None, description="folder of the volumes that a list names; null: the list's own"
    )


class VolumePath(Local):
    """Any local volumes, resized to the grid or in patches of its size.

    Axes are depth, rows and columns. NIfTI files are brought to one orientation, and their values
    scaled as their headers say. Evaluation averages the probabilities of ``views`` patches of each
    volume, which is one item.
    """

    name = "volumes"
    summary = "NIfTI, NumPy or zarr volumes: a folder by class, a list, or one array of many"
    source = "volumes:PATH"
    axes = 3
    Options = VolumeOptions
    options: VolumeOptions  # type: ignore[assignment]

    def __init__(self, options: VolumeOptions, root: Path | None = None) -> None:
        super().__init__(options, root)  # type: ignore[arg-type]
        if options.views > 1 and not options.crop:
            raise UsageError(
                "data.volumes: 'views' needs crop=true, since there is one whole volume"
            )
        self.channels = open_volume(self.items.files[0].path).channels
        self.mean, self.std = (0.5,) * self.channels, (0.25,) * self.channels
        self.patch = tuple(default_patch_edge((extent,), 4) for extent in self.grid)

    @cached_property
    def items(self) -> Volumes:
        options = self.options
        source = Volumes(options.window, options.grid if options.crop else None)
        pattern = os.path.expanduser(options.path)
        matches = [] if os.path.lexists(pattern) else sorted(glob.glob(pattern))
        paths = [given_path(self.name, match) for match in matches or [options.path]]
        kinds = {path.suffix.lower() for path in paths}
        if kinds <= LISTS:
            folder = given_path(self.name, options.volumes) if options.volumes else None
            return source.in_lists(paths, folder)
        if len(paths) == 1 and kinds <= ARRAYS:
            labels = options.labels_file
            return source.in_array(paths[0], given_file(self.name, labels) if labels else None)
        if matches or not paths[0].is_dir():
            raise UsageError(
                f"data.volumes: '{options.path}' has no classes: give a folder with one folder for "
                "each class, a list (.csv, .json) of files and labels, or an array (.npy, .npz, "
                ".zarr) of many volumes"
            )
        return source.in_folder(paths[0])

    @cached_property
    def fingerprint(self) -> str:
        return digest_of(f"{super().fingerprint} volumes {self.options.window}", 16)

    def load(self, split: Split, grid: tuple[int, ...] | None = None) -> Examples:
        if not self.options.crop:
            return super().load(split, grid)
        index, members = self._index, self.members(split)
        rows = index["rows"][index["ends"][members] - 1]  # of one row each
        readers = [partial(self.items.patch, self.items.files[row].path) for row in rows.tolist()]
        places = view_shares(self.options.views)
        patches = Patches(readers, grid or self.grid, self.channels, places)
        columns = (torch.from_numpy(index[name][members]) for name in ("labels", "groups"))
        return Examples(patches, *columns)


@dataclass(frozen=True)
class Patches(Encoded):
    """One random patch of each volume in training, and fixed ones in evaluation.

    Args:
        readers: of each volume, from the grid and shares of the room along each axis to uint8
            [C, *grid].
        places: shares of the patches of evaluation.
    """

    readers: Sequence[Callable[[tuple[int, ...], tuple[float, ...]], Array]]
    grid: tuple[int, ...]
    channels: int
    places: Sequence[tuple[float, ...]]

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.readers), self.channels, *self.grid

    @property
    def views(self) -> int:
        return len(self.places)

    @property
    def sampled(self) -> bool:
        return True

    def decode(self, item: int, view: View | None = None, number: int = 0) -> Array:
        place = self.places[number] if view is None else tuple(view.place)
        return self.readers[item](self.grid, place)

    def take(self, chosen: Tensor) -> "Patches":
        return replace(self, readers=[self.readers[number] for number in chosen.tolist()])


def view_shares(views: int) -> list[tuple[float, ...]]:
    """Where the patches of evaluation lie along each axis, from 0 to 1: a lattice of as equal
    numbers of patches along the axes as their product allows, centred.
    """
    counts, rest, factor = [1, 1, 1], views, 2
    factors = []
    while rest > 1:
        if rest % factor:
            factor += 1
        else:
            factors.append(factor)
            rest //= factor
    for factor in reversed(factors):
        # the last of the smallest
        axis = 2 - counts[::-1].index(min(counts))
        counts[axis] *= factor
    return [
        tuple((index + 0.5) / count for index, count in zip(place, counts, strict=True))
        for place in np.ndindex(*counts)
    ]
