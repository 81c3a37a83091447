"""Where on this machine things are kept."""

import os
from pathlib import Path


def expand(path: str | os.PathLike[str]) -> Path:
    """The path with a leading ``~`` replaced by the user's home folder."""
    return Path(path).expanduser()


def cache_root() -> Path:
    """LIERE_CACHE, else ``liere`` in the user's cache folder."""
    if os.environ.get("LIERE_CACHE"):
        return expand(os.environ["LIERE_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expand(base) / "liere"
