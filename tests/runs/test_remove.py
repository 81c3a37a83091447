"""Removing runs never touches other folders, and leaves a whole run or none."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liere_cli.config.files import load_recipe
from liere_cli.errors import LiereError, UsageError
from liere_cli.runs import remove
from liere_cli.runs.build import assemble
from liere_cli.runs.find import all_runs
from liere_cli.runs.folder import Run
from liere_cli.runs.lock import RunLocked
from liere_cli.runs.remove import clear_removed, remove_run, remove_weights
from support.locks import locked_elsewhere
from support.small_runs import CPU
from support.synthetic_runs import TINY, write_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    flags = {"encoding": "axial", "data": "pointing", "model": TINY}
    run = write_run(assemble(load_recipe(flags=flags), device=CPU), tmp_path / "outputs")
    for name in ("best.safetensors", "last.safetensors", "transfer/48x48.safetensors"):
        run.path(name).parent.mkdir(exist_ok=True)
        run.path(name).write_bytes(b"x")
    return run


def content(folder: Path) -> dict[str, bytes | None]:
    paths = sorted(folder.rglob("*"))
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in paths
    }


@pytest.mark.parametrize("act", [remove_run, remove_weights])
def test_a_run_in_training_is_kept(run: Run, act: Callable[[Run], None]) -> None:
    before = content(run.folder)
    with locked_elsewhere(run), pytest.raises(RunLocked, match="another process is training"):
        act(run)
    assert content(run.folder) == before


@given(
    st.sampled_from(
        ["notes.txt", "model.safetensors", "transfer/a.txt", "checkpoints/deep/x.json",
         "recipe.yaml.bak", ".hidden", "summary.json/x", "items-test.safetensors.old"]
    )
)  # fmt: skip
def test_a_folder_with_other_files_is_kept(name: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder, "outputs", "mine", "x-y-s0-0123456789ab"))
        path = run.path(name)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"mine")
        run.path("recipe.yaml").write_bytes(b"seed: 0")
        before = content(run.folder)
        with pytest.raises(UsageError, match="which liere did not write"):
            remove_run(run)
        assert content(run.folder) == before


def test_folders_that_are_no_runs_are_kept(tmp_path: Path, run: Run) -> None:
    mine = tmp_path / "outputs" / "mine" / "thesis-2026"
    mine.mkdir(parents=True)
    (mine / "recipe.yaml").write_text("soup")
    with pytest.raises(UsageError, match="not named as a run"):
        remove_run(Run(mine))
    empty = mine.with_name("x-0123456789ab")
    empty.mkdir()
    with pytest.raises(UsageError, match="no recipe"):
        remove_run(Run(empty))
    link = run.folder.with_name(f"link-{run.run_id}")
    link.symlink_to(run.folder)
    with pytest.raises(UsageError, match="is a link"):
        remove_run(Run(link))
    assert mine.is_dir()
    assert run.folder.is_dir()


def test_links_inside_a_run_are_not_followed(tmp_path: Path, run: Run) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious.safetensors").write_bytes(b"x")
    run.path("checkpoints").symlink_to(tmp_path / "data")
    with pytest.raises(UsageError, match="checkpoints"):
        remove_run(run)
    assert (tmp_path / "data" / "precious.safetensors").exists()


def test_weights_of_an_unfinished_run_are_kept(run: Run) -> None:
    run.path("summary.json").unlink()
    with pytest.raises(LiereError, match="still needed"):
        remove_weights(run)
    assert run.path("best.safetensors").exists()


def test_without_weights_a_run_still_has_its_summary(run: Run) -> None:
    remove_weights(run)
    remove_weights(run)
    assert not run.path("last.safetensors").exists()
    assert run.summary() is not None


@pytest.mark.parametrize("moment", range(12))
def test_a_killed_removal_leaves_a_whole_run_or_none(run: Run, moment: int) -> None:
    """Killed before its n-th change of the disk."""
    before, outputs = content(run.folder), run.folder.parent.parent
    pid = os.fork()
    if pid == 0:
        changes = 0

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal changes
            if event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir"):
                changes += 1
                if changes > moment:
                    os.kill(os.getpid(), signal.SIGKILL)

        import sys

        sys.addaudithook(count)
        remove_run(run)
        os._exit(0)
    os.waitpid(pid, 0)
    left = all_runs(outputs)
    assert left == ([run] if run.folder.is_dir() else [])
    if left:
        assert content(run.folder) == before
        remove_run(run)
    clear_removed(outputs)
    assert not run.folder.exists()
    assert not list((outputs / remove.FOLDER).glob("*"))
