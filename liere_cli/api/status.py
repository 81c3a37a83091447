"""What is in training now."""

import os
from pathlib import Path

from liere_cli.planning.status import Status, status_of
from liere_cli.utils.paths import PathLike, expand


def status(folder: PathLike | None = None, *, out: PathLike = "outputs") -> Status:
    """What runs now, on which host, how far it is and how long it takes; nothing is waited for.

    Args:
        folder: an experiment's folder, or its name under ``out``; None: all of ``out``.

    Raises UsageError without such a folder, LiereError for a damaged plan.
    """
    outputs = expand(out)
    if folder is None:
        return status_of(outputs)
    path = expand(folder)
    if os.sep not in os.fspath(folder) and not path.is_dir():
        return status_of(outputs, os.fspath(folder))
    if path.resolve() == outputs.resolve():
        return status_of(path)
    return status_of(Path(path.parent), path.name)
