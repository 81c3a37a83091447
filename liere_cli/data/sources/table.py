"""Labelled images and clips in the rows of parquet files or of a table from the hub."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from liere_cli.data.base import Array
from liere_cli.data.sources.base import Encoded, Item, Source, item_digest
from liere_cli.data.sources.cache import file_key
from liere_cli.data.sources.decode_image import decode_image
from liere_cli.data.sources.parquet import Shard
from liere_cli.errors import LiereError

_LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target")
Label = int | str


class Table(Source):
    """One image, or one clip as a list of images, in each row.

    Args:
        images, label: names of the columns of images, or of lists of images, and of classes.
        group: name of the column that identifies recordings.
        others: names of further columns that a scan needs.

    Raises:
        LiereError: a file that is broken or lacks a column.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        images: str,
        label: str,
        group: str | None = None,
        others: Sequence[str] = (),
    ) -> None:
        self.shards = list(shards)
        self.images = images
        self.label = label
        self.group = group
        self._columns = [name for name in (images, label, group, *others) if name]
        self._starts = np.cumsum([0] + [shard.row_count() for shard in self.shards]).tolist()
        for shard in self.shards:
            missing = set(self._columns) - set(shard.columns())
            if missing:
                there = f"(there are: {', '.join(shard.columns())})"
                raise LiereError(f"{shard.path} has no column '{sorted(missing)[0]}' {there}")
        self._class_numbers = self._read_classes()
        self.classes = len(self._class_numbers)

    def _read_classes(self) -> dict[Label, int]:
        feature = self.shards[0].features().get(self.label)
        names = feature.get("names") if isinstance(feature, dict) else None
        if names and isinstance(names, list):
            return {number: number for number in range(len(names))}
        labels: set[Label] = set()
        for shard in self.shards:
            for _, batch in shard.batches([self.label]):
                labels.update(batch.column(self.label).unique().to_pylist())
        if None in labels:
            raise LiereError(f"{self.shards[0].path}: '{self.label}' is empty in some rows")
        return {label: number for number, label in enumerate(sorted(labels))}

    def stamp(self) -> list[object]:
        files = [file_key(path) for shard in self.shards for path in shard.files or (shard.path,)]
        return [type(self).__name__, self._columns, [s.split for s in self.shards], *files]

    def scan(self) -> Iterator[Item]:
        for number, where, split, row in self._rows(self._columns):
            digest = item_digest(*_images_in(row[self.images], where))
            label = self._class_number(row[self.label], where)
            yield Item(digest, label, str(row[self.group]) if self.group else "", split, (number,))

    def _class_number(self, label: Label, where: str) -> int:
        if label not in self._class_numbers:
            raise LiereError(f"{where}: '{self.label}' is {label!r}, which is none of the classes")
        return self._class_numbers[label]

    def fetch(self, rows: Sequence[Array], grid: tuple[int, ...]) -> Iterator[Encoded]:
        items = {int(row[0]): item for item, row in enumerate(rows)}
        for number, where, _, row in self._rows([self.images], items.__contains__):
            images = _images_in(row[self.images], where)
            if len(grid) == 3:
                images = [images[frame] for frame in sampled(len(images), grid[0])]
            yield Encoded(items[number], partial(_decode, images, grid, where))

    def _rows(
        self, names: list[str], selects: Callable[[int], bool] = lambda number: True
    ) -> Iterator[tuple[int, str, int, dict[str, Any]]]:
        """Number, name for messages, split and values of the selected rows."""
        for shard, start in zip(self.shards, self._starts, strict=False):
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

    def scan(self) -> Iterator[Item]:
        clips: dict[tuple[int, tuple[str, ...]], list[tuple[int, int, bytes, int]]] = {}
        for number, where, split, row in self._rows(self._columns):
            key = tuple(str(row[name]) for name in self.clip)
            (image,) = _images_in(row[self.images], where)
            label = self._class_number(row[self.label], where)
            frame = (row[self.frame], number, item_digest(image), label)
            clips.setdefault((split, key), []).append(frame)
        for (split, key), frames in clips.items():
            frames.sort()
            yield Item(
                item_digest(*(digest for _, _, digest, _ in frames)),
                frames[0][3],
                self.group_of(key),
                split,
                tuple(row for _, row, _, _ in frames),
            )

    def fetch(self, rows: Sequence[Array], grid: tuple[int, ...]) -> Iterator[Encoded]:
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
                    yield Encoded(item, partial(_decode, images, grid, where))


def find_table(
    shards: Sequence[Shard],
    images: str | None,
    label: str | None,
    kind: Literal["image", "video"],
    image_names: Sequence[str],
    group: str | None = None,
) -> Table:
    """A table whose columns are given, or found by their usual names and by the hub's features.
    Raises LiereError: a column can't be found, or there is one class only.
    """
    columns, features = shards[0].columns(), shards[0].features()

    def column(names: Sequence[str], feature_type: str) -> str | None:
        if usual := [name for name in names if name in columns]:
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
    table = Table(shards, images, label, group)
    if table.classes < 2:
        raise LiereError(f"{shards[0].path} has one class, but two or more are needed")
    return table


def sampled(count: int, frames: int) -> Array:
    """The numbers of the frames at the centres of ``frames`` equal parts of a clip of ``count``:
    int64 [frames], ascending; some twice where the clip has fewer.
    """
    return ((np.arange(frames) + 0.5) * count / frames).astype(np.int64)


def _decode(images: list[bytes], grid: tuple[int, ...], where: str) -> Array:
    if len(grid) == 2:
        return decode_image(images[0], grid, where)
    names = (f"{where} frame {number}" for number in range(len(images)))
    frames = [decode_image(data, grid[1:], name) for data, name in zip(images, names, strict=True)]
    return np.stack(frames, 1)


def _images_in(content: object, where: str) -> list[bytes]:
    images = content if isinstance(content, list) else [content]
    stored = [item.get("bytes") if isinstance(item, dict) else item for item in images]
    encoded = [item for item in stored if isinstance(item, bytes)]
    if not stored or len(encoded) < len(stored):
        raise LiereError(f"{where} has no image: bytes of an encoded image are expected")
    return encoded
