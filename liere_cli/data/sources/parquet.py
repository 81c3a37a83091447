"""Parquet files and tables from the hub: their columns, features and rows."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from liere_cli.data.sources.cache import file_key
from liere_cli.data.splits import UNASSIGNED, split_in_name
from liere_cli.errors import LiereError

if TYPE_CHECKING:
    from pyarrow.lib import RecordBatch, Schema, Table

_BATCH_ROWS = 256
SUFFIXES = frozenset({".parquet", ".parq", ".pq"})


@dataclass(frozen=True)
class Shard:
    """Rows of one split, an index into ``splits.SPLITS`` or ``UNASSIGNED``, in a parquet file; or
    from the hub an Arrow table, the files that hold it, and as ``path`` its name in messages; or a
    parquet file that is read over the network.

    Args:
        url: of a file on the hub, as its file system names it; empty: ``path`` is the file.
        described: the hub's description of columns, where the file has none.
    """

    split: int
    path: Path
    table: "Table | None" = None
    files: tuple[Path, ...] = field(default=())
    url: str = ""
    described: "Mapping[str, object]" = field(default_factory=dict)

    def stamp(self) -> list[object]:
        """Changes when the content does; that of a commit on the hub never does."""
        return [self.url] if self.url else [file_key(path) for path in self.files or (self.path,)]

    def columns(self) -> list[str]:
        return list(self._schema().names)

    def features(self) -> dict[str, object]:
        """The hub's description of each column, from the metadata; empty if there is none."""
        metadata = self._schema().metadata or {}
        try:
            info = json.loads(metadata.get(b"huggingface", b"{}"))
            return dict(info["info"]["features"])
        except (ValueError, KeyError, TypeError):
            return dict(self.described)

    def batches(self, columns: list[str]) -> Iterator[tuple[int, "RecordBatch"]]:
        """Record batches, each with the number of its first row in this shard; LiereError for a
        file that is broken or can't be read.
        """
        first = 0
        with _reading(self.path):
            for batch in self._batches(columns):
                yield first, batch
                first += batch.num_rows

    def _batches(self, columns: list[str]) -> Iterator["RecordBatch"]:
        from pyarrow import parquet

        if self.table is not None:
            yield from self.table.select(columns).to_batches(max_chunksize=_BATCH_ROWS)
            return
        with parquet.ParquetFile(self._file()) as file:
            yield from file.iter_batches(_BATCH_ROWS, columns=columns)

    def row_count(self) -> int:
        """Number of rows; errors as in :meth:`batches`."""
        from pyarrow import parquet

        if self.table is not None:
            return int(self.table.num_rows)
        with _reading(self.path):
            return int(parquet.read_metadata(self._file()).num_rows)

    def _schema(self) -> "Schema":
        from pyarrow import parquet

        if self.table is not None:
            return self.table.schema
        with _reading(self.path):
            return parquet.read_schema(self._file())

    def _file(self) -> "Path | IO[bytes]":
        if not self.url:
            return self.path
        from huggingface_hub import HfFileSystem

        file: IO[bytes] = HfFileSystem().open(self.url, "rb")
        return file


def shards_of(files: Sequence[Path]) -> list[Shard]:
    """Parquet files in the order of their names, each with the split in its name.

    Files without a split in their names are left out where others have one.
    """
    splits = {path: split_in_name(path.stem) for path in sorted(files)}
    assigned = {path: split for path, split in splits.items() if split != UNASSIGNED}
    return [Shard(split, path) for path, split in (assigned or splits).items()]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    from pyarrow.lib import ArrowException

    try:
        yield
    except (ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LiereError(f"{path} is missing, broken or not a parquet file: {reason}") from None
