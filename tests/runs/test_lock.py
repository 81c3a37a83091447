"""Run locks: one owner at a time; a dead owner's lock is taken over."""

import os
import re
from pathlib import Path

import pytest
from filelock import FileLock

from liere_cli.errors import LiereError
from liere_cli.runs import lock as lock_module
from liere_cli.runs.folder import Run
from liere_cli.runs.lock import RunLocked, lock_run, owner_of
from liere_cli.utils.files import make_folder
from support.locks import locked_elsewhere


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "outputs" / "experiment" / "text-rope-s0-0123456789ab")


def lease_of(run: Run) -> Path:
    return run.folder.parent.parent / ".claims" / f"{run.run_id}.lease"


def test_a_run_has_one_owner_that_is_named(run: Run) -> None:
    with locked_elsewhere(run) as pid:
        with (
            pytest.raises(RunLocked, match=rf"{run.name}: .*\(process {pid} on .+, since 20"),
            lock_run(run),
        ):
            raise AssertionError
        owner = owner_of(run)
        assert owner is not None
        assert owner.pid == pid
        with lock_run(Run(run.folder.with_name("text-rope-s1-ffffffffffff"))):
            pass


def test_experiments_with_the_same_run_share_its_lock(run: Run) -> None:
    twin = Run(run.folder.parent.parent / "another" / run.name)
    with lock_run(run), pytest.raises(RunLocked), lock_run(twin):
        raise AssertionError


def test_the_lock_of_a_killed_owner_is_taken_over(run: Run) -> None:
    with locked_elsewhere(run):
        pass
    with lock_run(run):
        assert owner_of(run) is not None
    assert owner_of(run) is None


def without_kernel_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: FileLock) -> None:
        raise OSError(lock_module.errno.ENOSYS, "no flock here")

    monkeypatch.setattr(FileLock, "acquire", refuse)


def test_without_kernel_locks_the_lease_decides(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    without_kernel_locks(monkeypatch)
    monkeypatch.setattr(lock_module, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(lock_module, "PATIENCE_SECONDS", 0.3)
    make_folder(run.folder)
    with locked_elsewhere(run):
        # as from another host, whose process ids say nothing
        marker = lease_of(run).read_text()
        assert "host=" in marker
        descriptor = os.open(lease_of(run), os.O_WRONLY | os.O_TRUNC)
        os.write(descriptor, re.sub("host=.*", "host=another", marker).encode())
        os.close(descriptor)
        with pytest.raises(RunLocked), lock_run(run):
            raise AssertionError
    with lock_run(run) as lock:
        lock.check()
        lease_of(run).unlink()
        assert lock.lost.wait(10)
        with pytest.raises(RunLocked):
            lock.check()


def test_a_folder_that_cannot_be_written_is_one_sentence(run: Run) -> None:
    outputs = run.folder.parent.parent
    outputs.write_text("a file where the folder should be")
    with (
        pytest.raises(LiereError, match=r"outputs.*can't be written \(Not a directory\)"),
        lock_run(run),
    ):
        raise AssertionError
