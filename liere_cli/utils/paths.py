"""Where on this machine things are kept."""

import os
from pathlib import Path


def cache_root() -> Path:
    """LIERE_CACHE, else ``liere`` in the user's cache folder."""
    if os.environ.get("LIERE_CACHE"):
        return Path(os.environ["LIERE_CACHE"]).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "liere"
