"""Paths on this machine."""

import os
from pathlib import Path

PathLike = str | os.PathLike[str]


def expand(path: PathLike) -> Path:
    """The path with a leading ``~`` or ``~USER`` as that home folder, if there is one."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def cache_root() -> Path:
    """LIERE_CACHE, else ``liere`` in the user's cache folder."""
    if folder := os.environ.get("LIERE_CACHE"):
        return expand(folder)
    return expand(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "liere"
