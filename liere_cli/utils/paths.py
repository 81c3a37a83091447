"""Paths on this machine."""

import os
from pathlib import Path


def expand(path: str | os.PathLike[str]) -> Path:
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
