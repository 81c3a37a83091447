"""Records of scores, one a run, checked and sorted into tables."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

from liere_cli.errors import UsageError, nearest, shortened

Status = Literal["finished", "diverged", "failed"]
#: what other tools call a status; a crashed run has no score
STATUSES: dict[str, Status] = {
    "finished": "finished", "completed": "finished", "success": "finished", "ok": "finished",
    "diverged": "diverged", "nan": "diverged",
    "failed": "failed", "crashed": "failed", "killed": "failed", "error": "failed",
}  # fmt: skip
#: a record's keys by what they hold, the usual name first
NAMES: dict[str, tuple[str, ...]] = {
    "encoding": ("encoding", "arm"),
    "seed": ("seed",),
    "score": ("score",),
    "data": ("data",),
    "metric": ("metric",),
    "status": ("status",),
    "table": ("table",),
}
REQUIRED = ("encoding", "seed", "score")
#: metrics whose direction is certain
HIGHER_IS_BETTER = {
    "top1": True, "top5": True, "accuracy": True, "acc": True, "f1": True, "auc": True,
    "bits_per_byte": False, "bits_per_token": False, "bpb": False, "loss": False,
    "perplexity": False, "ppl": False, "error": False, "cross_entropy": False, "nll": False,
}  # fmt: skip

Record = Mapping[str, object]
#: makes the error of a column from its message
Wrong = Callable[[str, str], UsageError]


class Origin(Protocol):
    """Where records come from, for messages."""

    @property
    def name(self) -> str: ...

    def at(self, index: int) -> str:
        """The place of a record: ``runs.csv: line 7``, ``record 3``."""
        ...


@dataclass(frozen=True)
class Numbered:
    """Records that are counted, from ``first`` on."""

    name: str
    unit: str = "record"
    first: int = 0

    def at(self, index: int) -> str:
        place = f"{self.unit} {index + self.first}"
        return f"{self.name}: {place}" if self.unit != "record" else place


@dataclass(frozen=True)
class Run:
    """One run: its seed, and its score unless it diverged or failed."""

    seed: str
    score: float | None
    status: Status
    at: str


@dataclass
class DataSet:
    """The runs of one data set by encoding and seed, in the order in which they came."""

    name: str
    metric: str
    runs: dict[str, dict[str, Run]] = field(default_factory=dict)

    @property
    def seeds(self) -> list[str]:
        """All seeds: whole numbers in their order, then names."""
        seeds = {seed for runs in self.runs.values() for seed in runs}
        return sorted(seeds, key=_seed_order)


#: data sets by name, by table
Tables = dict[str, dict[str, DataSet]]


def sort_records(records: Iterable[Record], origin: Origin) -> Tables:
    """Records by table and data set; raises UsageError for the first that is not valid."""
    tables: Tables = {}
    given: tuple[str, ...] | None = None
    keys: dict[str, str] = {}
    for index, record in enumerate(records):
        at = origin.at(index)
        if not isinstance(record, Mapping):
            raise UsageError(f"{at}: {shortened(record)} is not a mapping of names to values")
        if given != tuple(record):  # a record may have a status that others lack
            given = tuple(record)
            keys = keys_of(given, at)
        _add(tables, {name: record.get(key) for name, key in keys.items()}, keys, at)
    if not tables:
        raise UsageError(f"{origin.name}: there are no scores")
    return tables


def keys_of(given: Sequence[object], at: str) -> dict[str, str]:
    """The keys of a record, or the columns of a file, by what they hold."""
    lowered = {str(key).strip().lower(): str(key) for key in given}
    keys = {
        what: lowered[name]
        for what, names in NAMES.items()
        for name in names[::-1]
        if name in lowered
    }
    for what in REQUIRED:
        if what not in keys:
            hint = nearest(what, lowered)
            suggestion = f"; did you mean '{lowered[hint]}'?" if hint else ""
            columns = ", ".join(map(str, given)) or "none"
            raise UsageError(f"{at}: no column '{what}'{suggestion} (columns: {columns})")
    return keys


def _add(tables: Tables, values: Record, keys: Mapping[str, str], at: str) -> None:
    def wrong(what: str, message: str) -> UsageError:
        return UsageError(f"{at}, column {keys[what]}: {message}")

    def text(what: str, default: str) -> str:
        value = values.get(what)
        if _is_empty(value):
            return default
        return str(value).strip()

    for what in ("encoding", "seed"):
        if _is_empty(values[what]):
            raise wrong(what, "is empty")
    encoding, seed = text("encoding", ""), seed_name(values["seed"])
    status = _status(values, wrong)
    score = _score(values["score"], status, wrong)
    name, metric = text("data", "data"), text("metric", "score")
    data_sets = tables.setdefault(text("table", ""), {})
    data_set = data_sets.setdefault(name, DataSet(name, metric))
    if metric != data_set.metric:
        raise wrong(
            "metric" if "metric" in keys else "score",
            f"'{metric}', but '{data_set.metric}' for {name} so far; a data set has one metric",
        )
    runs = data_set.runs.setdefault(encoding, {})
    if seed in runs:
        raise wrong("seed", f"{encoding} has seed {seed} on {name} twice (before: {runs[seed].at})")
    runs[seed] = Run(seed, score, status, at)


def _status(values: Record, wrong: Wrong) -> Status:
    value = values.get("status")
    if _is_empty(value):
        return "finished"
    name = str(value).strip().lower()
    if name not in STATUSES:
        hint = nearest(name, STATUSES)
        suggestion = f"; did you mean '{STATUSES[hint]}'?" if hint else ""
        allowed = ", ".join(get_args(Status))
        raise wrong("status", f"'{value}' is not a status{suggestion} (allowed: {allowed})")
    return STATUSES[name]


def _score(value: object, status: Status, wrong: Wrong) -> float | None:
    if status != "finished":
        return None
    if value is None or (isinstance(value, str) and not value.strip()):
        raise wrong("score", "is empty; a run without a score has the status diverged or failed")
    try:
        score = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise wrong("score", f"{shortened(value)} is not a number") from None
    if not math.isfinite(score):
        raise wrong("score", f"{score}; a run that diverged has the status diverged")
    return score


def seed_name(value: object) -> str:
    """Seeds are names; 3, 3.0, "3" and "3.0" are the same one."""
    name = str(value).strip()
    number = name.removesuffix(".0")
    return str(int(number)) if is_whole(number) else name


def _seed_order(seed: str) -> tuple[bool, int, str]:
    return (False, int(seed), seed) if is_whole(seed) else (True, 0, seed)


def is_whole(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit() and len(text) < 19


def _is_empty(value: object) -> bool:
    """Whether a cell holds nothing, which data frames mark by NaN."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or value != value
