"""Claims: each run is trained by exactly one process, on one host or on a shared file system.

A claim is two locks of ``filelock`` under ``OUTPUTS/.claims/``, both named by the run's identity:
a kernel lock (flock), which the kernel gives back at the very moment its owner dies, and a lease,
whose owner touches it every few seconds. Where kernel locks reach over all hosts, the first alone
decides. Where they hold on one host only or don't exist, the lease decides between hosts: an owner
that has not touched it for :data:`LEASE_SECONDS` of the other's own clock is taken for dead.
"""

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from filelock import FileLock, LeaseSettingsMismatch, SoftFileLease, Timeout

from liere_cli.errors import LiereError
from liere_cli.runs.folder import Run

FOLDER = ".claims"
LEASE_SECONDS = 30.0
#: how much longer than that a lease is watched
PATIENCE_SECONDS = 5.0
#: what flock answers on a file system that has no kernel locks
_NO_KERNEL_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}


@dataclass(frozen=True)
class Owner:
    """Who trains a run: host name, process, and since when (seconds since the epoch)."""

    host: str
    pid: int
    since: float

    def __str__(self) -> str:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host}, since {began}"


class RunLocked(LiereError):
    """Another process trains this run; ``owner`` is who, where it can be told."""

    def __init__(self, run: Run, owner: Owner | None) -> None:
        self.owner = owner
        who = f" ({owner})" if owner else ""
        super().__init__(f"{run.folder}: another process is training this run{who}")


class RunLock:
    """The right to write into a run's folder, for as long as :meth:`check` does not object."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.lost = Event()
        #: which folder of claims this one lies in, and which folder is the run's
        self.place: tuple[int, int] | None = None
        self.folder: tuple[int, int] | None = None

    def check(self) -> None:
        """To be called before the run's folder is written.

        Raises:
            LiereError: the outputs folder was removed, or its file system taken away.
            RunLocked: another process took the run, believing this one dead. It can come to that on
                a file system without kernel locks, after this process stood still.
        """
        folder = _identity(self.run.folder)
        self.folder = self.folder or folder
        # a folder of that name that was made since is another one, and lacks what this one held
        places = (_identity(_place(self.run, "lock").parent), folder)
        if folder is None or places != (self.place, self.folder):
            raise LiereError(
                f"{self.run.folder}: vanished while the run was in training (removed, or on a "
                "file system that is no longer there)"
            )
        if self.lost.is_set():
            raise RunLocked(self.run, owner_of(self.run))


@contextmanager
def claim(run: Run) -> Iterator[RunLock]:
    """Holds the run, whatever experiment its folder is in; a dead owner's claim is taken over.

    Returns at once, but for an owner on another host whose kernel lock is free: whether it lives
    shows within :data:`LEASE_SECONDS`.

    Raises:
        RunLocked: another process trains the run.
        LiereError: the outputs folder can't be written.
    """
    held = RunLock(run)
    place = _place(run, "lock")
    lease = SoftFileLease(
        _place(run, "lease"),
        lease_duration=LEASE_SECONDS,
        on_compromise=lambda loss: held.lost.set(),
    )
    with ExitStack() as stack:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            held.place = _identity(place.parent)
            _take_kernel_lock(place, stack)
            stack.enter_context(
                lease.acquire(timeout=LEASE_SECONDS + PATIENCE_SECONDS, poll_interval=0.1)
            )
            _place(run, "owner").write_text(
                json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()})
            )
        except (Timeout, LeaseSettingsMismatch):
            raise RunLocked(run, owner_of(run)) from None
        except OSError as error:
            reason = error.strerror or error
            raise LiereError(f"{error.filename or place}: can't be written ({reason})") from None
        stack.callback(_forget_owner, run, held)
        yield held


def seems_held(run: Run) -> bool:
    """Whether someone probably trains the run: a quick look, for those who have others to train.

    It waits for nobody and may be wrong either way; :func:`claim` decides.
    """
    owner = owner_of(run)
    if owner is None or (owner.host == socket.gethostname() and not _runs_here(owner.pid)):
        return False
    with suppress(OSError):
        age = time.time() - _place(run, "lease").stat().st_mtime
        return abs(age) < LEASE_SECONDS + PATIENCE_SECONDS
    return False


def _runs_here(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # someone else's
    return True


def owner_of(run: Run) -> Owner | None:
    """Who claimed the run last; None where nobody did, or the note of it can't be read."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        note = json.loads(_place(run, "owner").read_bytes()[:1000])
        return Owner(str(note["host"])[:100], int(note["pid"]), float(note["since"]))
    return None


def _take_kernel_lock(place: Path, stack: ExitStack) -> None:
    lock = FileLock(place, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in _NO_KERNEL_LOCKS:
            raise
        return  # the lease alone decides
    stack.callback(lock.release)


def _identity(folder: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        status = folder.stat()
        return status.st_dev, status.st_ino
    return None


def _forget_owner(run: Run, held: RunLock) -> None:
    if not held.lost.is_set():
        with suppress(OSError):
            _place(run, "owner").unlink()


def _place(run: Run, suffix: str) -> Path:
    """By identity: two experiments that share a run share its claim."""
    return run.folder.parent.parent / FOLDER / f"{run.run_id}.{suffix}"
