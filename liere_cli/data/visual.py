"""What images and videos have in common: augmentation, patches, and sets from a local path."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from liere_cli.config.section import Section
from liere_cli.data.classification import Labelled
from liere_cli.data.options import (
    FLIPS,
    FRACTIONS,
    SHIFT_BY_SIZE,
    VALIDATION,
    Share,
    SplitFractions,
    given_path,
)
from liere_cli.data.sources.hub import shards_of
from liere_cli.data.sources.parquet import Shard, Table
from liere_cli.errors import LiereError, UsageError

_LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target")


class VisualOptions(Section):
    grid: tuple[int, ...]
    validation: Share = Field(0.1, description=VALIDATION)
    flips: bool = Field(True, description=FLIPS)
    shift: int | None = Field(None, ge=0, description=SHIFT_BY_SIZE)


class Visual(Labelled):
    """Pictures with a class each, or sequences of them."""

    options: VisualOptions

    def __init__(self, options: VisualOptions, root: Path | None = None) -> None:
        super().__init__(options, root)
        *frames, rows, columns = self.grid = options.grid
        self.validation = options.validation
        self.flips = options.flips
        # the customary 4 pixels of 32
        self.shift = rows // 8 if options.shift is None else options.shift
        edge = patch_edge((rows, columns))
        self.patch = (*(2 - count % 2 for count in frames), edge, edge)


def patch_edge(size: Sequence[int], fewest: int = 8) -> int:
    """The largest power of two up to 16 that cuts all of ``size`` into at least ``fewest`` parts.

    With 8: 32 gives 4, 64 gives 8, 128 and more give 16.
    """
    edge = 16
    while edge > 1 and any(extent % edge or extent < fewest * edge for extent in size):
        edge //= 2
    return edge


class LocalOptions(VisualOptions):
    path: str = Field(description="a folder by class, a parquet file, or a pattern of such files")
    fractions: SplitFractions = Field((0.8, 0.1, 0.1), description=FRACTIONS)
    flips: bool = Field(False, description=FLIPS)
    shift: int | None = Field(0, ge=0, description=SHIFT_BY_SIZE)
    label: str | None = Field(None, description="parquet column of classes; null: found by name")


class Local(Visual):
    """Files of one's own, which say how many classes there are."""

    licence = "the files' own"
    options: LocalOptions

    def __init__(self, options: LocalOptions, root: Path | None = None) -> None:
        super().__init__(options, root)
        self.fractions = options.fractions
        self.classes = self.items.classes

    @classmethod
    def is_available(cls, root: Path | None) -> bool:
        return True

    @property
    def label(self) -> str:
        return self.options.path


def local_parquet(name: str, path: str) -> list[Shard]:
    """The parquet files that ``path`` means: one, a pattern, or those in a folder.

    Raises:
        UsageError: when nothing is there, or something else.
    """
    # a folder's own name may hold brackets, so a pattern is only what is no path
    pattern = os.path.expanduser(path)
    found = [] if os.path.lexists(pattern) else sorted(glob.glob(pattern))
    places = [given_path(name, match) for match in found or [path]]
    if not found and places[0].is_dir():
        return shards_of([entry for entry in places[0].glob("*.parquet") if entry.is_file()])
    strangers = [place for place in places if place.is_dir() or place.suffix != ".parquet"]
    if strangers:
        what = "folder" if strangers[0].is_dir() else "file"
        raise UsageError(
            f"data.{name}: '{strangers[0]}' is a {what}, but "
            f"{'parquet' if found else 'a folder by class or parquet'} is expected"
        )
    return shards_of(places)


def table_of(
    shards: Sequence[Shard],
    images: str | None,
    label: str | None,
    kind: Literal["image", "video"],
    usual: Sequence[str],
    group: str | None = None,
) -> Table:
    """A table whose columns are named, or found by their usual names and kinds.

    Raises:
        LiereError: when a column can't be told, or there is one class.
    """
    columns, features = shards[0].columns(), shards[0].features()
    chosen = {
        kind: images or _column(columns, features, "Image", usual),
        "label": label or _column(columns, features, "ClassLabel", _LABEL_COLUMNS),
    }
    for what, found in chosen.items():
        if found is None:
            raise LiereError(
                f"{shards[0].path}: which column holds the {what} is not clear (there are: "
                f"{', '.join(columns)}): say {what}=COLUMN"
            )
    table = Table(shards, str(chosen[kind]), str(chosen["label"]), group)
    if table.classes < 2:
        raise LiereError(f"{shards[0].path} holds one class, but two or more are needed")
    return table


def _column(
    columns: list[str], features: dict[str, object], kind: str, usual: Sequence[str]
) -> str | None:
    for name in usual:
        if name in columns:
            return name
    of_kind = [
        name
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == kind
    ]
    return of_kind[0] if len(of_kind) == 1 else None
