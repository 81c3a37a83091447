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

import hashlib
import json
import math
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liere_cli.errors import LiereError, UsageError
from liere_cli.recipe import Recipe
from liere_cli.recipe_files import MAX_RECIPE_BYTES, dump_yaml, parse_settings
from liere_cli.schema import shortened

FORMAT = 1
TEMPORARY = ".tmp-"
ID_DIGITS = 12
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


def seal(record: Mapping[str, Any], key: str) -> str:
    """Digest of everything in a JSON record but what stands under ``key``, where it belongs."""
    rest = {name: value for name, value in record.items() if name != key}
    return digest_of(json.dumps(rest, sort_keys=True).encode())


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes beside the target, flushes to disk, then renames: readers see all of it or nothing.

    Both file and folder reach the disk, so that the power may fail at any moment.

    Raises:
        LiereError: the folder can't be written, or the disk is full.
    """
    # a file's name need not be valid UTF-8, and may be part of a label
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=TEMPORARY, delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise LiereError(f"{path}: can't be written ({error.strerror})") from None
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_limited(path: Path, most: int) -> bytes:
    """The content of a file that others may have made.

    Raises:
        OSError: it can't be read.
        ValueError: it is no plain file, or larger than ``most`` bytes.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for a writer
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is no plain file")
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


def read_json(path: Path, most: int) -> Any:
    """The JSON value in a file that others may have made.

    Raises:
        OSError: it can't be read.
        ValueError: it is too large, or no JSON of finite numbers.
    """
    return parse_json(read_limited(path, most))


def parse_json(text: str | bytes) -> Any:
    """A JSON value of finite numbers; raises ValueError for anything else."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no number")

    def whole(digits: str) -> int:
        if len(digits) <= 30:
            return int(digits)
        raise ValueError(f"{shortened(digits)} is no number of a usual size")

    def finite(digits: str) -> float:
        if math.isfinite(number := float(digits)):
            return number
        raise ValueError(f"{shortened(digits)} is no number of a usual size")

    try:
        return json.loads(text, parse_constant=refuse, parse_float=finite, parse_int=whole)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def digest_of(content: bytes) -> str:
    """Hex digits by which a changed byte is noticed."""
    return hashlib.sha256(content).hexdigest()


def to_json(value: Any) -> str:
    """JSON that any reader takes (no NaN, no infinity) and that any terminal only shows."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    return _UNSHOWN.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


#: what JSON may hold as it is, but drives terminals, reorders a line or is half a character
_UNSHOWN = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


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
