"""Published data sets in a local mirror, and what is known of the hub without its libraries."""

import os
import socket
import urllib.request
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

from liere_cli.data.sources.parquet import Shard, shards_of
from liere_cli.data.splits import TRAIN

_LEVELS = ("", "*/", "*/*/")


def find_parquet(root: Path | None, names: Sequence[str]) -> list[Shard]:
    """The parquet files of a data set in a mirror; empty if there are none.

    They are ``NAME-train*.parquet`` and so on, or files named after a split in a folder ``NAME``
    (as in a clone from the hub), up to two folders deep.
    """
    if root is None:
        return []
    for name, level, ending in product(names, _LEVELS, ("-*.parquet", "/**/*.parquet")):
        paths = root.glob(f"{level}{name}{ending}")
        shards = shards_of([path for path in paths if path.is_file()])
        if any(shard.split == TRAIN for shard in shards):
            return shards
    return []


def find_paths(root: Path | None, names: Sequence[str]) -> Iterator[Path]:
    """The files and folders with one of the names in a mirror, up to two folders deep."""
    if root is not None:
        for level, name in product(_LEVELS, names):
            yield from sorted(root.glob(f"{level}{name}"))


def is_published_available(name: str, repository: str, root: Path | None) -> bool:
    """Whether a published data set is in the mirror or in the cache of ``datasets``."""
    return bool(find_parquet(root, (name,))) or in_hub_cache(repository)


def in_hub_cache(repository: str) -> bool:
    """Whether ``datasets`` has prepared the repository before; imports nothing."""
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    cache = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets").expanduser()
    return any(cache.glob(f"{repository.replace('/', '___').lower()}/**/*.arrow"))


def resolve_hub() -> None:
    """Raises OSError if the hub's host name can't be resolved and no proxy is set."""
    if not urllib.request.getproxies():
        host = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").hostname
        socket.getaddrinfo(host, 443)
