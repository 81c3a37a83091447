"""Published data sets: from a local mirror, else the hub's cache, else the hub."""

import os
import socket
import urllib.request
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

from liere_cli.data.sources.parquet import Shard, shards_of
from liere_cli.data.splits import TRAIN, UNASSIGNED, split_in_name
from liere_cli.errors import LiereError

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
    return bool(find_parquet(root, (name,))) or _in_hub_cache(repository)


def published_shards(name: str, repository: str, root: Path | None) -> list[Shard]:
    """A published data set from the mirror, else from the hub through the cache of ``datasets``.
    Raises LiereError: it can't be loaded; names what was tried and the alternatives.
    """
    shards = find_parquet(root, (name,))
    if shards:
        return shards
    try:
        return _load_from_hub(repository)
    except Exception as error:  # the libraries raise errors of any class
        tried = f"no {name}-train*.parquet under {root}" if root else "no data root is given"
        reason = str(error).strip().splitlines()
        raise LiereError(
            f"{name} is not available: {tried}, and the hub's {repository} can't be loaded "
            f"({reason[0] if reason else type(error).__name__}): put its parquet files into the "
            "folder that --data-root or LIERE_DATA names, or use a local file or a built-in data "
            "set (see 'liere data')"
        ) from None


def _load_from_hub(repository: str) -> list[Shard]:
    # fails at once where the hub's client would retry for half a minute
    if not _in_hub_cache(repository) and not Path(repository).is_dir():
        _resolve_hub()
    from datasets.load import load_dataset

    shards = [
        Shard(
            split_in_name(str(split)),
            Path(f"{repository}:{split}"),
            rows.data.table,
            tuple(Path(file["filename"]) for file in rows.cache_files),
        )
        for split, rows in load_dataset(repository).items()
        if split_in_name(str(split)) != UNASSIGNED
    ]
    return sorted(shards, key=lambda shard: shard.split)


def _in_hub_cache(repository: str) -> bool:
    """Whether ``datasets`` has prepared the repository before; imports nothing."""
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    cache = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets").expanduser()
    return any(cache.glob(f"{repository.replace('/', '___').lower()}/**/*.arrow"))


def _resolve_hub() -> None:
    """Raises OSError if the hub's host name can't be resolved and no proxy is set."""
    if not urllib.request.getproxies():
        host = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").hostname
        socket.getaddrinfo(host, 443)
