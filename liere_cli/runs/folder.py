"""Run folders: what a run is called, what lies in it, and how it is found again.

outputs/EXPERIMENT/RUN/
    recipe.yaml        every value resolved
    signature.txt      one line, in the manner of sacreBLEU
    environment.json   versions, device, threads
    metrics.jsonl      one line per logged step or validation
    items-SPLIT.safetensors  per-item results, for paired tests
    best.safetensors, last.safetensors   weights
    transfer/          per-item results at other grids, see conditions.py
    summary.json       written last: its presence means that the run is over; it holds a digest of
                       itself and of each of the others
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from liere_cli.config.files import MAX_RECIPE_BYTES, dump_yaml, parse_settings
from liere_cli.config.recipe import Recipe
from liere_cli.errors import LiereError, UsageError, unreadable
from liere_cli.runs.summary import AGAIN, FORMAT, RunSummary, verified
from liere_cli.utils.files import (
    digest_of,
    parse_json,
    read_json,
    read_limited,
    seal,
    to_json,
    write_atomically,
)

#: what a summary vouches for by digest
_SEALED = (
    "recipe.yaml", "signature.txt", "environment.json", "metrics.jsonl", "items-*.safetensors",
    "best.safetensors", "last.safetensors",
)  # fmt: skip
#: largest files that are read from a run, in bytes
MAX_SUMMARY_BYTES, MAX_METRICS_BYTES, MAX_ITEMS_BYTES = 1 << 20, 1 << 28, 1 << 30


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

    def summary(self) -> RunSummary | None:
        """The closing summary, or None while the run is not over.

        Raises:
            LiereError: the file is damaged, or of a later version of liere.
        """
        path = self.path("summary.json")
        try:
            record = read_json(path, MAX_SUMMARY_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise unreadable(path, error, AGAIN) from None
        try:
            return verified(record, self.run_id)
        except ValueError as error:
            raise LiereError(f"{path}: {error}") from None

    def checked(self, name: str, most: int, summary: RunSummary | None = None) -> bytes:
        """The content of one of the run's files, as it was when the run ended.

        Args:
            most: bytes that it may have.
            summary: the run's, where it is known already.

        Raises:
            OSError: it can't be read.
            LiereError: it is too large, or not what the summary vouches for.
        """
        path = self.path(name)
        try:
            content = read_limited(path, most)
        except ValueError as error:
            raise LiereError(f"{path}: can't be read ({error})") from None
        summary = summary or self.summary()
        digest = summary.files.get(name) if summary else None
        if digest is not None and digest != digest_of(content):
            raise LiereError(
                f"{path}: was damaged or changed after the run ended (its digest is not the one "
                "in summary.json); liere train --fresh makes it anew"
            )
        return content

    def recipe(self) -> Recipe:
        """The resolved recipe that the run was made from."""
        path = self.path("recipe.yaml")
        try:
            content = self.checked(path.name, MAX_RECIPE_BYTES)
        except OSError as error:
            raise LiereError(f"{path}: can't be read ({error.strerror})") from None
        return Recipe.validated(parse_settings(content, str(path)), str(path))

    def metrics(self) -> Iterator[dict[str, Any]]:
        """Lines of metrics.jsonl, up to the first that is torn or damaged.

        Raises:
            LiereError: the run is over, and the file not what it was then.
        """
        try:
            content = self.checked("metrics.jsonl", MAX_METRICS_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            path = self.path("metrics.jsonl")
            raise LiereError(f"{path}: can't be read ({error.strerror})") from None
        yield from metrics_in(content)

    def write_recipe(self, recipe: Recipe) -> None:
        settings = recipe.model_dump(mode="json", exclude={"compare"})
        write_atomically(self.path("recipe.yaml"), dump_yaml(settings))

    def write_summary(self, summary: RunSummary) -> RunSummary:
        """Ends the run; returns the summary as written, with digests of all that it stands on."""
        paths = sorted(path for name in _SEALED for path in self.folder.glob(name))
        files = {path.name: digest_of(path.read_bytes()) for path in paths}
        sealed = replace(summary, format=FORMAT, files=files, sha256=None)
        sealed = replace(sealed, sha256=seal(sealed.to_record(), "sha256"))
        write_atomically(self.path("summary.json"), to_json(sealed.to_record()))
        return sealed


def metrics_in(content: bytes) -> Iterator[dict[str, Any]]:
    """Lines of a metrics.jsonl, up to the first that is torn or damaged."""
    for text in content.decode(errors="replace").splitlines():
        try:
            line = parse_json(text)
        except ValueError:
            return
        if not isinstance(line, dict) or not isinstance(line.get("step"), int):
            return
        yield line


class Listing:
    """What lies in an outputs folder, listed once for a plan of many runs.

    What is begun later is not in it, so training looks for itself.
    """

    def __init__(self, outputs: Path) -> None:
        self.outputs = outputs
        self._by_id: dict[str, list[Path]] = {}
        for folder in outputs.glob("*/*-*"):
            self._by_id.setdefault(Run(folder).run_id, []).append(folder)

    def find(self, run_id: str) -> Run | None:
        """As :func:`find_run`."""
        return _first_of(self._by_id.get(run_id, ()))


def find_run(outputs: Path, run_id: str) -> Run | None:
    """The run of that identity in any experiment, a finished one first."""
    return _first_of(outputs.glob(f"*/*-{run_id}"))


def _first_of(folders: Iterable[Path]) -> Run | None:
    candidates = [Run(folder) for folder in sorted(folders) if folder.is_dir()]
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


FOLDER, JOBS_FILE = "slurm", "jobs.json"
