"""What the folders of a tree mean: splits, classes, or neither for certain.

A folder has one folder for each class, directly (``DIR/CLASS``), below folders of splits
(``DIR/SPLIT/CLASS``) or with folders of splits in it (``DIR/CLASS/SPLIT``). Folders that wrap
everything are skipped, and files deeper down belong to the class above them. What could be read in
two ways is refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from liere_cli.data.sources.folders.tree import Tree
from liere_cli.data.splits import (
    SPLITS,
    TRAIN,
    UNASSIGNED,
    check_classes,
    is_split_name,
    split_in_name,
    without_split,
)
from liere_cli.errors import LiereError

_SHOWN = 4
ASIDE = "move it out, or put a dot before its name to leave it aside"


@dataclass(frozen=True)
class ClassFolder:
    """A folder with the files of one class in one split (an index, or ``UNASSIGNED``)."""

    name: str
    split: int
    tree: Tree


@dataclass(frozen=True)
class Layout:
    """The class folders of a tree, and the wanted files that lie in none of them."""

    folders: list[ClassFolder]
    outside: list[Path]


def layout_of(root: Tree) -> Layout:
    """Raises LiereError: a layout that can be read in several ways, or in none."""
    top = _unwrapped(root)
    splits = _split_folders(top)
    if splits:
        tops = _unwrapped_splits(splits)
        folders = [
            ClassFolder(name, split, tree)
            for split, folder in tops.items()
            for name, tree in folder.folders.items()
        ]
        outside = [*top.files, *(path for folder in tops.values() for path in folder.files)]
        if len(tops) > 1 and TRAIN in tops:
            check_classes(
                [folder.name for folder in folders if folder.split == TRAIN],
                [folder.name for folder in folders],
                str(top.path),
            )
        return Layout(folders, outside)
    _check_level(top)
    folders = []
    for name, tree in top.folders.items():
        inner = _splits_inside(tree)
        folders += [ClassFolder(name, *pair) for pair in inner or [(UNASSIGNED, tree)]]
    if len({folder.split == UNASSIGNED for folder in folders}) > 1:
        whole = next(folder.tree for folder in folders if folder.split == UNASSIGNED)
        raise LiereError(
            f"{top.path} has folders of splits in some classes, but not in {whole.path.name}"
        )
    return Layout(folders, top.files)


def listed(names: Iterable[object]) -> str:
    """The first names, and how many follow."""
    texts = list(map(str, names))
    rest = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _unwrapped(tree: Tree) -> Tree:
    """The folder below those that wrap everything, perhaps beside folders without wanted files."""
    while not tree.files:
        filled = [folder for folder in tree.folders.values() if folder.files or folder.nested]
        others = [name for name, folder in tree.folders.items() if folder not in filled]
        unread_split = any(split_in_name(name) != UNASSIGNED for name in others)
        if len(filled) != 1 or not filled[0].nested or unread_split:
            break
        tree = filled[0]
    return tree


def _split_folders(top: Tree) -> dict[int, Tree]:
    """The folders of splits; empty where the folders are classes."""
    splits = {name: split_in_name(name) for name in top.folders}
    named = [name for name, split in splits.items() if split != UNASSIGNED]
    # folders without wanted files are left aside beside splits, where they can't be classes
    filled = [name for name, tree in top.folders.items() if tree.files or tree.nested]
    others = [name for name in filled if name not in named]
    nested = [name for name in named if top.folders[name].nested]
    if not named:
        return {}
    if others and nested:
        raise LiereError(
            f"{top.path}: {nested[0]} looks like a split of class folders, but {others[0]} is not "
            f"named after train, val or test: rename it, {ASIDE}"
        )
    if len(named) < len(splits) and not nested:
        return {}  # a class may be called train
    exact = all(map(is_split_name, named))
    alike = exact or (
        len({without_split(name).lower() for name in named}) == 1
        and TRAIN in splits.values()
        and len(set(splits.values())) > 1
    )
    if not nested and not alike:
        return {}
    for name in named:
        if name not in nested:
            folder = top.folders[name]
            raise LiereError(
                f"{folder.path} has {len(folder.files) or 'no'} files directly in it, but a split "
                f"needs one folder for each class: sort them into such folders; {ASIDE}"
            )
    classes = {frozenset(top.folders[name].folders) for name in named}
    if not alike and len(classes) > 1:
        raise LiereError(
            f"{top.path}: {listed(named)} may be splits or classes: name splits train, val and "
            "test, and keep the files of a class directly in its folder"
        )
    by_split: dict[int, Tree] = {}
    for name in named:
        if (first := by_split.get(splits[name])) is not None:
            split = f"the {SPLITS[splits[name]]} split"
            raise LiereError(
                f"{top.path}: {first.path.name} and {name} both look like {split}: merge them, or "
                "rename one"
            )
        by_split[splits[name]] = top.folders[name]
    return by_split


def _unwrapped_splits(splits: Mapping[int, Tree]) -> dict[int, Tree]:
    """Splits without a folder that wraps each, as in ``train/images/CLASS``."""
    single = {split: _only(tree) for split, tree in splits.items()}
    if all(tree is not None and tree.nested for tree in single.values()):
        return {split: tree for split, tree in single.items() if tree is not None}
    return dict(splits)


def _only(tree: Tree) -> Tree | None:
    return next(iter(tree.folders.values())) if len(tree.folders) == 1 and not tree.files else None


def _splits_inside(tree: Tree) -> list[tuple[int, Tree]]:
    """The folders of splits in a class, as in ``DIR/CLASS/train``; empty where there are none."""
    named = {name: split_in_name(name) for name in tree.folders}
    exact = [name for name in named if is_split_name(name)]
    whole = bool(named) and len(set(named.values())) == len(named)
    if not tree.files and UNASSIGNED not in named.values() and whole:
        if exact or len(named) > 1:
            if any(folder.nested for folder in tree.folders.values()):
                raise LiereError(
                    f"{tree.path} has splits with further folders in it, so it may be a data set "
                    f"by itself: give that path, or {ASIDE}"
                )
            return [(named[name], folder) for name, folder in tree.folders.items()]
    elif exact:
        raise LiereError(
            f"{tree.path} is a class with a folder '{exact[0]}' beside other files or folders, "
            "which may be a split: rename it, or use DIR/SPLIT/CLASS"
        )
    return []


def _check_level(top: Tree) -> None:
    """Raises LiereError if every folder has the same folders in it: either may be the classes."""
    inner = {frozenset(tree.folders) for tree in top.folders.values()}
    loose = any(tree.files for tree in top.folders.values())
    if len(top.folders) > 1 and len(inner) == 1 and not loose:
        (names,) = inner
        if len(names) > 1 and not all(split_in_name(name) != UNASSIGNED for name in names):
            raise LiereError(
                f"{top.path}: {listed(top.folders)} have the same folders {listed(sorted(names))}, "
                "so that either may be the classes: name splits train, val and test, or keep the "
                "files of a class directly in its folder"
            )
