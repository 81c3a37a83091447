"""From run folders to a comparison: which runs share a table."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from liere_cli.config.compare import CompareSettings
from liere_cli.config.spec import format_spec, parse_spec
from liere_cli.errors import UsageError
from liere_cli.planning.labels import dataset_titles, modality, place_of, unambiguous
from liere_cli.planning.overrides import split_specs
from liere_cli.planning.plan import ComparedRun, DatasetPlan, Plan, PlannedEncoding
from liere_cli.planning.progress import Outcome, outcome, outcome_of
from liere_cli.planning.run_record import RunRecord, RunRecordReader
from liere_cli.runs.folder import Run
from liere_cli.utils.files import digest_of


def runs_as_plan(
    runs: Sequence[Run], baseline: str | None = None, read: Callable[[Run], RunRecord] | None = None
) -> tuple[Plan, dict[str, Outcome]]:
    """Runs with the same data and settings share a table; encodings are rows, seeds are pairs.

    Runs that differ in data, model or training in any way get tables of their own, whose
    titles say what differs.

    Args:
        baseline: labels of the encodings to compare with, as on the flag; the first that is in a
            table is its baseline. None: the usual ones, and a table without them has none.
        read: reads the record of a run; from its files unless given.

    Returns the plan, and the outcome of each run by identity. Raises UsageError if no run of a
    table is over, two runs have the same encoding and seed, or no table holds the baseline.
    """
    read = read or RunRecordReader().read
    tables: dict[str, _Table] = {}
    for run in _distinct(runs):
        record = read(run)
        tables.setdefault(record.shared, _Table()).add(_Entry(run, record))
    for table in tables.values():
        table.name_apart()
    usual = CompareSettings().baseline
    requested = map(parse_spec, split_specs(baseline)) if baseline else usual
    baselines = [format_spec(spec) for spec in requested]
    titles = dataset_titles(
        [table.data for table in tables.values()], [json.loads(shared) for shared in tables]
    )
    datasets = tuple(
        table.dataset(title, baselines)
        for table, title in zip(tables.values(), titles, strict=True)
    )
    if baseline and not any(dataset.baseline for dataset in datasets):
        names = sorted({row.label for dataset in datasets for row in dataset.encodings})
        raise UsageError(
            f"--baseline {baseline}: none of the runs has it (allowed: {', '.join(names)})"
        )
    entries = [entry for table in tables.values() for entry in table.entries.values()]
    seeds = sorted({entry.record.seed for entry in entries})
    outcomes = {entry.record.run_id: entry.outcome for entry in entries}
    return Plan("", datasets, tuple(seeds)), outcomes


def _distinct(runs: Sequence[Run]) -> list[Run]:
    """Each folder once, whatever path names it."""
    by_place: dict[Any, Run] = {}
    for run in runs:
        try:
            found = os.stat(run.folder)
            by_place[found.st_dev, found.st_ino] = run
        except OSError:
            by_place[run.folder] = run  # reading it says what is wrong
    return list(by_place.values())


@dataclass
class _Entry:
    """One run of a table; ``label`` is that of its encoding."""

    run: Run
    record: RunRecord
    label: str = ""

    @property
    def planned(self) -> ComparedRun:
        record = self.record
        return ComparedRun(record.data, self.label, record.seed, self.run, record.run_id)

    @property
    def outcome(self) -> Outcome:
        if self.record.summary is not None:
            return outcome_of(self.record.summary)
        return outcome(self.planned, self.record.budget)


def family_of(shared: Mapping[str, Any]) -> dict[str, Any]:
    """``fraction`` and ``family`` of a data set with those settings."""
    training = dict(shared["training"])
    fraction = training.pop("fraction")
    rest = json.dumps({**shared, "training": training}, sort_keys=True)
    return {"fraction": fraction, "family": digest_of(rest, 12)}


class _Table:
    """Runs that share all but encoding and seed, by identity."""

    def __init__(self) -> None:
        self.entries: dict[str, _Entry] = {}
        self.by_place: dict[tuple[str, str, str, int], _Entry] = {}

    def name_apart(self) -> None:
        """Labels the encodings, and qualifies those that would share a label."""
        entries = list(self.entries.values())
        names = unambiguous([(entry.record.name, entry.record.encoding) for entry in entries])
        parents: dict[str, set[str]] = {}
        for entry, name in zip(entries, names, strict=True):
            parents.setdefault(name, set()).add(entry.record.parent)
        for entry, name in zip(entries, names, strict=True):
            apart = len(parents[name]) > 1
            entry.label = f"{name} from {entry.record.parent}" if apart else name

    @property
    def data(self) -> str:
        return next(iter(self.entries.values())).record.data

    def add(self, entry: _Entry) -> None:
        record = entry.record
        if record.run_id in self.entries:
            return
        place = (place_of(record.name), record.encoding, record.parent, record.seed)
        if place in self.by_place:
            raise UsageError(
                f"{self.by_place[place].run.folder} and {entry.run.folder} are both "
                f"{record.encoding} at seed {record.seed}, but differ in the encoding's own code; "
                "compare one of them"
            )
        self.entries[record.run_id] = self.by_place[place] = entry

    def dataset(self, title: str, baselines: Sequence[str]) -> DatasetPlan:
        entries = self.entries.values()
        first = next((entry.record for entry in entries if entry.record.summary), None)
        if first is None:
            raise UsageError(
                f"none of the runs on {self.data} is over; 'liere train' or the recipe that they "
                "came from continues them"
            )
        rows: dict[str, list[ComparedRun]] = {}
        for entry in entries:
            rows.setdefault(entry.label, []).append(entry.planned)
        return DatasetPlan(
            title=title,
            modality=modality(first.dataset, first.axes),
            data=first.data,
            fingerprint=first.fingerprint,
            metric=first.metric,
            budget=first.budget,
            encodings=tuple(PlannedEncoding(name, tuple(runs)) for name, runs in rows.items()),
            baseline=next((name for name in baselines if name in rows), None),
            test_limit=first.test_limit,
            **family_of(json.loads(first.shared)),
        )
