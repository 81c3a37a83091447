"""A run's identity: the hash of what can change its numbers, and of nothing else."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from liere_cli.config.recipe import Recipe

FORMAT = 1


ID_DIGITS = 12


def identity(
    recipe: Recipe, encoding: Mapping[str, Any], fingerprint: str, code: str | None = None
) -> str:
    """Hex digits that change with whatever can change the run's numbers, and with nothing else.

    Args:
        recipe: a resolved recipe.
        encoding: what identifies its encoding, from ``identifying_spec``.
        fingerprint: the data set's; it stands for the path that the data came from.
        code: digest of an encoding's own file, which stands for that file's path.
    """
    settings = recipe.identifying()
    for key in ("experiment", "compare"):
        settings.pop(key)
    settings["training"].pop("checkpoint_seconds")
    settings["data"].pop("path", None)
    settings["encoding"] = dict(encoding)
    if code is not None:
        settings["encoding"]["name"] = encoding["name"].rpartition(":")[2]
    text = json.dumps([FORMAT, settings, fingerprint, code], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]


def folder_name(data: str, encoding: str, seed: int, run_id: str) -> str:
    """A readable folder name that no label can lead out of its parent."""
    readable = re.sub(r"[^A-Za-z0-9=.,-]+", "_", f"{data}-{encoding}").strip("._-")
    return f"{readable[:80]}-s{seed}-{run_id}"
