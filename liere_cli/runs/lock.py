"""Run locks: each run is trained by exactly one process, on one host or on a shared file system.

A run's lock is two locks of ``filelock`` in ``OUTPUTS/.claims/``, both named by the run's identity:
a kernel lock (flock), which the kernel releases as soon as its owner dies, and a lease, whose owner
touches it every few seconds. Where kernel locks work across all hosts, the first alone decides.
Where they work on one host only or don't exist, the lease decides between hosts: an owner that has
not touched it for :data:`LEASE_SECONDS` of the other's own clock is considered dead.
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

from liere_cli.errors import LiereError, unwritable
from liere_cli.runs.folder import Run

#: its name is that of earlier versions, which may share the outputs folder
FOLDER = ".claims"
LEASE_SECONDS = 30.0
#: how much longer than that another owner's lease is observed
PATIENCE_SECONDS = 5.0
#: errors of flock on a file system without kernel locks
_NO_KERNEL_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}


@dataclass(frozen=True)
class Owner:
    """The process that trains a run: host name, process id, start (seconds since the epoch)."""

    host: str
    pid: int
    since: float

    def __str__(self) -> str:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host}, since {began}"


class RunLocked(LiereError):
    """Another process trains this run; ``owner`` is that process, where it is known."""

    def __init__(self, run: Run, owner: Owner | None) -> None:
        self.owner = owner
        who = f" ({owner})" if owner else ""
        super().__init__(f"{run.folder}: another process is training this run{who}")


class RunLock:
    """The right to write into a run's folder, while :meth:`check` raises nothing."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.lost = Event()
        #: device and inode of the folder of locks, and of the run's folder
        self.lock_folder: tuple[int, int] | None = None
        self.run_folder: tuple[int, int] | None = None

    def check(self) -> None:
        """Called before each write into the run's folder.

        Raises:
            LiereError: the outputs folder was removed, or its file system unmounted.
            RunLocked: another process took the lock, considering this one dead, as it may where
                there are no kernel locks and this process was suspended.
        """
        folder = _inode(self.run.folder)
        self.run_folder = self.run_folder or folder
        # a folder created since under the same name is another one, without the run's files
        inodes = (_inode(_path(self.run, "lock").parent), folder)
        if folder is None or inodes != (self.lock_folder, self.run_folder):
            raise LiereError(
                f"{self.run.folder}: vanished while the run was in training (removed, or on a "
                "file system that is no longer there)"
            )
        if self.lost.is_set():
            raise RunLocked(self.run, owner_of(self.run))


@contextmanager
def lock_run(run: Run) -> Iterator[RunLock]:
    """Holds the run's lock, which a dead owner loses.

    Waits only where an owner on another host has a lease but no visible kernel lock: whether it is
    alive is known after :data:`LEASE_SECONDS`.

    Raises:
        RunLocked: another process trains the run.
        LiereError: the outputs folder can't be written.
    """
    lock = RunLock(run)
    path = _path(run, "lock")
    lease = SoftFileLease(
        _path(run, "lease"),
        lease_duration=LEASE_SECONDS,
        on_compromise=lambda loss: lock.lost.set(),
    )
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.lock_folder = _inode(path.parent)
            _take_kernel_lock(path, stack)
            stack.enter_context(
                lease.acquire(timeout=LEASE_SECONDS + PATIENCE_SECONDS, poll_interval=0.1)
            )
            _path(run, "owner").write_text(
                json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()})
            )
        except (Timeout, LeaseSettingsMismatch):
            raise RunLocked(run, owner_of(run)) from None
        except OSError as error:
            raise unwritable(error.filename or path, error) from None
        stack.callback(_forget_owner, run, lock)
        yield lock


def seems_held(run: Run) -> bool:
    """Whether another process probably trains the run; only :func:`lock_run` decides."""
    owner = owner_of(run)
    if owner is None or (owner.host == socket.gethostname() and not is_running(owner.pid)):
        return False
    with suppress(OSError):
        age = time.time() - _path(run, "lease").stat().st_mtime
        return abs(age) < LEASE_SECONDS + PATIENCE_SECONDS
    return False


def locked_ids(outputs: Path) -> list[str]:
    """Identities of the runs that are probably in training, as :func:`seems_held`."""
    paths = sorted((outputs / FOLDER).glob("*.owner"))
    # a run's lock depends on its identity alone
    runs = [Run(outputs / "any" / f"run-{path.stem}") for path in paths]
    return [run.run_id for run in runs if seems_held(run)]


def is_running(pid: int) -> bool:
    """Whether there is a process of that number on this host."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # another user's
    return True


def owner_of(run: Run) -> Owner | None:
    """The last owner of the run's lock; None where there was none, or its file can't be read."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        record = json.loads(_path(run, "owner").read_bytes()[:1000])
        return Owner(str(record["host"])[:100], int(record["pid"]), float(record["since"]))
    return None


def _take_kernel_lock(path: Path, stack: ExitStack) -> None:
    lock = FileLock(path, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in _NO_KERNEL_LOCKS:
            raise
        return  # the lease alone decides
    stack.callback(lock.release)


def _inode(folder: Path) -> tuple[int, int] | None:
    """Device and inode of a folder; None where there is none."""
    with suppress(OSError):
        status = folder.stat()
        return status.st_dev, status.st_ino
    return None


def _forget_owner(run: Run, lock: RunLock) -> None:
    if not lock.lost.is_set():
        with suppress(OSError):
            _path(run, "owner").unlink()


def _path(run: Run, suffix: str) -> Path:
    """Named by identity, so that two experiments with the same run share its lock."""
    return run.folder.parent.parent / FOLDER / f"{run.run_id}.{suffix}"
