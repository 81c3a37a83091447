"""Files are written with the rights that the user's umask gives."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from liere_cli.utils.files import built_beside, write_atomically


@pytest.fixture(params=[0o022, 0o002, 0o077, 0o027])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_files_and_folders_have_the_rights_of_the_umask(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "new" / "file.txt"
    for content in ("first", b"second"):
        write_atomically(path, content)
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    folder = tmp_path / "built"
    with built_beside(folder) as work:
        (work / "part").write_text("content")
    for made in (folder, path.parent):
        assert made.stat().st_mode & 0o777 == 0o777 & ~umask
    assert sorted(tmp_path.rglob("*")) == sorted([folder, folder / "part", path.parent, path])
