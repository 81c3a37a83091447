"""Rows of parquet files, or of a set from the hub: pictures and clips with labels."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from liere_cli.data.sources.base import Array, Item, Raw, Source, digest_of
from liere_cli.data.sources.cache import file_key
from liere_cli.data.sources.decode_image import decode_image
from liere_cli.errors import LiereError

_BATCH_ROWS = 256


@dataclass(frozen=True)
class Shard:
    """Rows of one split.

    Args:
        part: index into ``labelled.SPLITS``, or ``UNASSIGNED``.
        path: a parquet file; for a table from the hub, what to call it.
        table: an Arrow table, where there is no parquet file.
        files: what the rows lie in.
    """

    part: int
    path: Path
    table: Any = None
    files: tuple[Path, ...] = field(default=())

    def columns(self) -> list[str]:
        return list(self._schema().names)

    def features(self) -> dict[str, Any]:
        """The hub's description of each column, from the metadata; empty without."""
        metadata = self._schema().metadata or {}
        try:
            info = json.loads(metadata.get(b"huggingface", b"{}"))
            return dict(info["info"]["features"])
        except (ValueError, KeyError, TypeError):
            return {}

    def batches(self, columns: list[str]) -> Iterator[tuple[int, Any]]:
        """Record batches, each with the number of its first row in this shard.

        Raises:
            LiereError: for a file that is broken or can't be read.
        """
        from pyarrow.lib import ArrowException

        first = 0
        try:
            if self.table is not None:
                for batch in self.table.select(columns).to_batches(max_chunksize=_BATCH_ROWS):
                    yield first, batch
                    first += batch.num_rows
                return
            with _parquet().ParquetFile(self.path) as file:
                for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
                    yield first, batch
                    first += batch.num_rows
        except (ArrowException, OSError) as error:
            raise _broken(self.path, error) from None

    def row_count(self) -> int:
        if self.table is not None:
            return int(self.table.num_rows)
        from pyarrow.lib import ArrowException

        try:
            return int(_parquet().read_metadata(self.path).num_rows)
        except (ArrowException, OSError) as error:
            raise _broken(self.path, error) from None

    def _schema(self) -> Any:
        if self.table is not None:
            return self.table.schema
        from pyarrow.lib import ArrowException

        try:
            return _parquet().read_schema(self.path)
        except (ArrowException, OSError) as error:
            raise _broken(self.path, error) from None


def _parquet() -> Any:
    from pyarrow import parquet

    return parquet


def _broken(path: Path, error: Exception) -> LiereError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return LiereError(f"{path} is missing, broken or no parquet file: {reason}")


class Table(Source):
    """One picture (or one clip, as a list of pictures) a row.

    Args:
        shards: the rows; their numbers run on from shard to shard.
        pictures: name of the column of pictures, or of lists of pictures.
        label: name of the column of classes.
        group: name of the column that tells recordings apart.
        others: names of more columns that a scan needs.

    Raises:
        LiereError: for a file that is broken or lacks a column.
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
        self._needed = [name for name in (images, label, group, *others) if name]
        self._starts = np.cumsum([0] + [shard.row_count() for shard in self.shards])
        for shard in self.shards:
            missing = set(self._needed) - set(shard.columns())
            if missing:
                raise LiereError(
                    f"{shard.path} has no column '{sorted(missing)[0]}' (there are: "
                    f"{', '.join(shard.columns())})"
                )
        self._numbers = self._class_numbers()
        self.classes = len(self._names or self._numbers)

    def _class_numbers(self) -> dict[Any, int]:
        feature = self.shards[0].features().get(self.label)
        names = feature.get("names") if isinstance(feature, dict) else None
        names = names if isinstance(names, list) else None
        self._names: list[str] | None = names
        if names:
            return {number: number for number in range(len(names))}
        found: set[Any] = set()
        for shard in self.shards:
            for _, batch in shard.batches([self.label]):
                found.update(batch.column(self.label).unique().to_pylist())
        if None in found:
            raise LiereError(f"{self.shards[0].path}: '{self.label}' is empty in some rows")
        return {value: number for number, value in enumerate(sorted(found))}

    def stamp(self) -> list[object]:
        files = [file_key(path) for shard in self.shards for path in shard.files or (shard.path,)]
        return [type(self).__name__, self._needed, [s.part for s in self.shards], *files]

    def scan(self) -> Iterator[Item]:
        for shard, start in zip(self.shards, self._starts, strict=False):
            for first, batch in shard.batches(self._needed):
                contents = batch.column(self.images).to_pylist()
                labels = batch.column(self.label).to_pylist()
                groups = batch.column(self.group).to_pylist() if self.group else None
                for offset, (content, label) in enumerate(zip(contents, labels, strict=True)):
                    where = f"{shard.path} row {first + offset}"
                    yield Item(
                        digest_of(*_pictures_of(content, where)),
                        self._number(label, where),
                        str(groups[offset]) if groups else "",
                        shard.part,
                        (int(start) + first + offset,),
                    )

    def _number(self, label: Any, where: str) -> int:
        if label not in self._numbers:
            raise LiereError(f"{where}: '{self.label}' is {label!r}, which is none of the classes")
        return self._numbers[label]

    def fetch(self, rows: Sequence[Array], grid: tuple[int, ...]) -> Iterator[Raw]:
        wanted = {int(row[0]): item for item, row in enumerate(rows)}
        for number, where, content in self._rows(wanted.__contains__):
            images = _pictures_of(content, where)
            if len(grid) == 3:
                images = [images[frame] for frame in sampled(len(images), grid[0])]
            yield Raw(wanted[number], where, images)

    def _rows(self, wanted: Callable[[int], bool]) -> Iterator[tuple[int, str, Any]]:
        for shard, start in zip(self.shards, self._starts, strict=False):
            for first, batch in shard.batches([self.images]):
                column = batch.column(self.images)
                for offset in range(batch.num_rows):
                    number = int(start) + first + offset
                    if wanted(number):
                        yield number, f"{shard.path} row {first + offset}", column[offset].as_py()

    def decode(self, raw: Raw, grid: tuple[int, ...]) -> Array:
        if len(grid) == 2:
            return decode_image(raw.data[0], grid, raw.where)
        frames = [
            decode_image(data, grid[1:], f"{raw.where} frame {number}")
            for number, data in enumerate(raw.data)
        ]
        return np.stack(frames, 1)


class FrameTable(Table):
    """One frame a row: frames of one clip are brought together and put in order.

    Args:
        clip: names of the columns that together tell clips apart.
        frame: name of the column that numbers the frames of a clip.
        group_of: from the values of ``clip`` to the recording.
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
        for shard, start in zip(self.shards, self._starts, strict=False):
            for first, batch in shard.batches(self._needed):
                columns = {name: batch.column(name).to_pylist() for name in self._needed}
                for offset in range(batch.num_rows):
                    where = f"{shard.path} row {first + offset}"
                    key = tuple(str(columns[name][offset]) for name in self.clip)
                    (image,) = _pictures_of(columns[self.images][offset], where)
                    clips.setdefault((shard.part, key), []).append((
                        columns[self.frame][offset],
                        int(start) + first + offset,
                        digest_of(image),
                        self._number(columns[self.label][offset], where),
                    ))  # fmt: skip
        for (part, key), frames in clips.items():
            frames.sort()
            yield Item(
                digest_of(*(digest for _, _, digest, _ in frames)),
                frames[0][3],
                self.group_of(key),
                part,
                tuple(row for _, row, _, _ in frames),
            )

    def fetch(self, rows: Sequence[Array], grid: tuple[int, ...]) -> Iterator[Raw]:
        chosen = [row[sampled(len(row), grid[0])].tolist() for row in rows]
        users: dict[int, list[int]] = {}
        for item, numbers in enumerate(chosen):
            for number in set(numbers):
                users.setdefault(number, []).append(item)
        pending: dict[int, dict[int, bytes]] = {}
        for number, where, content in self._rows(users.__contains__):
            for item in users[number]:
                frames = pending.setdefault(item, {})
                frames[number] = _pictures_of(content, where)[0]
                if len(frames) == len(set(chosen[item])):
                    del pending[item]
                    yield Raw(item, where, [frames[row] for row in chosen[item]])


def sampled(count: int, wanted: int) -> Array:
    """The frames at the centres of ``wanted`` equal parts of a clip; int64, ascending."""
    return ((np.arange(wanted) + 0.5) * count / wanted).astype(np.int64)


def _pictures_of(content: Any, where: str) -> list[bytes]:
    images = content if isinstance(content, list) else [content]
    stored = [item.get("bytes") if isinstance(item, dict) else item for item in images]
    encoded = [item for item in stored if isinstance(item, bytes)]
    if not stored or len(encoded) < len(stored):
        raise LiereError(f"{where} holds no picture: bytes of an encoded image are expected")
    return encoded
