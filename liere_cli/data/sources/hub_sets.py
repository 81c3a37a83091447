"""Any data set of the Hugging Face hub, or that the library ``datasets`` opens from a folder.

Parquet is downloaded file by file, so that an interrupted download goes on, or read over the
network; other formats are prepared by ``datasets``. What was opened once is opened again without a
network, by the record ``CACHE/hub/KEY.json`` of its files at a commit.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from liere_cli.data.base import Split
from liere_cli.data.sources.hub import find_parquet, in_hub_cache, resolve_hub
from liere_cli.data.sources.parquet import Shard
from liere_cli.data.splits import SPLITS, UNASSIGNED, split_in_name
from liere_cli.errors import LiereError, unknown
from liere_cli.utils.files import digest_of, write_atomically
from liere_cli.utils.paths import cache_root
from liere_cli.utils.progress import Tracker


@dataclass(frozen=True)
class HubRequest:
    """A data set to open.

    Args:
        repository: ``OWNER/NAME``, or a folder.
        config: name of its configuration; None: the only or default one.
        revision: commit, branch or tag; None: the main branch.
        splits: names of its splits by ours; empty: found by name.
        stream: parquet is read over the network, and not stored.
    """

    repository: str
    config: str | None = None
    revision: str | None = None
    splits: Mapping[Split, str] = field(default_factory=dict)
    stream: bool = False

    @property
    def is_folder(self) -> bool:
        return Path(self.repository).expanduser().is_dir()


@dataclass(frozen=True)
class HubTables:
    """The commit that was opened, empty for a folder, and its rows."""

    revision: str
    shards: list[Shard]


@dataclass(frozen=True)
class _Layout:
    """What a data set consists of.

    Args:
        files: parquet files by split, paths in the repository; None: of another format.
        features: the hub's description of each column.
    """

    revision: str
    files: dict[str, list[str]] | None
    features: dict[str, Any]


def published_shards(name: str, repository: str, root: Path | None) -> list[Shard]:
    """A published data set from the mirror, else from the hub or what it has stored here. Raises
    LiereError: it can't be loaded; names what was tried and the alternatives.
    """
    shards = find_parquet(root, (name,))
    if shards:
        return shards
    request = HubRequest(repository)
    try:
        if in_hub_cache(repository):
            return _prepared_shards(request, "")
        return _opened(request).shards
    except Exception as error:  # the libraries raise errors of any class
        tried = f"no {name}-train*.parquet under {root}" if root else "no data root is given"
        raise LiereError(
            f"{name} is not available: {tried}, and the hub's {repository} can't be loaded "
            f"({_reason(error)}): put its parquet files into the folder that --data-root or "
            "LIERE_DATA names, or use a local file or a built-in data set (see 'liere data')"
        ) from None


def open_hub(request: HubRequest) -> HubTables:
    """Downloads what is missing. Raises LiereError: the data set, its configuration or a split does
    not exist, or there is no network and it was not opened before; names what would work.
    """
    try:
        return _opened(request)
    except LiereError:
        raise
    except Exception as error:  # the libraries raise errors of any class
        raise LiereError(
            f"hub:{request.repository} can't be opened ({_reason(error)}): check the name, the "
            "config and the revision; without a network, open it once where there is one and keep "
            "LIERE_CACHE and HF_HOME, or copy its files and use hub:FOLDER or images:FOLDER"
        ) from None


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _opened(request: HubRequest) -> HubTables:
    layout = _layout(request)
    if layout.files is None:
        return HubTables(layout.revision, _prepared_shards(request, layout.revision))
    splits = _assigned(list(layout.files), request)
    shards = [
        shard
        for name, split in splits.items()
        for shard in _parquet_shards(request, layout, split, layout.files[name])
    ]
    return HubTables(layout.revision, shards)


def _layout(request: HubRequest) -> _Layout:
    key = [request.repository, request.config, request.revision]
    record = cache_root() / "hub" / f"{digest_of(json.dumps(key), 32)}.json"
    pinned = re.fullmatch(r"[0-9a-f]{40}", request.revision or "") is not None
    if pinned and (known := _recorded(record)) is not None:
        return known
    try:
        if not request.is_folder:
            resolve_hub()
        layout = _requested(request)
    except Exception:
        if (known := _recorded(record)) is not None:
            return known
        raise
    # a branch moves on, a commit stays
    for revision in {request.revision, layout.revision or request.revision}:
        name = digest_of(json.dumps([*key[:2], revision]), 32)
        with suppress(LiereError):
            write_atomically(record.with_name(f"{name}.json"), json.dumps(vars(layout)))
    return layout


def _recorded(record: Path) -> _Layout | None:
    with suppress(OSError, ValueError, TypeError):
        return _Layout(**json.loads(record.read_text()))
    return None


def _requested(request: HubRequest) -> _Layout:
    from datasets.load import load_dataset_builder

    path = str(Path(request.repository).expanduser()) if request.is_folder else request.repository
    builder = load_dataset_builder(path, request.config, revision=request.revision)
    files: Mapping[Any, Sequence[str]] = builder.config.data_files or {}
    features = builder.info.features
    # the metadata of features is that of to_dict, as JSON values
    described = {} if features is None else json.loads(json.dumps(features.to_dict()))
    revision = "" if request.is_folder else str(builder.hash)
    root = f"hf://datasets/{request.repository}@{revision}/"
    by_split = {str(name): [str(file).removeprefix(root) for file in files[name]] for name in files}
    parquet = type(builder).__name__.startswith("Parquet")
    return _Layout(revision, by_split if parquet else None, described)


def _assigned(names: Sequence[str], request: HubRequest) -> dict[str, int]:
    """The split, an index, of each of the data set's splits that is used."""
    if request.splits:
        for name in request.splits.values():
            if name not in names:
                raise unknown(f"split of hub:{request.repository}", name, names)
        return {name: SPLITS.index(ours) for ours, name in request.splits.items()}
    splits = {name: split_in_name(name) for name in names}
    used = {name: split for name, split in splits.items() if split != UNASSIGNED}
    if len(set(used.values())) < len(used):
        raise LiereError(
            f"hub:{request.repository} has the splits {', '.join(names)}: say which are meant, as "
            f"split.train={next(iter(used))}"
        )
    if not used and len(names) > 1:
        raise LiereError(
            f"hub:{request.repository} has the splits {', '.join(names)}, none of which is named "
            f"train, val or test: say which are meant, as split.train={names[0]}"
        )
    return used or splits


def _parquet_shards(
    request: HubRequest, layout: _Layout, split: int, files: Sequence[str]
) -> list[Shard]:
    if request.is_folder:
        return [Shard(split, Path(file), described=layout.features) for file in files]
    if request.stream:
        root = f"{request.repository}@{layout.revision}"
        return [
            Shard(split, Path(root, file), url=f"datasets/{root}/{file}", described=layout.features)
            for file in files
        ]
    from huggingface_hub import hf_hub_download

    _check_space(request.repository, files, layout.revision)
    tracker = Tracker(f"downloading files of {request.repository}", len(files))
    shards = []
    for file in files:
        path = hf_hub_download(
            request.repository, file, repo_type="dataset", revision=layout.revision
        )
        shards.append(Shard(split, Path(path), described=layout.features))
        tracker.advance(1)
    return shards


def _check_space(repository: str, files: Sequence[str], revision: str) -> None:
    """Raises LiereError if what is not stored yet is larger than the free space of the disk."""
    from huggingface_hub import HfApi, constants, try_to_load_from_cache

    stored = {"repo_type": "dataset", "revision": revision}
    missing = [
        file
        for file in files
        if not isinstance(try_to_load_from_cache(repository, file, **stored), str)
    ]
    if not missing:
        return
    entries = HfApi().get_paths_info(repository, missing, repo_type="dataset", revision=revision)
    size = sum(getattr(entry, "size", 0) for entry in entries)
    cache = Path(constants.HF_HUB_CACHE)
    existing = next(folder for folder in (cache, *cache.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if size > free:
        raise LiereError(
            f"hub:{repository} has {size / 1e9:.1f} GB to download, but {cache} has "
            f"{free / 1e9:.1f} GB free: give stream=true, which reads it over the network, "
            "or set HF_HOME to a folder of a larger disk"
        )


def _prepared_shards(request: HubRequest, revision: str) -> list[Shard]:
    """Arrow tables, which ``datasets`` prepares once and maps from then on."""
    from datasets.load import load_dataset

    folder = str(Path(request.repository).expanduser()) if request.is_folder else ""
    tables = load_dataset(folder or request.repository, request.config, revision=revision or None)
    splits = _assigned([str(name) for name in tables], request)
    shards = [
        Shard(
            split,
            Path(f"{request.repository}:{name}"),
            tables[name].data.table,
            tuple(Path(file["filename"]) for file in tables[name].cache_files),
        )
        for name, split in splits.items()
    ]
    return sorted(shards, key=lambda shard: shard.split)
