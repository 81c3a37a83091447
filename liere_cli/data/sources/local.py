"""What lies at the user's path: folders of files, parquet, or a saved ``datasets`` folder."""

import glob
import os
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path

from liere_cli.data.options import given_path
from liere_cli.data.sources.folders.layout import listed
from liere_cli.data.sources.folders.tree import Tree, read_tree
from liere_cli.data.sources.parquet import SUFFIXES, Shard
from liere_cli.data.splits import UNASSIGNED, is_split_name, split_in_name
from liere_cli.errors import LiereError, UsageError, unreadable

_ARCHIVES = frozenset({".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"})
#: written by ``Dataset.save_to_disk`` and ``DatasetDict.save_to_disk``
_SAVED = ("state.json", "dataset_dict.json")


@dataclass(frozen=True)
class Tables:
    """Tables, and the files beside them that are left aside, by the reason."""

    shards: list[Shard]
    left: Counter[str] = field(default_factory=Counter)


def local_files(name: str, path: str, suffixes: Set[str]) -> Tree | Tables:
    """The files at the ``path`` option of data set ``name``: a folder, or parquet as a file, a
    pattern or a folder.

    Raises:
        UsageError: nothing is there, or files of another kind.
        LiereError: a folder that can't be read, or is not one data set for certain.
    """
    # the name of an existing folder may contain brackets
    pattern = os.path.expanduser(path)
    matches = [] if os.path.lexists(pattern) else sorted(glob.glob(pattern))
    paths = [given_path(name, match) for match in matches or [path]]
    if not matches and paths[0].is_dir():
        return _in_folder(paths[0], suffixes)
    for file in paths:
        if file.is_dir() or not _is_parquet(file):
            kind = "folder" if file.is_dir() else f"{file.suffix} file".lstrip()
            expected = "parquet" if matches else "a folder by class or parquet"
            remedy = ": unpack it" if file.suffix.lower() in _ARCHIVES else ""
            remedy = f": use array:{file}" if file.suffix.lower() == ".npz" else remedy
            found = f"'{file}' is a {kind}, but {expected} is expected"
            raise UsageError(f"data.{name}: {found}{remedy}")
    return Tables(_assigned({path: split_in_name(path.stem) for path in paths}))


def _is_parquet(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError as error:
        raise unreadable(path, error) from None


def _in_folder(folder: Path, suffixes: Set[str]) -> Tree | Tables:
    if any((folder / name).is_file() for name in _SAVED):
        return _saved(folder)
    tree = read_tree(folder, suffixes | SUFFIXES)
    files = tree.all_files()
    parquet = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not parquet:
        return tree
    if len(parquet) < len(files):
        other = next(path for path in files if path not in parquet)
        raise LiereError(
            f"{folder} has parquet files ({parquet[0].name}) and other files with items "
            f"({other.relative_to(folder)}): give the path of those to read"
        )
    # the hub's own conversion names folders after splits: train/0000.parquet
    below = {path: path.parent != folder and is_split_name(path.parent.name) for path in parquet}
    folders = {path.parent.parent if below[path] else path.parent for path in parquet}
    if len(folders) > 1:
        raise LiereError(
            f"{folder} has parquet files in several folders, which may be several data sets: give "
            f"the path of one ({listed(sorted(folders))})"
        )
    splits = {
        path: split_in_name(path.parent.name if below[path] else path.stem) for path in parquet
    }
    return Tables(_assigned(splits), tree.all_left())


def _assigned(splits: dict[Path, int]) -> list[Shard]:
    without = [path for path, split in splits.items() if split == UNASSIGNED]
    if without and len(without) < len(splits):
        known = next(path for path in splits if path not in without)
        raise LiereError(
            f"{without[0]} has none of train, val and test in its name, or several, and "
            f"{known.name} has one: rename it, move it out, or give a pattern without it"
        )
    return [Shard(split, path) for path, split in sorted(splits.items())]


def _saved(folder: Path) -> Tables:
    """What ``save_to_disk`` of the library ``datasets`` has written."""
    from datasets.arrow_dataset import Dataset
    from datasets.load import load_from_disk

    try:
        loaded = load_from_disk(str(folder))
    except Exception as error:  # the library raises errors of any class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LiereError(f"{folder} is broken or not a folder of save_to_disk: {reason}") from None
    parts = {"": loaded} if isinstance(loaded, Dataset) else dict(loaded)
    splits = {folder / name: split_in_name(name) for name in parts}
    tables = zip(_assigned(splits), (parts[name] for name in sorted(parts)), strict=True)
    shards = [
        Shard(
            shard.split,
            shard.path,
            rows.data.table,
            tuple(Path(file["filename"]) for file in rows.cache_files),
        )
        for shard, rows in tables
    ]
    return Tables(shards)
