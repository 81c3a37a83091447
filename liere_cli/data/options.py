"""What the options of data sets have in common: how a grid and a split are written."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from liere_cli.errors import LiereError, UsageError

Fractions = tuple[float, float, float]
"""Shares of train, val and test."""

#: largest text window, and most pixels of a picture (4096 x 4096) or of all frames of a video
MOST_BYTES = 1_000_000
MOST_PIXELS = 4096 * 4096

# meanings that several data sets share
FRACTIONS = "shares of train, val and test, as 0.8/0.1/0.1, where the files have no splits"
VALIDATION = "share of train that is held out where there is no val split"
FLIPS = "mirror training items left to right at random"
SHIFT = "pixels of random translation of training items"
SHIFT_BY_SIZE = f"{SHIFT}; null: an eighth of the rows"

_EXAMPLES = {
    1: "a whole number such as 256",
    2: "a whole number for a square such as 32, or ROWSxCOLUMNS such as 32x48",
    3: "FRAMESxROWSxCOLUMNS such as 8x64x64",
}


def read_grid(value: Any, axes: int) -> tuple[int, ...]:
    """``value`` as the extent of one example along each of ``axes`` axes.

    Args:
        value: a whole number (every axis of text and of a square image), a list, or text such as
            ``32x48``.

    Raises:
        ValueError: what is allowed instead, to follow the words "... is VALUE, but".
    """
    allowed = f"{_EXAMPLES[axes]} is expected"
    if isinstance(value, bool) or not isinstance(value, int | str | Sequence):
        raise ValueError(allowed)
    if isinstance(value, str):
        parts: list[Any] = re.split(r"\s*[x,]\s*", value.strip())
        # int() refuses thousands of digits with words of its own
        if not all(part.isascii() and part.isdigit() and len(part) < 20 for part in parts):
            raise ValueError(allowed)
        parts = [int(part) for part in parts]
    else:
        parts = [value] if isinstance(value, int) else list(value)
    if not all(isinstance(part, int) and not isinstance(part, bool) for part in parts):
        raise ValueError(allowed)
    if axes == 2 and len(parts) == 1:
        parts *= 2
    if len(parts) != axes or min(parts) < 1:
        raise ValueError(allowed)
    if axes == 1 and parts[0] > MOST_BYTES:
        raise ValueError(f"at most {MOST_BYTES:,} bytes are allowed")
    if axes > 1 and math.prod(parts) > MOST_PIXELS:
        raise ValueError(f"at most {MOST_PIXELS:,} pixels in all are allowed")
    return tuple(parts)


def parse_grid(value: Any, axes: int) -> tuple[int, ...]:
    """A grid as a flag or a recipe gives it: ``512``, ``48x48``, ``[8, 32, 32]``.

    Raises:
        UsageError: what is allowed for this number of axes.
    """
    try:
        return read_grid(value, axes)
    except ValueError as error:
        raise UsageError(f"the grid is {value!r}, but {error}") from None


def given_path(kind: str, path: str) -> Path:
    """A path that a person gave for a data set of that kind, with ``~`` for the home folder.

    Raises:
        UsageError: nothing is there, or neither a file nor a folder.
        LiereError: the system doesn't let us look.
    """
    try:
        place = Path(path).expanduser()
        if place.is_file() or place.is_dir():
            return place
        fault = "is no regular file" if place.exists() else "does not exist"
        if place.is_symlink() and not place.exists():
            fault = "is a link to nowhere"
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise LiereError(f"data.{kind}: '{path}' can't be read: {reason}") from None
    raise UsageError(f"data.{kind}: '{path}' {fault}")


def given_file(kind: str, path: str) -> Path:
    """The same, where a folder is of no use."""
    place = given_path(kind, path)
    if place.is_dir():
        raise UsageError(f"data.{kind}: '{path}' is a folder, but a file is expected")
    return place


def _validator(axes: int) -> BeforeValidator:
    return BeforeValidator(lambda value: read_grid(value, axes))


TextGrid = Annotated[
    tuple[int, ...], _validator(1), Field(description="bytes that the model sees at a time")
]
ImageGrid = Annotated[
    tuple[int, ...], _validator(2), Field(description="ROWSxCOLUMNS of pixels, or one number")
]
VideoGrid = Annotated[tuple[int, ...], _validator(3), Field(description="FRAMESxROWSxCOLUMNS")]


def _read_fractions(value: Any) -> Any:
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
"""Written ``[0.8, 0.1, 0.1]``, or ``0.8/0.1/0.1`` where a comma would end the option."""

Share = Annotated[float, Field(gt=0, lt=1)]
