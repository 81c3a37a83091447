"""Run folders: what a run is called, what lies in it, and how it is found again.

outputs/EXPERIMENT/RUN/
    recipe.yaml        every value resolved
    signature.txt      one line, in the manner of sacreBLEU
    environment.json   versions, device, threads
    metrics.jsonl      one line per logged step or validation
    items-SPLIT.safetensors  per-item results, for paired tests
    best.safetensors, last.safetensors   weights
    summary.json       written last: its presence means that the run is over
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liere_cli.errors import LiereError, UsageError
from liere_cli.recipe import Recipe, dump_yaml, read_settings

FORMAT = 1
ID_DIGITS = 12
#: what every summary has, whatever became of the run
SUMMARY_FIELDS = {
    "status", "encoding", "data", "seed", "metric", "val", "test", "steps", "seconds",
    "parameters", "encoding_parameters", "throughput", "throughput_unit", "error",
}  # fmt: skip


def identity(
    recipe: Recipe, encoding: Mapping[str, Any], fingerprint: str, code: str | None = None
) -> str:
    """Hex digits that change with whatever can change the run's numbers, and with nothing else.

    Args:
        recipe: a resolved recipe.
        encoding: what identifies its encoding, from ``identifying_spec``.
        fingerprint: the data set's; it stands for the path that the data came from.
        code: digest of an encoding's own file, which stands for that file's path.
    """
    settings = recipe.identifying()
    for key in ("experiment", "compare"):
        settings.pop(key)
    settings["training"].pop("checkpoint_seconds")
    settings["data"].pop("path", None)
    settings["encoding"] = dict(encoding)
    if code is not None:
        settings["encoding"]["name"] = encoding["name"].rpartition(":")[2]
    text = json.dumps([FORMAT, settings, fingerprint, code], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]


def folder_name(data: str, encoding: str, seed: int, run_id: str) -> str:
    """A readable folder name that no label can lead out of its parent."""
    readable = re.sub(r"[^A-Za-z0-9=.,-]+", "_", f"{data}-{encoding}").strip("._-")
    return f"{readable[:80]}-s{seed}-{run_id}"


def make_folder(folder: Path) -> None:
    """Makes a folder and its parents.

    Raises:
        LiereError: it can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LiereError(f"{folder}: can't be written ({error.strerror})") from None


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes beside the target, flushes to disk, then renames: readers see all of it or nothing.

    Raises:
        LiereError: the folder can't be written, or the disk is full.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".tmp-", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise LiereError(f"{path}: can't be written ({error.strerror})") from None


def to_json(value: Any) -> str:
    """JSON that any reader takes: no NaN, no infinity."""
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Run:
    """One run's folder."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def run_id(self) -> str:
        return self.name.rpartition("-")[2]

    def path(self, name: str) -> Path:
        return self.folder / name

    def summary(self) -> dict[str, Any] | None:
        """The closing summary, or None while the run is not over.

        Raises:
            LiereError: the file is damaged.
        """
        path = self.path("summary.json")
        try:
            summary = json.loads(path.read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise LiereError(f"{path}: can't be read ({error}); delete it to train again") from None
        fields = summary.keys() if isinstance(summary, dict) else set()
        if missing := sorted(SUMMARY_FIELDS - fields):
            raise LiereError(
                f"{path}: is no whole summary of a run (it lacks '{missing[0]}'); delete it to "
                "train again"
            )
        return dict(summary)

    def recipe(self) -> Recipe:
        """The resolved recipe that the run was made from."""
        path = self.path("recipe.yaml")
        return Recipe.validated(read_settings(path), str(path))

    def metrics(self) -> Iterator[dict[str, Any]]:
        """Lines of metrics.jsonl, up to the first that is torn or damaged."""
        path = self.path("metrics.jsonl")
        if not path.is_file():
            return
        for text in path.read_text(errors="replace").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                return
            if not isinstance(line, dict) or not isinstance(line.get("step"), int):
                return
            yield line

    def write_recipe(self, recipe: Recipe) -> None:
        settings = recipe.model_dump(mode="json", exclude={"compare"})
        write_atomically(self.path("recipe.yaml"), dump_yaml(settings))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        write_atomically(self.path("summary.json"), to_json(summary))


def find_run(outputs: Path, run_id: str) -> Run | None:
    """The run of that identity in any experiment, a finished one first."""
    candidates = [
        Run(folder) for folder in sorted(outputs.glob(f"*/*-{run_id}")) if folder.is_dir()
    ]
    finished = [run for run in candidates if run.path("summary.json").is_file()]
    return next(iter(finished + candidates), None)


def open_run(path: str | Path, outputs: Path = Path("outputs")) -> Run:
    """The run at a folder, or of a name or identity under ``outputs``.

    Raises:
        UsageError: there is none.
    """
    folder = Path(path)
    if (folder / "recipe.yaml").is_file():
        return Run(folder)
    text = str(path)
    if re.fullmatch(r"[A-Za-z0-9=.,_-]+", text):
        for match in sorted(outputs.glob(f"*/*{text}")):
            if (match / "recipe.yaml").is_file():
                return Run(match)
    if folder.exists():
        raise UsageError(f"{path}: is no run (it has no recipe.yaml)")
    raise UsageError(f"{path}: there is no run at that path, nor of that name in '{outputs}'")
