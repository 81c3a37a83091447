"""Sentences on what was read from the user's files.

Shapes: N items.
"""

from collections.abc import Sequence

import numpy as np

from liere_cli.data.base import Array
from liere_cli.data.sources.base import Decoding
from liere_cli.data.splits import SPLITS, TRAIN, UNASSIGNED
from liere_cli.errors import counted

_MOST_NAMES = 6
_DECODINGS = {
    Decoding.SCALED: "16-bit or float values are scaled to 8 bits",
    Decoding.ON_WHITE: "transparent pixels are shown on white",
    Decoding.BY_TIME: "frames are not evenly spaced, and are sampled by time",
    Decoding.ROTATED: "frames are rotated as the file asks",
    Decoding.CUT: "the end of the file is missing or damaged, and what comes before it is used",
    Decoding.FIRST_FRAME: "the file has several frames or pages, and the first is used",
}


def summary(
    splits: Array, labels: Array, given: Array, names: Sequence[str], files: int = 1
) -> str:
    """How many items, of which classes and in which splits.

    Args:
        splits, labels, given: int64 [N], the splits in use, the labels, and the splits of the
            files.
        names: of the classes.
        files: that hold the items.
    """
    counts = np.bincount(labels, minlength=len(names))
    shown = [f"{name} {count}" for name, count in zip(names, counts.tolist(), strict=True)]
    classes = f" ({', '.join(shown)})" if len(names) <= _MOST_NAMES else ""
    sizes = ", ".join(f"{np.count_nonzero(splits == n)} {name}" for n, name in enumerate(SPLITS))
    origin = "split by fractions"
    present = np.unique(given[given != UNASSIGNED]).tolist()
    if len(present) == len(SPLITS):
        origin = "as in the files"
    elif len(present) == 2:
        origin = f"train and {SPLITS[present[1]]} as in the files, val held out of train"
    elif present and present != [TRAIN]:
        origin = f"all of {SPLITS[present[0]]}, split by fractions"
    empty = [name for name, count in zip(names, counts, strict=True) if not count]
    empty_classes = f"; no items of {_some(empty)}" if empty else ""
    missing = [
        f"; {name} has no items of {_some(absent)}"
        for number, name in enumerate(SPLITS)
        if (absent := _absent(splits == number, labels, names, empty))
    ]
    return (
        f"read {counted(len(labels), 'item')} of {len(names)} classes{classes} from "
        f"{counted(files, 'file')}: {sizes} ({origin})"
        f"{empty_classes}{''.join(missing)}"
    )


def decoding_notes(decodings: Array) -> list[str]:
    """A sentence for each way of decoding that some items need; ``decodings`` is uint8 [N]."""
    counts = {kind: int(np.count_nonzero(decodings & kind)) for kind in _DECODINGS}
    return [
        f"{counted(count, 'item')}: {_DECODINGS[kind]}" for kind, count in counts.items() if count
    ]


def duplicate_notes(digests: Array, labels: Array, splits: Array) -> list[str]:
    """Sentences on equal items in several splits or classes.

    Args:
        digests: uint8 [N, D], of the stored content; equal for equal items.
        labels, splits: int64 [N].
    """
    _, content = np.unique(digests, axis=0, return_inverse=True)
    content = content.reshape(-1)
    notes = []
    for number, name in list(enumerate(SPLITS))[1:]:
        shared = np.isin(content[splits == number], content[splits < number])
        if count := int(shared.sum()):
            earlier = " or ".join(SPLITS[:number])
            notes.append(
                f"{counted(count, 'item')} of {name} {_are(count)} also in {earlier}, byte for byte"
            )
    pairs = np.unique(np.stack([content, labels], 1), axis=0)
    several = np.bincount(pairs[:, 0], minlength=1) > 1
    if count := int(several.sum()):
        notes.append(f"{counted(count, 'item')} {_are(count)} in several classes, byte for byte")
    return notes


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _absent(members: Array, labels: Array, names: Sequence[str], known: Sequence[str]) -> list[str]:
    present = set(labels[members].tolist())
    return [name for n, name in enumerate(names) if n not in present and name not in known]


def _some(names: Sequence[str]) -> str:
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more classes" if more > 0 else "")
