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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liere_cli.config.files import MAX_RECIPE_BYTES, dump_yaml, parse_settings
from liere_cli.config.recipe import Recipe
from liere_cli.errors import LiereError, UsageError, shortened
from liere_cli.runs.identity import ID_DIGITS
from liere_cli.utils.files import (
    digest_of,
    parse_json,
    read_json,
    read_limited,
    seal,
    to_json,
    write_atomically,
)

#: of summary.json; runs without one were written before it had digests
SUMMARY_FORMAT = 2
#: what every summary has, whatever became of the run, and of what kind; None: there is no value
_NUMBER = (int, float, type(None))
SUMMARY_FIELDS: dict[str, tuple[type, ...]] = {
    "id": (str,), "status": (str,), "encoding": (str,), "data": (str,), "seed": (int,),
    "metric": (str,),
    "val": _NUMBER, "test": _NUMBER, "steps": (int,), "seconds": _NUMBER, "parameters": (int,),
    "encoding_parameters": (int,), "throughput": _NUMBER, "throughput_unit": (str,),
    "error": (str, type(None)),
}  # fmt: skip
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

    def summary(self) -> dict[str, Any] | None:
        """The closing summary, or None while the run is not over.

        Raises:
            LiereError: the file is damaged, or of a later version of liere.
        """
        path = self.path("summary.json")
        try:
            summary = read_json(path, MAX_SUMMARY_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise LiereError(f"{path}: can't be read ({error}); {_AGAIN}") from None
        if fault := _fault(summary, self):
            raise LiereError(f"{path}: {fault}")
        return dict(summary)

    def checked(self, name: str, most: int, summary: Mapping[str, Any] | None = None) -> bytes:
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
        summary = summary or self.summary() or {}
        digest = summary.get("files", {}).get(name)
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

    def write_summary(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        """Ends the run; returns the summary as written, with digests of all that it stands on."""
        files = sorted(path for name in _SEALED for path in self.folder.glob(name))
        sealed = {
            **summary,
            "format": SUMMARY_FORMAT,
            "files": {path.name: digest_of(path.read_bytes()) for path in files},
        }
        sealed["sha256"] = seal(sealed, "sha256")
        write_atomically(self.path("summary.json"), to_json(sealed))
        return sealed


_AGAIN = "delete it to train again"


def _fault(summary: object, run: Run) -> str | None:
    """Why a summary can't be used as that run's."""
    if not isinstance(summary, dict):
        return f"is no summary of a run; {_AGAIN}"
    version = summary.get("format", 1)
    if isinstance(version, int) and version > SUMMARY_FORMAT:
        return f"was written by a later version of liere (format {version}); read it with that one"
    sealed = "sha256" in summary or version != 1
    if sealed and summary.get("sha256") != seal(summary, "sha256"):
        return f"was damaged or changed after it was written (its digest differs); {_AGAIN}"
    if missing := sorted(SUMMARY_FIELDS.keys() - summary.keys()):
        return f"is no whole summary of a run (it lacks '{missing[0]}'); {_AGAIN}"
    for key, kinds in SUMMARY_FIELDS.items():
        value = summary[key]
        if not isinstance(value, kinds) or isinstance(value, bool):
            return f"is no summary of a run ('{key}' is {shortened(value)}); {_AGAIN}"
    if not isinstance(summary.get("files", {}), dict):
        return f"is no summary of a run ('files' is no list of digests); {_AGAIN}"
    # a folder that someone renamed has no identity to compare with
    named = len(run.run_id) == ID_DIGITS and re.fullmatch("[0-9a-f]+", run.run_id)
    if named and summary["id"] != run.run_id:
        return f"is the summary of another run ({shortened(summary['id'])}); {_AGAIN}"
    return None


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
