"""An index of finished runs, so that a table of thousands need not read them all again.

``OUTPUTS/.index.json`` holds what tables asked of each run and each pair of encodings. It is never
the only truth: an entry counts while the run's files have the size and the times of modification
and change that they had when it was made, and all of it may be deleted at any moment. It is written
beside and renamed, so that of many writers one is kept, and its first line has a digest of the
rest. Where the folder can't be written there is none.
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
from liere_cli.statistics.paired import ItemError
from liere_cli.statistics.test_items import ItemDifferences, KnownItems
from liere_cli.utils.files import digest_of, parse_json, read_limited
from liere_cli.utils.files import write_atomically as write

FILE = ".index.json"
FORMAT = 1
#: runs of one outputs folder in one table from which on an index pays
LEAST = 100
#: a file that is younger may change again within one tick of the clock that stamps it
SETTLED_SECONDS = 2.0
MAX_BYTES = 1 << 29
#: pairs of encodings that are kept
MAX_PAIRS = 20_000
STAMPED = ("summary.json", "recipe.yaml", ITEMS_FILE)

#: nanoseconds of modification and of change, and bytes; None where there is no file
Stamp = list[int] | None
Fault = Literal["missing", "damaged"] | None
_NAMES = [one.name for one in fields(RunRecord)]
_TEXTS = ("encoding", "data", "fingerprint", "run_id", "metric", "name", "dataset")


@dataclass
class _Entry:
    """A run as it was read; ``fault`` is that of its results per item, once asked for."""

    stamps: list[Stamp]
    record: RunRecord
    fault: Fault | Literal["unknown"] = "unknown"


@dataclass
class _Folder:
    """The index of one outputs folder.

    Args:
        runs: entries as in the file, by the run's folder below.
        pairs: the test set's error between two rows of runs, by the digests of their results.
        used: those of them that this process asked for.
    """

    path: Path
    runs: dict[str, list[Any]] = field(default_factory=dict)
    shared: list[str] = field(default_factory=list)
    pairs: dict[str, list[Any]] = field(default_factory=dict)
    used: dict[str, list[Any]] = field(default_factory=dict)
    changed: bool = False


class RunIndex(ItemReader):
    """What is known of runs, from the indexes of their outputs folders or from their files.

    Args:
        runs: that a table will ask for; where they are few, no index is read or written.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        super().__init__()
        self.warnings: list[str] = []
        self._reader = RunRecordReader()
        self._entries: dict[str, _Entry] = {}
        counts = Counter(_place(run)[0] for run in runs)
        large = [place for place, count in counts.items() if count >= LEAST]
        self._folders = {place: self._load(Path(place, FILE)) for place in large}

    def record(self, run: Run) -> RunRecord:
        """As :meth:`RunRecordReader.read`, which it does where the index does not know the run."""
        outputs, name = _place(run)
        folder = self._folders.get(outputs)
        if folder is None:
            return self._reader.read(run)
        stamps = [_stamp(run.path(one)) for one in STAMPED]
        entry = _known(folder, folder.runs.get(name), stamps)
        if entry is None:
            entry = _Entry(stamps, self._reader.read(run))
            if entry.record.summary is None or not _settled(stamps):
                return entry.record
            folder.changed = True
        self._entries[str(run.folder)] = entry
        return entry.record

    def fault(self, run: Run, metric: str) -> Fault:
        entry = self._entries.get(str(run.folder))
        if entry is None:
            return super().fault(run, metric)
        if entry.fault == "unknown":
            entry.fault = super().fault(run, metric)
            self._folders[_place(run)[0]].changed = True
        return entry.fault

    def between(
        self, ours: Sequence[Run], theirs: Sequence[Run], metric: str
    ) -> ItemDifferences | KnownItems | None:
        digests = [self._digest(run) for run in (*ours, *theirs)]
        if None in digests:
            return super().between(ours, theirs, metric)
        folder = self._folders[_place(ours[0])[0]]
        key = digest_of(json.dumps([metric, digests]).encode())[:32]
        n = len(ours)
        if key in folder.pairs:
            folder.used[key] = folder.pairs[key]
            return KnownItems(n, _error_in(folder.pairs[key]))
        differences = super().between(ours, theirs, metric)
        error = differences.test_set(n) if differences else None
        folder.used[key] = [error.error, error.clusters] if error else []
        folder.changed = True
        return differences

    def save(self) -> None:
        """Writes what was learnt, where the folders can be written."""
        names: dict[str, dict[str, _Entry]] = {place: {} for place in self._folders}
        for path, entry in self._entries.items():
            place, name = _place(Run(Path(path)))
            names[place][name] = entry
        for place, folder in self._folders.items():
            if folder.changed:
                with suppress(LiereError):
                    write(folder.path, _content(folder, names[place], place))

    def _digest(self, run: Run) -> str | None:
        """Of results per item that are what the summary vouches for, else None."""
        entry = self._entries.get(str(run.folder))
        return entry.record.items if entry and entry.fault is None else None

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
            for record in value["pairs"].values():
                _error_in(record)
            for text in value["shared"]:
                float(parse_json(text)["training"]["fraction"])
            return _Folder(path, dict(value["runs"]), list(value["shared"]), dict(value["pairs"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            self.warnings.append(f"{path}: is damaged, so it is made anew from the runs")
            return folder


def _place(run: Run) -> tuple[str, str]:
    """The outputs folder of a run, and the run's folder below it."""
    path = os.path.abspath(run.folder)
    experiment, name = os.path.split(path)
    outputs, experiment = os.path.split(experiment)
    return outputs, f"{experiment}/{name}"


def _stamp(path: Path) -> Stamp:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_mtime_ns, found.st_ctime_ns, found.st_size]


def _settled(stamps: Sequence[Stamp]) -> bool:
    latest = max(max(stamp[:2]) for stamp in stamps if stamp)
    return time.time_ns() - latest > SETTLED_SECONDS * 1e9


def _maker() -> list[Any]:
    """What decides the meaning of an entry: a later version may have settings that earlier runs
    have at their defaults.
    """
    settings = json.dumps(shared_settings(Recipe(), ""), sort_keys=True)
    return [FORMAT, __version__, digest_of(settings.encode())[:16]]


def _known(folder: _Folder, record: Any, stamps: list[Stamp]) -> _Entry | None:
    """An entry of the file, where the run's files are as they were and it can be understood."""
    try:
        before, fault, *values = record
        if before[:2] != stamps[:2]:
            return None
        known = dict(zip(_NAMES, values, strict=True))
        known["shared"] = folder.shared[known["shared"]]
        known["budget"] = Budget.parse(known["budget"])
        known["summary"] = RunSummary.from_record(known["summary"])
        record = RunRecord(**known)
        sound = (
            all(isinstance(known[name], str) for name in _TEXTS)
            and isinstance(record.seed, int)
            and isinstance(record.axes, int)
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, UsageError):
        return None
    if not sound:
        return None
    if before != stamps or fault not in ("missing", "damaged", None):
        folder.changed, fault = True, "unknown"
    return _Entry(stamps, record, fault)


def _error_in(record: Any) -> ItemError | None:
    if not record:
        return None
    error, clusters = record
    return ItemError(float(error), int(clusters))


def _content(folder: _Folder, seen: dict[str, _Entry], place: str) -> bytes:
    """The file's content: what was there of other runs that are there still, and what was seen."""
    shared = dict.fromkeys(folder.shared)
    runs = {
        name: record
        for name, record in folder.runs.items()
        if name not in seen and os.path.isdir(os.path.join(place, name))
    }
    shared |= dict.fromkeys(entry.record.shared for entry in seen.values())
    number = {text: index for index, text in enumerate(shared)}
    for name, entry in seen.items():
        values = {one: getattr(entry.record, one) for one in _NAMES}
        values["shared"] = number[entry.record.shared]
        values["budget"] = entry.record.budget.text
        values["summary"] = entry.record.summary and entry.record.summary.to_record()
        runs[name] = [entry.stamps, entry.fault, *values.values()]
    pairs = dict(list((folder.pairs | folder.used).items())[-MAX_PAIRS:])
    value = {"shared": list(shared), "runs": runs, "pairs": pairs}
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    header = {"made by": _maker(), "sha256": digest_of(body)}
    return json.dumps(header).encode() + b"\n" + body
