"""How items and text are divided into train, val and test.

Splits that the source has are kept. Where it has two, the first is train and the second is test,
whatever its name, and val is carved out of train. Otherwise val and test are carved out of
everything. A split is known by its index into ``SPLITS``.

Shapes: N items.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np

from liere_cli.data.base import Array, Split
from liere_cli.errors import LiereError, nearest

SPLITS: tuple[Split, ...] = ("train", "val", "test")
TRAIN, VAL, TEST = range(3)
UNASSIGNED = -1

Fractions = tuple[float, float, float]
"""Shares of train, val and test."""

Carve = Callable[[Array, float, float], tuple[Array, Array]]
"""From the indices of items and the shares of val and test to the indices that move there."""

_NAMES = {
    "train": TRAIN, "training": TRAIN,
    "val": VAL, "valid": VAL, "validation": VAL, "dev": VAL,
    "test": TEST, "testing": TEST,
}  # fmt: skip


_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
#: what follows the name of a split in one word, such as trainset or testdata
_KINDS = re.compile(r"(?:set|data|split|images?|imgs?|videos?|clips?|files?)$")


def split_in_name(name: str) -> int:
    """The split that a file or folder name contains, such as train in ``cifar100-train-00000``,
    ``seg_train``, ``trainImages`` and ``train2014``; ``UNASSIGNED`` if there is none, or several.
    """
    words = [word.lower() for word in _WORD.findall(name)]
    splits = {
        _NAMES[word] for word in (*words, *(_KINDS.sub("", w) for w in words)) if word in _NAMES
    }
    return splits.pop() if len(splits) == 1 else UNASSIGNED


def without_split(name: str) -> str:
    """What remains of a folder name without the word of its split: ``seg_`` for ``seg_train``."""
    return _WORD.sub(lambda word: "" if split_in_name(word[0]) != UNASSIGNED else word[0], name)


def is_split_name(name: str) -> bool:
    """Whether the whole name is that of a split, such as ``Train`` and ``validation``."""
    return name.lower() in _NAMES


def assign_splits(
    given: Array, fractions: Fractions, validation: float, carve: Carve, where: str
) -> Array:
    """The split of every item, int64 [N].

    Args:
        given: int64 [N], the splits of the source or ``UNASSIGNED``.
        fractions: shares of the splits where the source has none.
        validation: share of train that becomes val where the source has two splits.
        where: the data set's name in messages.

    Raises LiereError: the source has val and test, but no train.
    """
    present = [split for split in (TRAIN, VAL, TEST) if (given == split).any()]
    if present == [TRAIN, VAL, TEST]:
        return given
    if present in ([TRAIN, VAL], [TRAIN, TEST]):
        splits = np.where(given == TRAIN, TRAIN, TEST)
        val, test = carve(np.flatnonzero(splits == TRAIN), validation, 0)
    elif len(present) > 1:
        raise LiereError(f"{where} has items of val and of test, but none of train")
    else:
        splits = np.zeros_like(given)
        val, test = carve(np.arange(len(given)), *fractions[1:])
    splits[val] = VAL
    splits[test] = TEST
    return splits


def check_splits(splits: Array, labels: Array, names: Sequence[str], where: str) -> None:
    """Raises LiereError for a split without items, and as :func:`check_classes`.

    Args:
        splits, labels: int64 [N].
        names: of the classes.
        where: the data set's name in messages.
    """
    if len(np.unique(splits)) < len(SPLITS):
        raise LiereError(
            f"{where} can't be split into train, val and test: there are too few items or "
            "recordings of a class"
        )
    trained, present = np.unique(labels[splits == TRAIN]), np.unique(labels)
    check_classes([names[n] for n in trained], [names[n] for n in present], where)


def check_classes(trained: Sequence[str], present: Sequence[str], where: str) -> None:
    """Raises LiereError for classes that are present but not in train: no model can learn them."""
    if unseen := sorted(set(present) - set(trained)):
        likely = nearest(unseen[0], trained)
        hint = f"; is '{unseen[0]}' the '{likely}' of train?" if likely else ""
        raise LiereError(
            f"{where} has classes in val or test that train does not have "
            f"({', '.join(unseen[:4])}{', ...' * (len(unseen) > 4)}){hint}: give a class the same "
            "name in each split"
        )


def contiguous(count: int, fractions: Fractions) -> tuple[slice, slice, slice]:
    """Train, val and test of ``count`` bytes of text; every byte is in exactly one of them."""
    # positions are rounded, not lengths, so that none is lost
    val, test = round(count * fractions[0]), round(count * (fractions[0] + fractions[1]))
    return slice(val), slice(val, test), slice(test, count)


def carve_classes(labels: Array) -> Carve:
    """Takes the same share of every class, in a fixed random order; labels are int64 [N]."""
    order = np.random.default_rng(0).permutation(len(labels))

    def carve(members: Array, val: float, test: float) -> tuple[Array, Array]:
        splits = np.full(len(labels), UNASSIGNED)
        candidates = order[np.isin(order, members)]
        for label in np.unique(labels):
            items = candidates[labels[candidates] == label]
            start = 0
            for split, share in ((VAL, val), (TEST, test)):
                # a class of few items keeps one for training
                count = min(max(1, round(share * len(items))), max(len(items) - 1 - start, 0))
                count = count if share else 0
                splits[items[start : start + count]] = split
                start += count
        return np.flatnonzero(splits == VAL), np.flatnonzero(splits == TEST)

    return carve


def carve_groups(digests: Array, labels: Array, groups: Array) -> Carve:
    """Takes the groups with the lowest digests, the same share of every class. Where groups hold
    several classes, those are taken that bring every class nearest to its share, and nothing where
    there are too few. Digests of content are uint8 [N, 16], labels and groups int64 [N].
    """

    def take(members: Array, share: float) -> Array:
        by_group: dict[int, list[int]] = {}
        for item in members.tolist():
            by_group.setdefault(int(groups[item]), []).append(item)
        ranked = sorted(
            by_group.values(), key=lambda group: sorted(digests[item].tobytes() for item in group)
        )
        one_class = all(len({int(labels[item]) for item in group}) == 1 for group in ranked)
        choose = _first_of_each_class if one_class else _balanced
        return np.array(choose(ranked, labels, share), np.int64)

    def carve(members: Array, val: float, test: float) -> tuple[Array, Array]:
        taken = take(members, test) if test else np.zeros(0, np.int64)
        return take(np.setdiff1d(members, taken), val / (1 - test)), taken

    return carve


def _first_of_each_class(ranked: list[list[int]], labels: Array, share: float) -> list[int]:
    """Items of the first groups of every class; a class keeps at least one group."""
    classes: dict[int, list[list[int]]] = {}
    for group in ranked:
        classes.setdefault(int(labels[group[0]]), []).append(group)
    taken: list[int] = []
    for groups in classes.values():
        target = share * sum(map(len, groups))
        count = 0
        for group in groups[:-1]:
            if count and count + len(group) / 2 > target:
                break
            taken += group
            count += len(group)
    return taken


def _balanced(ranked: list[list[int]], labels: Array, share: float) -> list[int]:
    """Items of the groups that, added one by one, best approach ``share`` of every class."""
    counts = np.stack([np.bincount(labels[group], minlength=labels.max() + 1) for group in ranked])
    target = share * counts.sum(0)
    left = np.ones(len(ranked), bool)
    sums = np.zeros_like(target)
    weights = 1 / np.maximum(target, 1)
    taken: list[int] = []
    while left.sum() > 1:
        distances = ((sums + counts - target) ** 2 * weights).sum(1)
        best = int(np.where(left, distances, np.inf).argmin())
        if taken and distances[best] >= ((sums - target) ** 2 * weights).sum():
            break
        taken += ranked[best]
        sums += counts[best]
        left[best] = False
    return taken
