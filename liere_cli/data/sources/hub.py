"""Where named sets lie: a local mirror first, then the hub's cache, then the hub."""

import os
import re
import socket
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from liere_cli.data.sources.base import SPLITS, UNASSIGNED
from liere_cli.data.sources.parquet import Shard
from liere_cli.errors import LiereError

_PART_WORDS = {
    "train": 0, "training": 0,
    "val": 1, "valid": 1, "validation": 1, "dev": 1,
    "test": 2, "testing": 2,
}  # fmt: skip
_LEVELS = ("", "*/", "*/*/")


def part_of(name: str) -> int:
    """The split that the name of a file or folder speaks of, such as ``cifar100-train-00000``."""
    for word in re.split(r"[^a-z]+", name.lower()):
        if word in _PART_WORDS:
            return _PART_WORDS[word]
    return UNASSIGNED


def shards_of(files: Sequence[Path]) -> list[Shard]:
    """Parquet files in the order of their names, each with the split that its name speaks of.

    Files without such a name are left out where others have one.
    """
    parts = {path: part_of(path.stem) for path in sorted(files)}
    named = {path: part for path, part in parts.items() if part != UNASSIGNED}
    return [Shard(part, path) for path, part in (named or parts).items()]


def find_parquet(root: Path | None, names: Sequence[str]) -> list[Shard]:
    """The parquet files of a set in a mirror; empty when it is not there.

    Looked for are ``NAME-train*.parquet`` and so on, and files named after a split below a folder
    NAME (as in a clone from the hub), up to two folders deep.
    """
    if root is None:
        return []
    for name in names:
        for level in _LEVELS:
            for pattern in (f"{level}{name}-*.parquet", f"{level}{name}/**/*.parquet"):
                shards = shards_of([path for path in root.glob(pattern) if path.is_file()])
                if any(shard.part == 0 for shard in shards):
                    return shards
    return []


def find_path(root: Path | None, names: Sequence[str]) -> Path | None:
    """The file or folder with one of the names in a mirror, up to two folders deep."""
    if root is not None:
        for name in names:
            for level in _LEVELS:
                for found in sorted(root.glob(f"{level}{name}")):
                    return found
    return None


def named_at_hand(name: str, repository: str, root: Path | None) -> bool:
    """Whether a named set lies in the mirror or in the cache of ``datasets``."""
    return bool(find_parquet(root, (name,))) or _in_hub_cache(repository)


def named_shards(name: str, repository: str, root: Path | None) -> list[Shard]:
    """A named set from the mirror, else from the hub through the cache of ``datasets``.

    Raises:
        LiereError: what was tried, and how to go on.
    """
    found = find_parquet(root, (name,))
    if found:
        return found
    try:
        return _load_from_hub(repository)
    except Exception as error:  # many libraries below, each with exceptions of its own
        tried = f"no {name}-train*.parquet under {root}" if root else "no data root is given"
        reason = str(error).strip().splitlines()
        raise LiereError(
            f"{name} is not at hand: {tried}, and the hub's {repository} can't be loaded "
            f"({reason[0] if reason else type(error).__name__}): put its parquet files into the "
            "folder that --data-root or LIERE_DATA names, or use a local file or a built-in set "
            "(see 'liere data')"
        ) from None


def _load_from_hub(repository: str) -> list[Shard]:
    # without this the hub's client retries for half a minute
    if not _in_hub_cache(repository) and not Path(repository).is_dir():
        _resolve_hub()
    from datasets.load import load_dataset

    sets = load_dataset(repository)
    shards = [
        Shard(
            part_of(str(split)),
            Path(f"{repository}:{split}"),
            part.data.table,
            tuple(Path(file["filename"]) for file in part.cache_files),
        )
        for split, part in sets.items()
        if part_of(str(split)) in range(len(SPLITS))
    ]
    return sorted(shards, key=lambda shard: shard.part)


def _in_hub_cache(repository: str) -> bool:
    """Whether ``datasets`` has prepared the repository before; imports nothing."""
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    cache = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets").expanduser()
    return any(cache.glob(f"{repository.replace('/', '___').lower()}/**/*.arrow"))


def _resolve_hub() -> None:
    """Raises OSError when the hub's name can't be looked up and no proxy would do it for us."""
    if not urllib.request.getproxies():
        host = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").hostname
        socket.getaddrinfo(host, 443)
