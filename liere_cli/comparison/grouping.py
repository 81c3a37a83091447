"""From run folders to a comparison: which runs may stand in one table."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liere_cli.budget import Budget
from liere_cli.comparison.cells import Arm, Plan, PlannedEncoding, PlannedRun
from liere_cli.comparison.jobs import JOBS_FILE
from liere_cli.comparison.naming import arm_titles, modality, place_of, unambiguous
from liere_cli.comparison.request import split_specs
from liere_cli.errors import LiereError, UsageError
from liere_cli.recipe import CompareSettings, Recipe
from liere_cli.runs import Run, open_run
from liere_cli.schema import format_spec, parse_spec


def runs_as_plan(runs: Sequence[Run], baseline: str | None = None) -> Plan:
    """Runs with the same data and settings share a table; encodings are rows, seeds are pairs.

    Runs that differ in data, model or training in any way stand in tables of their own, whose
    titles say what differs. Without ``baseline`` a table without any of the usual ones has no
    differences.

    Args:
        baseline: labels of the encodings to compare with, as on the flag; the first that is in a
            table is its baseline.

    Raises:
        UsageError: no run of a table is over, two runs claim one cell, or no table holds the
            baseline.
        LiereError: a run's recipe or summary can't be read.
    """
    tables: dict[str, _Table] = {}
    for run in {run.folder.resolve(): run for run in runs}.values():
        entry = _Entry(run)
        tables.setdefault(json.dumps(entry.shared, sort_keys=True), _Table()).add(entry)
    found = list(tables.values())
    for table in found:
        table.name_apart()
    wanted = [format_spec(parse_spec(spec)) for spec in split_specs(baseline)] if baseline else None
    usual = [format_spec(spec) for spec in CompareSettings().baseline]
    titles = arm_titles(
        [table.data for table in found], [table.entries[0].shared for table in found]
    )
    arms = tuple(
        table.arm(title, wanted or usual) for table, title in zip(found, titles, strict=True)
    )
    if wanted and not any(arm.baseline for arm in arms):
        names = sorted({row.label for arm in arms for row in arm.encodings})
        raise UsageError(
            f"--baseline {baseline}: none of the runs has it (allowed: {', '.join(names)})"
        )
    seeds = sorted({run.seed for arm in arms for row in arm.encodings for run in row.runs})
    return Plan("", arms, tuple(seeds))


class _Entry:
    """One run: its cell, and the settings that it must share with the others of its table."""

    def __init__(self, run: Run) -> None:
        self.run = run
        recipe = run.recipe()
        self.summary = run.summary()
        known = self.summary or _from_signature(run)
        try:
            self.encoding, self.data = str(known["encoding"]), str(known["data"])
            self.fingerprint, self.run_id = str(known["fingerprint"]), str(known["id"])
        except KeyError as error:
            raise LiereError(f"{run.folder}: its summary lacks {error}; train it again") from None
        self.metric = str(known.get("metric", ""))
        self.name = str(recipe.encoding["name"])
        self.seed = recipe.seed
        self.cell = (place_of(self.name), self.encoding, self.seed)
        if not recipe.training.tested:
            raise UsageError(
                f"{run.folder}: was never scored on the test split (training.tested: false), as "
                "runs that tune, and can't be compared"
            )
        self.budget = Budget.parse(recipe.training.budget)
        self.test_limit = recipe.training.test_limit
        self.axes = len(recipe.model.patch or ())
        self.dataset = str(recipe.data["name"])
        self.shared = shared_settings(recipe, self.fingerprint)

    @property
    def planned(self) -> PlannedRun:
        return PlannedRun(self.data, self.encoding, self.seed, self.run, self.run_id)


def shared_settings(recipe: Recipe, fingerprint: str) -> dict[str, Any]:
    """What all runs of one table have in common: everything but encoding and seed."""
    settings = recipe.model_dump(mode="json", exclude={"experiment", "compare", "encoding", "seed"})
    settings["training"].pop("checkpoint_seconds")
    # the fingerprint stands for the path
    settings["data"].pop("path", None)
    return settings | {"fingerprint": fingerprint}


def family_of(shared: Mapping[str, Any]) -> dict[str, Any]:
    """``fraction`` and ``family`` of an arm with those settings."""
    training = dict(shared["training"])
    fraction = training.pop("fraction")
    rest = json.dumps({**shared, "training": training}, sort_keys=True)
    return {"fraction": fraction, "family": hashlib.sha256(rest.encode()).hexdigest()[:12]}


def _from_signature(run: Run) -> dict[str, str]:
    """What is known of a run that is not over: it signs before its first step."""
    path = run.path("signature.txt")
    try:
        line = path.read_text().strip()
    except (OSError, ValueError):
        raise LiereError(f"{run.folder}: is no run, or had not begun to train") from None
    fields = dict(part.split(":", 1) for part in line.split("|") if ":" in part)
    data, _, fingerprint = fields.pop("data", "").rpartition("@")
    return fields | {"data": data, "fingerprint": fingerprint}


class _Table:
    """Runs that share all but encoding and seed."""

    def __init__(self) -> None:
        self.entries: list[_Entry] = []

    def name_apart(self) -> None:
        """Qualifies the labels of encodings that share theirs."""
        names = unambiguous([(entry.name, entry.encoding) for entry in self.entries])
        for entry, name in zip(self.entries, names, strict=True):
            entry.encoding = name

    @property
    def data(self) -> str:
        return self.entries[0].data

    def add(self, entry: _Entry) -> None:
        if any(other.run_id == entry.run_id for other in self.entries):
            return
        for other in self.entries:
            if other.cell != entry.cell:
                continue
            raise UsageError(
                f"{other.run.folder} and {entry.run.folder} are both {entry.encoding} at seed "
                f"{entry.seed}, but differ in the encoding's own code; compare one of them"
            )
        self.entries.append(entry)

    def arm(self, title: str, wanted: Sequence[str]) -> Arm:
        first = next((entry for entry in self.entries if entry.summary), None)
        if first is None:
            raise UsageError(
                f"none of the runs on {self.data} is over; 'liere train' or the recipe that they "
                "came from goes on with them"
            )
        labels = list(dict.fromkeys(entry.encoding for entry in self.entries))
        return Arm(
            title=title,
            modality=modality(first.dataset, first.axes),
            data=first.data,
            fingerprint=first.fingerprint,
            metric=first.metric,
            budget=first.budget,
            encodings=tuple(
                PlannedEncoding(
                    name, tuple(entry.planned for entry in self.entries if entry.encoding == name)
                )
                for name in labels
            ),
            baseline=next((name for name in wanted if name in labels), None),
            test_limit=first.test_limit,
            **family_of(first.shared),
        )


def runs_of(paths: Sequence[str], outputs: Path) -> list[Run]:
    """The runs at each path; of several, those that liere wrote beside the runs are passed over.

    Raises:
        UsageError: there is no run at one of the others, or at all.
    """
    kept = [path for path in paths if len(paths) == 1 or not _is_written_beside(Path(path))]
    if not kept:
        raise UsageError(f"{', '.join(paths)}: there is no run among these files")
    return [run for path in kept for run in runs_at(path, outputs)]


def _is_written_beside(path: Path) -> bool:
    """Whether ``EXPERIMENT/*`` names it beside the runs: the comparison's recipe, tables, jobs."""
    if path.is_dir():
        return (path / JOBS_FILE).is_file()
    return path.is_file() and (path.name == "comparison.yaml" or path.stem == "table")


def runs_at(path: str, outputs: Path) -> list[Run]:
    """The run at a folder or of a name under ``outputs``, or all runs right inside a folder.

    Raises:
        UsageError: there is none.
    """
    folder = Path(path)
    inside = sorted(place.parent for place in folder.glob("*/recipe.yaml"))
    if inside and not (folder / "recipe.yaml").is_file():
        return [Run(place) for place in inside]
    return [open_run(path, outputs)]
