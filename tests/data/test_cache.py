"""The cache of prepared data: built once, also by several processes; damage is detected."""

import io
import json
import multiprocessing
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from liere_cli.data.sources import cache as cache_module
from liere_cli.data.sources.archives import extract_into
from liere_cli.data.sources.cache import cached_digest, prepared, verified
from liere_cli.errors import LiereError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIERE_CACHE", str(tmp_path))
    return tmp_path / "prepared"


def build(folder: Path) -> None:
    np.save(folder / "a.npy", np.arange(100_000, dtype=np.int32).reshape(100, -1))
    np.save(folder / "b.npy", np.zeros((0, 3), np.uint8))


def refuse(folder: Path) -> None:
    raise AssertionError("built again")


def test_an_entry_is_built_once_and_mapped() -> None:
    for builder in (build, refuse, refuse):
        arrays = prepared("key/entry", builder)
        assert arrays["a"].sum() == np.arange(100_000).sum()
        assert arrays["b"].shape == (0, 3)


def test_writing_to_an_array_does_not_change_the_entry() -> None:
    prepared("entry", build)["a"][:] = 7
    assert prepared("entry", refuse)["a"][0, 1] == 1


@pytest.mark.parametrize("damage", ["cut", "zeros", "header", "missing", "other shape", "no list"])
def test_a_damaged_entry_is_built_again(damage: str, cache: Path) -> None:
    prepared("entry", build)
    file = cache / "entry" / "a.npy"
    whole = file.read_bytes()
    if damage == "cut":
        file.write_bytes(whole[:-1])
    elif damage == "zeros":
        file.write_bytes(whole[:-5000] + bytes(5000))
    elif damage == "header":
        file.write_bytes(whole[:20] + b"(" * 10 + whole[30:])
    elif damage == "missing":
        file.unlink()
    elif damage == "other shape":
        np.save(file, np.zeros((2, 2)))
    else:
        (cache / "entry" / "entry.json").write_text("{")
    with pytest.raises(AssertionError, match="built again"):
        prepared("entry", refuse)
    assert prepared("entry", build)["a"][-1, -1] == 99_999
    assert prepared("entry", refuse)["a"][-1, -1] == 99_999


def test_an_array_is_read_again_only_when_its_file_has_changed(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared("entry", build)
    read = []
    digest = cache_module.digest_of_file
    monkeypatch.setattr(
        cache_module, "digest_of_file", lambda path: (read.append(path.name), digest(path))[1]
    )
    prepared("entry", refuse)
    assert read == []
    # a copy has another inode and time: it is read once
    copy = cache / "copy.npy"
    shutil.copyfile(cache / "entry" / "a.npy", copy)
    copy.replace(cache / "entry" / "a.npy")
    for _ in range(2):
        prepared("entry", refuse)
        assert read == ["a.npy"]


def test_verifying_finds_damage_that_changes_neither_size_nor_time(cache: Path) -> None:
    prepared("some/entry", build)
    prepared("other", build)
    file = cache / "some" / "entry" / "a.npy"
    before = file.stat()
    with file.open("r+b") as opened:
        opened.seek(500)
        opened.write(b"damage")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    prepared("some/entry", refuse)
    assert dict(verified()) == {cache / "some" / "entry": False, cache / "other": True}
    with pytest.raises(AssertionError, match="built again"):
        prepared("some/entry", refuse)
    assert dict(verified()) == {cache / "other": True}


def test_what_a_killed_process_has_built_is_offered_to_builders_that_go_on(cache: Path) -> None:
    def killed(folder: Path) -> None:
        (folder / "part").write_text("1")
        raise KeyboardInterrupt

    def go_on(folder: Path) -> None:
        assert (folder / "part").read_text() == "1"
        (folder / "part").unlink()
        build(folder)

    with pytest.raises(KeyboardInterrupt):
        prepared("entry", killed, resumes=True)
    assert prepared("entry", go_on, resumes=True)["a"].shape == (100, 1000)
    with pytest.raises(KeyboardInterrupt):
        prepared("other", killed)
    assert [path.name for path in cache.iterdir() if path.is_dir()] == ["entry"]


def test_a_failed_build_leaves_nothing(cache: Path) -> None:
    def fail(folder: Path) -> None:
        build(folder)
        raise LiereError("the source is broken")

    with pytest.raises(LiereError, match="source is broken"):
        prepared("entry", fail)
    assert [path for path in cache.iterdir() if path.is_dir()] == []


def test_leftovers_of_a_killed_process_are_removed(cache: Path) -> None:
    (cache / ".entry.abc").mkdir(parents=True)
    prepared("entry", build)
    assert [path.name for path in cache.iterdir() if path.is_dir()] == ["entry"]


def test_an_unwritable_cache_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIERE_CACHE", str(tmp_path / "file"))
    with pytest.raises(LiereError, match=r"cache folder .*file.* can't be written .*LIERE_CACHE"):
        prepared("entry", build)
    # digests are computed without a cache
    assert cached_digest(("key",), lambda: "digest") == "digest"


def test_digests_are_cached_by_their_key(tmp_path: Path) -> None:
    assert cached_digest(("a", 1), lambda: "first") == "first"
    assert cached_digest(("a", 1), lambda: "second") == "first"
    assert cached_digest(("a", 2), lambda: "second") == "second"
    for path in (tmp_path / "digests").iterdir():
        path.write_text(path.read_text().replace("first", "other"))
    assert cached_digest(("a", 1), lambda: "third") == "third"


def _slow_build(folder: Path) -> None:
    with (folder.parent / "builders").open("a") as file:
        file.write(f"{os.getpid()}\n")
    build(folder)


def _worker(total: "multiprocessing.Queue[int]") -> None:
    total.put(int(prepared("shared", _slow_build)["a"].sum()))


def test_several_processes_build_an_entry_once(cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[int] = context.Queue()
    workers = [context.Process(target=_worker, args=(results,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    sums = {results.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
    assert sums == {int(np.arange(100_000).sum())}
    assert len((cache / "builders").read_text().split()) == 1
    entry = json.loads((cache / "shared" / "entry.json").read_text())
    assert entry["arrays"]["a"]["shape"] == [100, 1000]


@pytest.mark.parametrize("name", ["../outside", "a/../../outside"])
def test_archives_never_write_outside(name: str, tmp_path: Path) -> None:
    archive = tmp_path / "evil.tgz"
    with tarfile.open(archive, "w:gz") as members:
        member = tarfile.TarInfo(name)
        member.size = 4
        members.addfile(member, io.BytesIO(b"evil"))
    inner = tmp_path / "inner"
    inner.mkdir()
    with pytest.raises(LiereError, match=r"evil.tgz contains an unsafe member"):
        extract_into(archive, inner / "target")
    assert not list(tmp_path.rglob("outside"))
    assert not list(inner.iterdir())
