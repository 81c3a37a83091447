"""Random access to the encoded images in the rows of a table.

Shapes: R rows, I images, M bytes.
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np

from liere_cli.data.sources.cache import Arrays, prepared
from liere_cli.data.sources.parquet import Shard
from liere_cli.utils.files import digest_of
from liere_cli.utils.progress import Tracker

#: the images of a row, from its number in its shard
StoredImages = Callable[[int], list[bytes]]


def stored_images(shard: Shard, column: str) -> StoredImages:
    """Reads the images of single rows: from an Arrow table where it is mapped, and of a parquet
    file, which can only be read in whole groups of rows, from a copy of them in the cache.
    """
    if shard.table is not None:
        values = shard.table.column(column)
        return lambda row: images_in(values[row].as_py())
    key = digest_of(repr((shard.stamp(), column)), 32)
    arrays = prepared(f"encoded/{key}", lambda folder: _copy(shard, column, folder))
    return lambda row: _images_at(arrays, row)


def images_in(content: object) -> list[bytes]:
    """The encoded images in a value of a table, one or a list; none where one is missing."""
    images = content if isinstance(content, list) else [content]
    stored = [item.get("bytes") if isinstance(item, dict) else item for item in images]
    encoded = [item for item in stored if isinstance(item, bytes)]
    return encoded if len(encoded) == len(stored) else []


def _images_at(arrays: Arrays, row: int) -> list[bytes]:
    ends, rows, contents = arrays["ends"], arrays["rows"], arrays["contents"]
    first = int(rows[row - 1]) if row else 0
    bounds = [int(ends[first - 1]) if first else 0, *ends[first : int(rows[row])].tolist()]
    return [contents[a:b].tobytes() for a, b in pairwise(bounds)]


def _copy(shard: Shard, column: str, folder: Path) -> None:
    """Writes the bytes of all images one after another, uint8 [M], where each image ends in them,
    int64 [I], and where the images of each row end among all, int64 [R].
    """
    ends, rows, total = [], [], 0
    tracker = Tracker(f"copying images of {shard.path.name}", shard.row_count())
    with (folder / "contents.npy").open("w+b") as file:
        _write_header(file, 0)
        for _, batch in shard.batches([column]):
            for value in batch.column(column):
                for image in images_in(value.as_py()):
                    total += file.write(image)
                    ends.append(total)
                rows.append(len(ends))
            tracker.advance(batch.num_rows)
        file.seek(0)
        _write_header(file, total)
    np.save(folder / "ends.npy", np.array(ends, np.int64))
    np.save(folder / "rows.npy", np.array(rows, np.int64))


def _write_header(file: BinaryIO, count: int) -> None:
    # the length of the header does not depend on the count, for which numpy leaves space
    header = {"descr": "|u1", "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(file, header)
