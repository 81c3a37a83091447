"""Shared by the scripts in this folder: workers that start at once, tiny runs, equality of runs.

``import torch`` takes longer than a tiny run. A worker is therefore forked from a process that has
imported it, and calls the entry point of the command ``liere``.
"""

import contextlib
import hashlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# read by torch when it is imported: sums of floats depend on the number of threads
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

import liere_cli.cli.progress
import liere_cli.comparison.tables.build
import liere_cli.evaluation.trained_run
import liere_cli.launchers.local
import liere_cli.planning.from_recipe
import liere_cli.training.run  # noqa: F401
from liere_cli.cli import main

#: a worker that takes longer is considered to hang
PATIENCE_SECONDS = 120.0
#: keys of a summary that depend on the clock
CLOCKED = ("seconds", "evaluation_seconds", "throughput", "sha256")
#: a text that needs no download
VERSE = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all. " * 40

#: every modality, with every random stream in use: dropout, augmentation, displaced positions
_COMMON = (
    "--set=model.layers=1", "--set=model.dim=16", "--set=model.heads=2", "--set=model.dropout=0.1",
    "--set=training.batch=4", "--set=training.log_every=3", "--set=training.validations=6",
    "--set=training.validation_limit=20", "--set=training.checkpoint_seconds=0.01",
    "--set=training.positions.jitter=1", "--device=cpu",
)  # fmt: skip
TINY = {
    "text": ("--data=text:verse.txt,grid=16", "--encoding=liere", *_COMMON),
    "images": ("--data=pointing:train=40,val=20,test=20", "--encoding=liere:block=4", *_COMMON),
    "video": ("--data=motion:train=40,val=20,test=20", "--encoding=rope-mixed", *_COMMON),
}


class Worker:
    """A ``liere`` command in a forked process, which starts without waiting for imports.

    Args:
        arguments: of the command.
        folder: its working directory.
        log: file for its output.
        before: called in the worker before the command.
    """

    def __init__(
        self,
        arguments: list[str],
        folder: Path,
        log: Path,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self.arguments, self.log = arguments, log
        self.code: int | None = None
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _work(arguments, folder, log, before)

    def poll(self) -> int | None:
        """Its exit code, minus the signal that killed it; None while it runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self) -> int:
        """Its exit code, once it has ended.

        Raises:
            TimeoutError: it hangs; it has been killed.
        """
        until = time.monotonic() + PATIENCE_SECONDS
        while self.poll() is None:
            if time.monotonic() > until:
                self.send(signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise TimeoutError(f"liere {' '.join(self.arguments)} hangs")
            time.sleep(0.002)
        assert self.code is not None
        return self.code

    def send(self, number: int) -> None:
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    @property
    def said(self) -> str:
        """Its output."""
        return self.log.read_text(errors="replace") if self.log.is_file() else ""


def _work(arguments: list[str], folder: Path, log: Path, before: Callable[[], None]) -> None:
    code = 70
    try:
        os.chdir(folder)
        with log.open("ab") as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
        sys.argv = ["liere", *arguments]
        before()
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def run_command(arguments: list[str], folder: Path, log: Path) -> Worker:
    """Runs a command to its end."""
    worker = Worker(arguments, folder, log)
    worker.wait()
    return worker


def run_folders(outputs: Path) -> list[Path]:
    """The folders of all runs, in the order of their names."""
    return sorted(path for path in outputs.glob("[!.]*/*") if path.is_dir())


def content(folder: Path) -> dict[str, str]:
    """What must be equal in equal runs: names of the files, weights, items, metrics, summary."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            found[name] = "a folder"
        elif path.suffix == ".safetensors":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif name in ("recipe.yaml", "signature.txt"):
            found[name] = path.read_text()
        else:
            found[name] = ""
    with contextlib.suppress(FileNotFoundError):
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        found["metrics.jsonl"] = json.dumps([_without(line, ("seconds",)) for line in lines])
    with contextlib.suppress(FileNotFoundError):
        summary = json.loads((folder / "summary.json").read_text())
        files = _without(summary["files"], ("metrics.jsonl",))
        found["summary.json"] = json.dumps({**_without(summary, CLOCKED), "files": files})
    return found


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """The files in which two runs differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _without(values: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


@contextlib.contextmanager
def timed() -> Iterator[Callable[[], float]]:
    """Yields a function that returns the seconds since the start."""
    began = time.monotonic()
    yield lambda: time.monotonic() - began


def stand_alone(cache: Path) -> None:
    """Uses a cache of its own and one thread, whatever the environment says."""
    os.environ["LIERE_CACHE"] = str(cache)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.pop("LIERE_DATA", None)
    torch.set_num_threads(1)
