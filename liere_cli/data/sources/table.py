"""Labelled images and clips in the rows of parquet files or of a table from the hub."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import partial, reduce
from operator import or_
from typing import Any, Literal

import numpy as np

from liere_cli.data.augment.settings import View
from liere_cli.data.base import Array
from liere_cli.data.sources.base import (
    Broken,
    Decoding,
    Item,
    Part,
    Source,
    StoredItem,
    check_unchanged,
    item_digest,
)
from liere_cli.data.sources.decode_image import decode_image, decoding_of
from liere_cli.data.sources.items.stored import StoredImages, images_in, stored_images
from liere_cli.data.sources.labels import Label, read_classes
from liere_cli.data.sources.local import Tables
from liere_cli.data.sources.parquet import Shard
from liere_cli.errors import LiereError, UsageError

_LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target", "cls")


class Table(Source):
    """One image, or one clip as a list of images, in each row.

    Args:
        images, label: names of the columns of images, or of lists of images, and of classes.
        group: name of the column that identifies recordings.
        others: names of further columns that a scan needs.
        clips: whether a row has a list of frames, and not one image.
        left: files beside these that are left aside, by the reason.

    Raises:
        LiereError: a file that is broken, lacks a column or has no rows, or labels that don't
            identify classes.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        images: str,
        label: str,
        group: str | None = None,
        others: Sequence[str] = (),
        *,
        clips: bool = False,
        left: Counter[str] | None = None,
    ) -> None:
        self.shards = list(shards)
        self.clips = clips
        self.left = left or Counter()
        self.file_count = len(self.shards)
        self.images = images
        self.label = label
        #: the images in each row of each shard, where there is random access
        self.stored: list[StoredImages] = []
        self.group = group
        self._columns = [name for name in (images, label, group, *others) if name]
        self._starts = np.cumsum([0] + [shard.row_count() for shard in self.shards]).tolist()
        for shard in self.shards:
            missing = set(self._columns) - set(shard.columns())
            if missing:
                there = f"(there are: {', '.join(shard.columns())})"
                raise LiereError(f"{shard.path} has no column '{sorted(missing)[0]}' {there}")
        self._check_rows()
        self._class_numbers, self.names = read_classes(self.shards, label)
        self.classes = len(self.names)

    def _check_rows(self) -> None:
        counts = Counter[int]()
        for shard in self.shards:
            counts[shard.split] += shard.row_count()
        for shard in self.shards:
            if not counts[shard.split]:
                raise LiereError(f"{shard.path} has no rows")

    def stamp(self) -> list[object]:
        files = [stamp for shard in self.shards for stamp in shard.stamp()]
        return [type(self).__name__, self._columns, [s.split for s in self.shards], *files]

    def parts(self) -> list[Part]:
        return [
            Part(shard.row_count(), partial(self._scan_shard, number))
            for number, shard in enumerate(self.shards)
        ]

    def _scan_shard(self, shard: int) -> Iterator[Item | Broken]:
        for number, where, split, row in self._rows(self._columns, shards=(shard,)):
            images = _images_in(row[self.images], where)
            if not self.clips and len(images) > 1:
                raise LiereError(
                    f"{where} has {len(images)} images in '{self.images}', but one is expected: "
                    "use video:PATH for lists of frames"
                )
            label = self._class_number(row[self.label], where)
            # a row without a recording is one by itself
            group = "" if self.group is None or row[self.group] is None else str(row[self.group])
            try:
                decoding = _decoding(images, where)
            except UsageError:
                raise  # an option is missing, nothing is broken
            except LiereError as error:
                yield Broken(number, str(error))
                continue
            yield Item(item_digest(*images), label, group, split, (number,), decoding)

    def with_random_access(self) -> "Table":
        mapped = copy(self)
        mapped.stored = [stored_images(shard, self.images) for shard in self.shards]
        return mapped

    def decode_at(
        self,
        rows: Array,
        grid: tuple[int, ...],
        digest: bytes,
        view: View | None = None,
        share: float = 1.0,
    ) -> Array:
        if not self.stored:
            raise TypeError("rows of parquet are read one by one with random access alone")
        contents = []
        for number in rows.tolist():
            shard = bisect_right(self._starts, number) - 1
            contents += self.stored[shard](number - self._starts[shard])
        where = self._name(int(rows[0]))
        check_unchanged(contents, digest, where)
        return _decode(_frames(contents, grid), grid, where, view, share)

    def _name(self, number: int) -> str:
        shard = bisect_right(self._starts, number) - 1
        return f"{self.shards[shard].path} row {number - self._starts[shard]}"

    def _class_number(self, label: Label, where: str) -> int:
        if label not in self._class_numbers:
            raise LiereError(f"{where}: '{self.label}' is {label!r}, which is none of the classes")
        return self._class_numbers[label]

    def fetch(self, rows: Sequence[Array], grid: tuple[int, ...]) -> Iterator[StoredItem]:
        items = {int(row[0]): item for item, row in enumerate(rows)}
        for number, where, _, row in self._rows([self.images], items.__contains__):
            images = _frames(_images_in(row[self.images], where), grid)
            yield StoredItem(items[number], partial(_decode, images, grid, where))

    def _rows(
        self,
        names: list[str],
        selects: Callable[[int], bool] = lambda number: True,
        shards: Sequence[int] | None = None,
    ) -> Iterator[tuple[int, str, int, dict[str, Any]]]:
        """Number, name for messages, split and values of the selected rows of these shards."""
        for position in range(len(self.shards)) if shards is None else shards:
            shard, start = self.shards[position], self._starts[position]
            for first, batch in shard.batches(names):
                columns = {name: batch.column(name) for name in names}
                for offset in range(batch.num_rows):
                    number, where = start + first + offset, f"{shard.path} row {first + offset}"
                    if selects(number):
                        values = {name: column[offset].as_py() for name, column in columns.items()}
                        yield number, where, shard.split, values


class FrameTable(Table):
    """One frame in each row, collected by the columns ``clip`` and ordered by ``frame``;
    ``group_of`` maps the values of ``clip`` to the recording.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        images: str,
        label: str,
        clip: tuple[str, ...],
        frame: str,
        group_of: Callable[[tuple[str, ...]], str],
    ) -> None:
        super().__init__(shards, images, label, None, (*clip, frame))
        self.clip = clip
        self.frame = frame
        self.group_of = group_of

    def parts(self) -> list[Part]:
        # the frames of a clip may lie in several files
        return [Part(int(self._starts[-1]), self._scan)]

    def _scan(self) -> Iterator[Item]:
        clips: dict[tuple[int, tuple[str, ...]], list[tuple[int, int, bytes, int, Decoding]]] = {}
        for number, where, split, row in self._rows(self._columns):
            key = tuple(str(row[name]) for name in self.clip)
            (image,) = _images_in(row[self.images], where)
            label = self._class_number(row[self.label], where)
            decoding = decoding_of(image, where)
            frame = (row[self.frame], number, item_digest(image), label, decoding)
            clips.setdefault((split, key), []).append(frame)
        for (split, key), frames in clips.items():
            frames.sort()
            yield Item(
                item_digest(*(frame[2] for frame in frames)),
                frames[0][3],
                self.group_of(key),
                split,
                tuple(frame[1] for frame in frames),
                reduce(or_, (frame[4] for frame in frames)),
            )

    def fetch(self, rows: Sequence[Array], grid: tuple[int, ...]) -> Iterator[StoredItem]:
        chosen = [row[sampled(len(row), grid[0])].tolist() for row in rows]
        items_of_row: dict[int, list[int]] = {}
        for item, numbers in enumerate(chosen):
            for number in set(numbers):
                items_of_row.setdefault(number, []).append(item)
        pending: dict[int, dict[int, bytes]] = {}
        for number, where, _, row in self._rows([self.images], items_of_row.__contains__):
            for item in items_of_row[number]:
                frames = pending.setdefault(item, {})
                frames[number] = _images_in(row[self.images], where)[0]
                if len(frames) == len(set(chosen[item])):
                    del pending[item]
                    images = [frames[index] for index in chosen[item]]
                    yield StoredItem(item, partial(_decode, images, grid, where))


def find_table(
    tables: Tables,
    images: str | None,
    label: str | None,
    kind: Literal["image", "video"],
    image_names: Sequence[str],
    group: str | None = None,
) -> Table:
    """A table whose columns are given, or found by their usual names and by the hub's features.
    Raises LiereError: a column can't be found, or there is one class only.
    """
    shards = tables.shards
    columns, features = shards[0].columns(), shards[0].features()

    def column(names: Sequence[str], feature_type: str) -> str | None:
        usual = [name for name in names if name in columns]
        # the first is the standard name; of several others none is certain
        if usual and (len(usual) == 1 or usual[0] == names[0]):
            return usual[0]
        described = {key: value for key, value in features.items() if isinstance(value, dict)}
        of_type = [key for key, value in described.items() if value.get("_type") == feature_type]
        return of_type[0] if len(of_type) == 1 else None

    images = images or column(image_names, "Image")
    label = label or column(_LABEL_COLUMNS, "ClassLabel")
    if images is None or label is None:
        missing = kind if images is None else "label"
        raise LiereError(
            f"{shards[0].path}: the column of the {missing} can't be determined (there are: "
            f"{', '.join(columns)}): give {missing}=COLUMN"
        )
    table = Table(shards, images, label, group, clips=kind == "video", left=tables.left)
    if table.classes < 2:
        raise LiereError(
            f"{shards[0].path} has one class in '{label}' ({', '.join(table.names)}), but two or "
            "more are needed"
        )
    return table


def sampled(count: int, frames: int) -> Array:
    """The numbers of the frames at the centres of ``frames`` equal parts of a clip of ``count``:
    int64 [frames], ascending; some twice where the clip has fewer.
    """
    return ((np.arange(frames) + 0.5) * count / frames).astype(np.int64)


def _decoding(images: list[bytes], where: str) -> Decoding:
    return reduce(or_, map(decoding_of, images, _names(images, where)))


def _names(images: list[bytes], where: str) -> list[str]:
    """The names of the frames of a clip in messages."""
    return [f"{where} frame {n}" for n in range(len(images))] if len(images) > 1 else [where]


def _frames(images: list[bytes], grid: tuple[int, ...]) -> list[bytes]:
    """The frames of a clip that a grid shows; images are their own."""
    return [images[n] for n in sampled(len(images), grid[0])] if len(grid) == 3 else images


def _decode(
    images: list[bytes],
    grid: tuple[int, ...],
    where: str,
    view: View | None = None,
    share: float = 1.0,
) -> Array:
    if len(grid) == 2:
        return decode_image(images[0], grid, where, view, share)
    named = zip(images, _names(images, where), strict=True)
    frames = [decode_image(data, grid[1:], name) for data, name in named]
    return np.stack(frames, 1)


def _images_in(content: object, where: str) -> list[bytes]:
    encoded = images_in(content)
    if not encoded:
        raise LiereError(f"{where} has no image: bytes of an encoded image are expected")
    return encoded
