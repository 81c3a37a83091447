"""Removing runs, and their weights.

Only files that liere writes are removed, and only from a folder that is a run's by its name and its
recipe, while no other process trains the run. A run's folder is renamed into
``OUTPUTS/.removed/`` first: a process that is killed in between leaves a whole run or none, and the
next removal deletes the rest.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from liere_cli.errors import LiereError, UsageError, unwritable
from liere_cli.runs.folder import Run
from liere_cli.runs.identity import ID_DIGITS
from liere_cli.runs.lock import RunLocked, lock_run, owner_of, seems_held
from liere_cli.utils.files import TEMPORARY

FOLDER = ".removed"
#: subfolders of a run that training loggers write, whatever is in them
LOGGER_FOLDERS = ("tensorboard", "wandb")
WEIGHTS = ("best.safetensors", "last.safetensors")
#: files of a run, by their paths inside its folder
_FILES = (
    "recipe.yaml", "signature.txt", "environment.json", "metrics.jsonl", "summary.json",
    "items-*.safetensors", *WEIGHTS, "transfer/*.safetensors", "checkpoints/*.json",
    "checkpoints/*.safetensors", f"{TEMPORARY}*", f"*/{TEMPORARY}*",
)  # fmt: skip


def check_removable(run: Run) -> None:
    """Raises UsageError unless the folder is a run's and has nothing but a run's files.

    Raises RunLocked if another process trains the run.
    """
    folder = run.folder
    if not re.fullmatch(rf".+-[0-9a-f]{{{ID_DIGITS}}}", run.name):
        raise UsageError(f"{folder}: is not named as a run (its name does not end in an identity)")
    if folder.is_symlink():
        raise UsageError(f"{folder}: is a link; remove the run where it lies")
    if not run.path("recipe.yaml").is_file():
        raise UsageError(f"{folder}: is not a run folder (it has no recipe.yaml)")
    foreign = next(_foreign(folder), None)
    if foreign is not None:
        raise UsageError(
            f"{folder}: has '{foreign}', which liere did not write; move it away, or remove the "
            "folder yourself"
        )
    if seems_held(run):
        raise RunLocked(run, owner_of(run))


def _foreign(folder: Path, below: str = "") -> Iterator[str]:
    """Paths inside the folder that are not a run's."""
    with os.scandir(folder) as entries:
        for entry in entries:
            path = f"{below}{entry.name}"
            if path in LOGGER_FOLDERS and entry.is_dir(follow_symlinks=False):
                continue
            if path in ("transfer", "checkpoints") and entry.is_dir(follow_symlinks=False):
                yield from _foreign(Path(entry.path), f"{path}/")
            elif not entry.is_file(follow_symlinks=False) or not _is_written_by_liere(path):
                yield path


def _is_written_by_liere(path: str) -> bool:
    return any(fnmatch(path, name) and path.count("/") == name.count("/") for name in _FILES)


def remove_run(run: Run) -> None:
    """Removes a run's folder.

    Raises:
        UsageError: the folder is not a run's, or has other files.
        RunLocked: another process trains the run.
        LiereError: the folder can't be removed.
    """
    check_removable(run)
    with lock_run(run):
        _recheck(run)
        removed = run.folder.parent.parent / FOLDER
        try:
            removed.mkdir(exist_ok=True)
            target = Path(tempfile.mkdtemp(prefix=f"{run.run_id}.", dir=removed))
            run.folder.rename(target)
        except OSError as error:
            raise unwritable(run.folder, error) from None
    _delete(target)


def remove_weights(run: Run) -> None:
    """Removes the weights of a run that is over; raises as :func:`remove_run`."""
    check_removable(run)
    with lock_run(run):
        _recheck(run)
        if not run.path("summary.json").is_file():
            raise LiereError(f"{run.folder}: is not over, so its weights are still needed")
        for name in WEIGHTS:
            try:
                run.path(name).unlink(missing_ok=True)
            except OSError as error:
                raise unwritable(run.path(name), error) from None


def _recheck(run: Run) -> None:
    """Under the lock: another process may have trained or removed the run in the meantime."""
    foreign = next(_foreign(run.folder), None) if run.folder.is_dir() else "no files any more"
    if foreign is not None:
        raise LiereError(f"{run.folder}: changed while it was being removed (it has {foreign})")


def clear_removed(outputs: Path) -> None:
    """Deletes what a removal that was killed has left."""
    with suppress(OSError), os.scandir(outputs / FOLDER) as entries:
        for entry in entries:
            if re.match(rf"[0-9a-f]{{{ID_DIGITS}}}\.", entry.name):
                _delete(Path(entry.path))


def _delete(folder: Path) -> None:
    """Deletes a folder that no run is in any more; what can't be deleted is left for the next."""
    shutil.rmtree(folder, ignore_errors=True)
