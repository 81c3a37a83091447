"""The run index: a cache of what tables read from finished runs, for hundreds of runs or more.

``OUTPUTS/.index.json`` holds the record of each run and the test set's error of each pair of
encodings. An entry is valid while the run's files have the sizes and the times of modification and
change that they had when it was made. The file may be deleted at any time. It is replaced
atomically, so that the last of several writers wins, and its first line has a digest of the rest.
If the folder can't be written, nothing is cached.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from liere_cli import __version__
from liere_cli.config.budget import Budget
from liere_cli.config.recipe import Recipe
from liere_cli.errors import LiereError, UsageError
from liere_cli.planning.run_record import RunRecord, RunRecordReader, shared_settings
from liere_cli.runs.folder import Run
from liere_cli.runs.item_results import FILE as ITEMS_FILE
from liere_cli.runs.item_results import ItemReader
from liere_cli.runs.summary import RunSummary
from liere_cli.statistics.item_errors import ItemDifferences, ItemError, StoredItemError
from liere_cli.utils.files import digest_of, parse_json, read_limited, write_atomically

FILE = ".index.json"
#: raised when stored values are computed differently: files of other formats are rebuilt
FORMAT = 2
#: fewest runs of one outputs folder for which the cache is read and written
MIN_RUNS = 100
#: a younger file may change again without a change of its timestamps
SETTLED_SECONDS = 2.0
MAX_BYTES = 1 << 29
#: pairs of encodings that are kept
MAX_PAIRS = 20_000
#: files whose timestamps and sizes make an entry valid
STAMPED = ("summary.json", "recipe.yaml", ITEMS_FILE)

#: times of modification and change in nanoseconds, and size in bytes; None without a file
Stamp = list[int] | None
#: why results per item can't be read; None if they can
ItemsProblem = Literal["missing", "damaged"] | None
_NAMES = [attribute.name for attribute in fields(RunRecord)]
_TEXTS = ("encoding", "data", "fingerprint", "run_id", "metric", "name", "dataset", "parent")
_TYPES: dict[str, type] = dict.fromkeys(_TEXTS, str) | {"seed": int, "axes": int}


@dataclass
class _Entry:
    """A run's record; its results per item are checked on first use."""

    stamps: list[Stamp]
    record: RunRecord
    items_problem: ItemsProblem | Literal["unknown"] = "unknown"


@dataclass
class _Folder:
    """The cache of one outputs folder.

    Args:
        runs: entries as in the file, by ``EXPERIMENT/RUN``.
        shared: texts of :attr:`RunRecord.shared`, to which entries refer by index.
        pairs, used: the test set's error between two rows of runs, by a digest of their results:
            as in the file, and those that this process used.
    """

    path: Path
    runs: dict[str, list[Any]] = field(default_factory=dict)
    shared: list[str] = field(default_factory=list)
    pairs: dict[str, list[Any]] = field(default_factory=dict)
    used: dict[str, list[Any]] = field(default_factory=dict)
    changed: bool = False


class RunIndex(ItemReader):
    """Records of runs and their differences per item, cached in outputs folders of many runs."""

    def __init__(self, runs: Sequence[Run]) -> None:
        super().__init__()
        self.warnings: list[str] = []
        self._reader = RunRecordReader()
        self._entries: dict[str, _Entry] = {}
        counts = Counter(_split_path(run)[0] for run in runs)
        large = [outputs for outputs, count in counts.items() if count >= MIN_RUNS]
        self._folders = {outputs: self._load(Path(outputs, FILE)) for outputs in large}

    def record(self, run: Run) -> RunRecord:
        """As :meth:`RunRecordReader.read`, from the cache if it has a valid entry."""
        outputs, name = _split_path(run)
        folder = self._folders.get(outputs)
        if folder is None:
            return self._reader.read(run)
        stamps = [_stamp(run.path(file)) for file in STAMPED]
        entry = _valid_entry(folder, folder.runs.get(name), stamps)
        if entry is None:
            entry = _Entry(stamps, self._reader.read(run))
            if entry.record.summary is None or not _settled(stamps):
                return entry.record
            folder.changed = True
        self._entries[str(run.folder)] = entry
        return entry.record

    def fault(self, run: Run, metric: str) -> ItemsProblem:
        entry = self._entries.get(str(run.folder))
        if entry is None:
            return super().fault(run, metric)
        if entry.items_problem == "unknown":
            entry.items_problem = super().fault(run, metric)
            self._folders[_split_path(run)[0]].changed = True
        return entry.items_problem

    def between(
        self, ours: Sequence[Run], theirs: Sequence[Run], metric: str
    ) -> ItemDifferences | StoredItemError | None:
        digests = [self._digest(run) for run in (*ours, *theirs)]
        if None in digests:
            return super().between(ours, theirs, metric)
        folder = self._folders[_split_path(ours[0])[0]]
        key = digest_of(json.dumps([metric, digests]), 32)
        n = len(ours)
        if key in folder.pairs:
            folder.used[key] = folder.pairs[key]
            return StoredItemError(n, _error_in(folder.pairs[key]))
        differences = super().between(ours, theirs, metric)
        error = differences.test_set(n) if differences else None
        folder.used[key] = [error.error, error.clusters, error.freedom] if error else []
        folder.changed = True
        return differences

    def save(self) -> None:
        """Writes new entries; a folder that can't be written is skipped."""
        used: dict[str, dict[str, _Entry]] = {outputs: {} for outputs in self._folders}
        for path, entry in self._entries.items():
            outputs, name = _split_path(Run(Path(path)))
            used[outputs][name] = entry
        for outputs, folder in self._folders.items():
            if folder.changed:
                with suppress(LiereError):
                    write_atomically(folder.path, _content(folder, used[outputs], outputs))

    def _digest(self, run: Run) -> str | None:
        """Digest of the run's results per item; None if they can't be read or aren't cached."""
        entry = self._entries.get(str(run.folder))
        return entry.record.items if entry and entry.items_problem is None else None

    def _load(self, path: Path) -> _Folder:
        folder = _Folder(path)
        try:
            content = read_limited(path, MAX_BYTES)
        except FileNotFoundError:
            return folder
        except (OSError, ValueError) as error:
            self.warnings.append(f"{path}: can't be read ({error}), so every run is read instead")
            return folder
        header, _, body = content.partition(b"\n")
        try:
            described = parse_json(header)
            if described["sha256"] != digest_of(body):
                raise ValueError("its digest differs")
            if described["made by"] != _maker():
                return folder
            value = parse_json(body)
            for stored in value["pairs"].values():
                _error_in(stored)
            for text in value["shared"]:
                float(parse_json(text)["training"]["fraction"])
            return _Folder(path, dict(value["runs"]), list(value["shared"]), dict(value["pairs"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            self.warnings.append(f"{path}: is damaged, so it is rebuilt from the runs")
            return folder


def _split_path(run: Run) -> tuple[str, str]:
    """The run's outputs folder, and ``EXPERIMENT/RUN`` below it."""
    path = os.path.abspath(run.folder)
    experiment, name = os.path.split(path)
    outputs, experiment = os.path.split(experiment)
    return outputs, f"{experiment}/{name}"


def _stamp(path: Path) -> Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_mtime_ns, status.st_ctime_ns, status.st_size]


def _settled(stamps: Sequence[Stamp]) -> bool:
    """Whether all files are old enough for their timestamps to identify their content."""
    latest = max(max(stamp[:2]) for stamp in stamps if stamp)
    return time.time_ns() - latest > SETTLED_SECONDS * 1e9


def _maker() -> list[Any]:
    """Format, version and default settings, with which entries are valid.

    A later version may have further settings, whose defaults become part of a run's record.
    """
    settings = json.dumps(shared_settings(Recipe(), ""), sort_keys=True)
    return [FORMAT, __version__, digest_of(settings, 16)]


def _valid_entry(folder: _Folder, stored: Any, stamps: list[Stamp]) -> _Entry | None:
    """The entry stored in the file; None if the run's files changed or it is malformed."""
    try:
        before, items_problem, *values = stored
        if before[:2] != stamps[:2]:
            return None
        by_name = dict(zip(_NAMES, values, strict=True))
        by_name["shared"] = folder.shared[by_name["shared"]]
        by_name["budget"] = Budget.parse(by_name["budget"])
        by_name["summary"] = RunSummary.from_record(by_name["summary"])
        record = RunRecord(**by_name)
        well_formed = all(isinstance(by_name[name], kind) for name, kind in _TYPES.items())
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, UsageError):
        return None
    if not well_formed:
        return None
    if before != stamps or items_problem not in ("missing", "damaged", None):
        folder.changed, items_problem = True, "unknown"
    return _Entry(stamps, record, items_problem)


def _error_in(stored: Any) -> ItemError | None:
    """The error of a pair as stored in the file; an empty list stands for None."""
    if not stored:
        return None
    error, clusters, freedom = stored
    return ItemError(float(error), int(clusters), float(freedom))


def _content(folder: _Folder, used: dict[str, _Entry], outputs: str) -> bytes:
    """The file's content: the used entries, and those of other runs that still exist."""
    shared = dict.fromkeys(folder.shared)
    runs = {
        name: stored
        for name, stored in folder.runs.items()
        if name not in used and os.path.isdir(os.path.join(outputs, name))
    }
    shared |= dict.fromkeys(entry.record.shared for entry in used.values())
    number = {text: index for index, text in enumerate(shared)}
    for name, entry in used.items():
        values = {attribute: getattr(entry.record, attribute) for attribute in _NAMES}
        values["shared"] = number[entry.record.shared]
        values["budget"] = entry.record.budget.text
        values["summary"] = entry.record.summary and entry.record.summary.to_record()
        runs[name] = [entry.stamps, entry.items_problem, *values.values()]
    pairs = dict(list((folder.pairs | folder.used).items())[-MAX_PAIRS:])
    value = {"shared": list(shared), "runs": runs, "pairs": pairs}
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    header = {"made by": _maker(), "sha256": digest_of(body)}
    return json.dumps(header).encode() + b"\n" + body
