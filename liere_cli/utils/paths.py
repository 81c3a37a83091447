"""Paths on this machine."""

import os
import tempfile
from pathlib import Path

from liere_cli.errors import LiereError, UsageError

PathLike = str | os.PathLike[str]


def expand(path: PathLike) -> Path:
    """The path with a leading ``~`` or ``~USER`` as that home folder.

    A file that is really called so is found too. Raises UsageError if the home folder is unknown,
    so that no folder named ``~`` is made.
    """
    try:
        if Path(path).parts[:1] == ("~",) and not _home_is_known():
            raise RuntimeError
        return Path(path).expanduser()
    except RuntimeError:
        if os.path.lexists(path):
            return Path(path)
        name = Path(path).parts[0]
        raise UsageError(
            f"{path}: the home folder '{name}' is unknown; write the path in full"
        ) from None


def cache_root() -> Path:
    """LIERE_CACHE, else ``liere`` in the user's cache folder, else in a temporary folder.

    The last is for a user without a home folder, as a number that a container runs under.
    """
    if folder := os.environ.get("LIERE_CACHE"):
        return expand(folder)
    folder = os.environ.get("XDG_CACHE_HOME")
    if not folder and not _home_is_known():
        return private_temporary_folder() / "cache"
    return expand(folder or "~/.cache") / "liere"


def provide_home() -> None:
    """Gives libraries a home folder and a user name where this user has none."""
    if not _home_is_known():
        os.environ["HOME"] = str(private_temporary_folder())
        os.environ.setdefault("LOGNAME", f"uid-{os.getuid()}")  # read by getpass.getuser


def _home_is_known() -> bool:
    """Whether there is a home folder, other than that of :func:`provide_home`."""
    home = os.path.expanduser("~")
    return home not in ("~", str(_temporary_folder()))


def _temporary_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"liere-{os.getuid()}"


def private_temporary_folder() -> Path:
    """A folder in the temporary folder that no other user can write to; LiereError without one."""
    folder = _temporary_folder()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        reason = f"it can't be made ({error.strerror})"
    else:
        if folder.is_dir() and status.st_uid == os.getuid() and not status.st_mode & 0o022:
            return folder
        reason = "another user can write to it"
    raise LiereError(
        f"{folder}: this user has no home folder, and {reason}; set HOME or LIERE_CACHE to a "
        "folder of its own"
    )
