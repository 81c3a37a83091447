"""Builds the index of a source and its decoded items, and goes on where a killed process stopped.

Shapes: N items, B broken ones, C channels.
"""

import json
import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from liere_cli.data.base import Array
from liere_cli.data.feeding.gather import threads
from liere_cli.data.sources.base import Broken, Decoding, Item, Source, StoredItem
from liere_cli.data.sources.decode_image import quiet
from liere_cli.utils.files import TEMPORARY
from liere_cli.utils.progress import Tracker

#: items that are decoded, written and recorded as done at a time
_CHUNK = 256


def write_index(source: Source, folder: Path) -> None:
    """Scans a source, and writes the columns of its items as ``.npy`` files.

    They are ``digests`` uint8 [N, 16], ``labels``, ``groups`` and ``parts`` (the splits of the
    source) int64 [N], ``decodings`` uint8 [N], and in ``rows`` the rows or files of all items, of
    which those of an item end at ``ends`` int64 [N]; of broken items ``broken``, their rows, int64
    [B], and ``reasons``, text [B].
    """
    items: list[Item] = []
    broken: list[Broken] = []
    parts = source.parts()
    tracker = Tracker("reading items", sum(part.count for part in parts))
    with quiet():
        for number, part in enumerate(parts):
            path = folder / f"part-{number:05d}.json"
            scanned = _read_part(path)
            if scanned is None:
                scanned = list(part.scan())
                _write_part(path, scanned)
            items += [item for item in scanned if isinstance(item, Item)]
            broken += [item for item in scanned if isinstance(item, Broken)]
            tracker.advance(part.count)
    groups = {name: number for number, name in enumerate(sorted({i.group for i in items}))}
    ungrouped = iter(range(len(groups), len(groups) + len(items)))
    numbers = [groups[item.group] if item.group else next(ungrouped) for item in items]
    digests = np.frombuffer(b"".join(item.digest for item in items), np.uint8)
    columns: dict[str, Array] = {
        "digests": digests.reshape(-1, 16),
        "labels": np.array([item.label for item in items], np.int64),
        "groups": np.array(numbers, np.int64),
        "parts": np.array([item.split for item in items], np.int64),
        "decodings": np.array([item.decoding for item in items], np.uint8),
        "rows": np.array([row for item in items for row in item.rows], np.int64),
        "ends": np.cumsum([len(item.rows) for item in items], dtype=np.int64),
        "broken": np.array([item.row for item in broken], np.int64),
        "reasons": np.array([item.reason for item in broken], np.str_),
    }
    for name, column in columns.items():
        np.save(folder / f"{name}.npy", column)
    for path in folder.glob("part-*.json"):
        path.unlink()


def _write_part(path: Path, scanned: list[Item | Broken]) -> None:
    rows = [
        [item.row, item.reason]
        if isinstance(item, Broken)
        else [item.digest.hex(), item.label, item.group, item.split, item.rows, int(item.decoding)]
        for item in scanned
    ]
    text = json.dumps(rows)
    unfinished = path.with_name(f"{TEMPORARY}{path.name}")
    unfinished.write_text(f"{zlib.crc32(text.encode())}\n{text}")
    unfinished.replace(path)


def _read_part(path: Path) -> list[Item | Broken] | None:
    """What an earlier process has scanned; None if it is missing or damaged."""
    with suppress(OSError, ValueError):
        checksum, text = path.read_text().split("\n", 1)
        if int(checksum) == zlib.crc32(text.encode()):
            return [Broken(*row) if len(row) == 2 else _item(*row) for row in json.loads(text)]
    return None


def _item(digest: str, label: int, group: str, split: int, rows: list[int], decoding: int) -> Item:
    return Item(bytes.fromhex(digest), label, group, split, tuple(rows), Decoding(decoding))


def decode_into(
    folder: Path,
    shape: tuple[int, ...],
    order: Array,
    encoded: Callable[[Array], Iterator[StoredItem]],
    label: str,
) -> None:
    """Writes ``inputs.npy``, uint8 of ``shape``, [N, C, *grid].

    Args:
        order: the numbers of all items, int64 [N], in the order in which they are read.
        encoded: the items with the numbers that it is called with.
        label: the data set's name, for progress.
    """
    path, done_path = folder / "inputs.npy", folder / "done.jsonl"
    inputs, done = _opened(path, shape), np.zeros(shape[0], bool)
    for items, checksum in _recorded(done_path):
        if max(items, default=0) < len(done) and _checksum(inputs, items) == checksum:
            done[items] = True
    tracker = Tracker(f"decoding {label}", shape[0], int(done.sum()))
    left = encoded(order[~done[order]])
    with (
        quiet(),
        done_path.open("a") as record,
        ThreadPoolExecutor(threads(), "liere-decode") as pool,
    ):
        while chunk := list(islice(left, _CHUNK)):
            decoded = pool.map(lambda item: item.decode(), chunk)
            for item, pixels in zip(chunk, decoded, strict=True):
                inputs[item.item] = pixels
            items = [item.item for item in chunk]
            # a line that was cut short before stays by itself
            record.write("\n" + json.dumps([items, _checksum(inputs, items)]))
            record.flush()
            tracker.advance(len(chunk))
    inputs.flush()
    done_path.unlink()


def _checksum(inputs: Array, items: list[int]) -> int:
    return zlib.crc32(inputs[items].tobytes())


def _opened(path: Path, shape: tuple[int, ...]) -> "np.memmap[Any, np.dtype[np.uint8]]":
    """The array in a file, which is made where there is none of that shape."""
    with suppress(OSError, ValueError):
        array = np.lib.format.open_memmap(path, "r+")
        if array.shape == shape and array.dtype == np.uint8:
            return array
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    # reserves the space: a full disk is an error here, and would be a signal in mapped memory
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    return array


def _recorded(path: Path) -> Iterator[tuple[list[int], int]]:
    """Items that an earlier process has written, and the checksum of their pixels."""
    if path.is_file():
        for line in path.read_text().splitlines():
            with suppress(ValueError, TypeError):
                items, checksum = json.loads(line)
                yield items, checksum
