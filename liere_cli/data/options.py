"""Options that several data sets share: grids, paths, shares of splits."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from liere_cli.data.splits import Fractions
from liere_cli.errors import UsageError, unreadable

#: largest text window; most pixels of an image (4096 x 4096) or of all frames of a video
MOST_BYTES = 1_000_000
MOST_PIXELS = 4096 * 4096

# descriptions that several data sets share
FRACTIONS = "shares of train, val and test, as 0.8/0.1/0.1, where the files have no splits"
VALIDATION = "share of train that is held out where there is no val split"
FLIPS = "flip training items left to right at random"
SHIFT = "pixels of random translation of training items"
SHIFT_BY_SIZE = f"{SHIFT}; null: an eighth of the rows"

_EXAMPLES = {
    1: "a whole number such as 256",
    2: "a whole number for a square such as 32, or ROWSxCOLUMNS such as 32x48",
    3: "FRAMESxROWSxCOLUMNS such as 8x64x64",
}


def read_grid(value: object, axes: int) -> tuple[int, ...]:
    """The extent of one item along each of ``axes`` axes, from a whole number (every axis of text
    and of a square image), a list, or text such as ``32x48``. Raises ValueError: a value that is
    not allowed; the message completes "... is VALUE, but".
    """
    allowed = f"{_EXAMPLES[axes]} is expected"
    if isinstance(value, bool) or not isinstance(value, int | str | Sequence):
        raise ValueError(allowed)
    if isinstance(value, str):
        numbers = re.split(r"\s*[x,]\s*", value.strip())
        # int() refuses thousands of digits with a message of its own
        if not all(re.fullmatch(r"[0-9]{1,19}", number) for number in numbers):
            raise ValueError(allowed)
        extents = [int(number) for number in numbers]
    else:
        extents = [value] if isinstance(value, int) else list(value)
    if not all(isinstance(extent, int) and not isinstance(extent, bool) for extent in extents):
        raise ValueError(allowed)
    if axes == 2 and len(extents) == 1:
        extents *= 2
    if len(extents) != axes or min(extents) < 1:
        raise ValueError(allowed)
    if axes == 1 and extents[0] > MOST_BYTES:
        raise ValueError(f"at most {MOST_BYTES:,} bytes are allowed")
    if axes > 1 and math.prod(extents) > MOST_PIXELS:
        raise ValueError(f"at most {MOST_PIXELS:,} pixels in all are allowed")
    return tuple(extents)


def parse_grid(value: object, axes: int) -> tuple[int, ...]:
    """A grid as written in a flag or a recipe: ``512``, ``48x48``, ``[8, 32, 32]``; UsageError if
    it is not allowed for this number of axes.
    """
    try:
        return read_grid(value, axes)
    except ValueError as error:
        raise UsageError(f"the grid is {value!r}, but {error}") from None


def default_patch_edge(size: Sequence[int], fewest: int = 8) -> int:
    """The largest power of two up to 16 that divides each extent into ``fewest`` parts or more.

    With 8: 32 has patches of 4, 64 of 8, 128 and more of 16.
    """
    edge = 16
    while edge > 1 and any(extent % edge or extent < fewest * edge for extent in size):
        edge //= 2
    return edge


def given_path(name: str, path: str) -> Path:
    """The file or folder at the ``path`` option of data set ``name``; ``~`` is the home folder.

    Raises:
        UsageError: nothing is there, or neither a file nor a folder.
        LiereError: it can't be read.
    """
    try:
        expanded = Path(path).expanduser()
        if expanded.is_file() or expanded.is_dir():
            return expanded
        problem = "is not a regular file" if expanded.exists() else "does not exist"
        if expanded.is_symlink() and not expanded.exists():
            problem = "is a broken link"
    except (OSError, RuntimeError) as error:
        reason = error if isinstance(error, OSError) else str(error)
        raise unreadable(f"data.{name}: '{path}'", reason) from None
    raise UsageError(f"data.{name}: '{path}' {problem}")


def given_file(name: str, path: str) -> Path:
    """The file at the ``path`` option; errors as in :func:`given_path`, also for a folder."""
    file = given_path(name, path)
    if file.is_dir():
        raise UsageError(f"data.{name}: '{path}' is a folder, but a file is expected")
    return file


def _validator(axes: int) -> BeforeValidator:
    return BeforeValidator(lambda value: read_grid(value, axes))


TextGrid = Annotated[tuple[int, ...], _validator(1), Field(description="bytes in one window")]
ImageGrid = Annotated[
    tuple[int, ...], _validator(2), Field(description="ROWSxCOLUMNS of pixels, or one number")
]
VideoGrid = Annotated[tuple[int, ...], _validator(3), Field(description="FRAMESxROWSxCOLUMNS")]


def _read_fractions(value: object) -> object:
    if isinstance(value, str):
        return [float(part) for part in re.split(r"\s*[/,]\s*", value.strip())]
    return value


def _check_fractions(value: Fractions) -> Fractions:
    if min(value) <= 0 or not math.isclose(sum(value), 1, abs_tol=1e-6):
        raise ValueError("three positive shares of train, val and test that add to 1 are expected")
    return value


SplitFractions = Annotated[
    Fractions, BeforeValidator(_read_fractions), AfterValidator(_check_fractions)
]
"""Written ``[0.8, 0.1, 0.1]``, or ``0.8/0.1/0.1`` in a spec, where a comma ends the option."""

Share = Annotated[float, Field(gt=0, lt=1)]
