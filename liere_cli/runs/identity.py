"""A run's identity: a hash of everything that can change its results, and of nothing else."""

import json
import re
from collections.abc import Mapping
from typing import Any

from liere_cli.config.recipe import Recipe
from liere_cli.utils.files import digest_of

#: raised when equal settings come to give other results
FORMAT = 1
#: of runs in bfloat16: of classifiers, whose residual stream was bfloat16 before, and of encodings
#: of queries and keys, which were rounded before they were rotated
BFLOAT16 = "bfloat16:2"
ID_DIGITS = 12
#: options of data sets that name files, whose content is in the fingerprint
_FILES = ("path", "tokenizer", "videos", "volumes", "labels_file")


def identity(
    recipe: Recipe,
    encoding: Mapping[str, Any],
    fingerprint: str,
    code: str | None = None,
    changed: str | None = None,
    model_code: str | None = None,
) -> str:
    """The identity, in hex digits, of the run of a resolved recipe.

    Args:
        encoding: the encoding's identifying options, from ``identifying_spec``.
        fingerprint: of the data set; used instead of its path.
        code: digest of an encoding's own file; used instead of that file's path.
        changed: what a later version computes otherwise in runs like this one; None: nothing.
        model_code: as ``code``, of a user's model.
    """
    settings = recipe.identifying()
    for key in ("experiment", "compare"):
        settings.pop(key)
    settings["training"].pop("checkpoint_seconds")
    for key in (*_FILES, "cache"):
        settings["data"].pop(key, None)
    if recipe.parent is not None:
        settings["parent"] = {"id": recipe.parent.id, "weights": recipe.parent.weights}
    # a class in a file is identified by its code, which is part of the fingerprint
    settings["data"]["name"] = str(settings["data"]["name"]).rpartition(".py:")[2]
    settings["encoding"] = dict(encoding)
    if code is not None:
        settings["encoding"]["name"] = encoding["name"].rpartition(":")[2]
    hashed = [FORMAT, settings, fingerprint, code]
    if changed is not None:
        hashed.append(changed)
    if model_code is not None:
        settings["model"]["name"] = recipe.model.name.rpartition(":")[2]
        hashed.append(model_code)
    text = json.dumps(hashed, sort_keys=True)
    return digest_of(text, ID_DIGITS)


def folder_name(data: str, encoding: str, seed: int, run_id: str) -> str:
    """A readable folder name without separators, whatever the labels contain."""
    readable = re.sub(r"[^A-Za-z0-9=.,-]+", "_", f"{data}-{encoding}").strip("._-")
    return f"{readable[:80]}-s{seed}-{run_id}"
