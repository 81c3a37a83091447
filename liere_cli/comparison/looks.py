"""The record of tables that were made of the same runs, so that a later one is corrected for them.

Who judges runs at 5 seeds, then at 10 and at 20, or cuts a table to its best row, has several
chances of a wrong verdict. ``judged.jsonl`` beside the runs has a line for every different table
with verdicts. A table that adds seeds until verdicts are settled is one, however far it goes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from liere_cli.comparison.tables.results import Results
from liere_cli.errors import LiereError, unreadable
from liere_cli.planning.plan import Plan
from liere_cli.planning.progress import Outcome
from liere_cli.statistics.verdicts import MIN_SEEDS, Looks
from liere_cli.utils.files import digest_of, read_limited, write_atomically

FILE = "judged.jsonl"
MAX_BYTES = 1 << 28
#: an encoding and its baseline by the identities of their first runs
ComparisonKey = tuple[str, str]


class JudgedTable(BaseModel):
    """A line of the record.

    Args:
        digest: of the runs that were judged, and how.
        seeds: the most shared seeds of any comparison.
        first_analysis: where seeds were added until verdicts were settled.
        comparisons: that had a verdict.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    date: str
    digest: str
    seeds: int
    first_analysis: int | None = None
    comparisons: tuple[ComparisonKey, ...]


@dataclass(frozen=True)
class Record:
    """What is recorded beside the runs of a plan."""

    tables: tuple[JudgedTable, ...]
    folders: tuple[Path, ...]

    @classmethod
    def of(cls, plan: Plan) -> "Record":
        """Raises LiereError where a record is damaged."""
        folders = tuple(sorted({run.run.folder.parent for run in plan.runs}))
        tables = [table for folder in folders for table in _read(folder / FILE)]
        return cls(tuple(dict.fromkeys(tables)), folders)

    def looks(self, plan: Plan, outcomes: Mapping[str, Outcome]) -> Looks:
        """The earlier tables that a table of this plan is corrected for."""
        now = _judged(plan, outcomes)
        keys = set(_keys(plan))
        runs = {run for key in keys for run in key}
        earlier = []
        for table in self.tables:
            if table.digest == now.digest:
                break  # the same table is not judged twice
            continued = plan.interim is not None and table.first_analysis == plan.interim.first
            if not continued and any(run in runs for key in table.comparisons for run in key):
                earlier.append(table)
        judged = keys.union(*(table.comparisons for table in earlier))
        return Looks(len(earlier), len(judged) if earlier else 0)

    def add(self, plan: Plan, outcomes: Mapping[str, Outcome]) -> None:
        """Records the plan's table, where it has verdicts and is not recorded yet.

        Raises LiereError where a folder can't be written.
        """
        table = _judged(plan, outcomes)
        if not table.comparisons or table.digest in {known.digest for known in self.tables}:
            return
        for folder in self.folders:
            lines = [known.model_dump_json() for known in (*_read(folder / FILE), table)]
            write_atomically(folder / FILE, "\n".join(lines) + "\n")


def _keys(plan: Plan) -> list[ComparisonKey]:
    keys = []
    for dataset in plan.datasets:
        rows = {row.label: row for row in dataset.encodings if row.runs}
        baseline = rows.get(dataset.baseline or "")
        if baseline is not None:
            first = baseline.runs[0].run_id
            keys += [(row.runs[0].run_id, first) for row in rows.values() if row is not baseline]
    return keys


def _judged(plan: Plan, outcomes: Mapping[str, Outcome]) -> JudgedTable:
    """The plan's table as a line of the record."""
    results = Results(plan, outcomes)
    keys, parts, most = [], [], 0
    for dataset in plan.datasets:
        rows = {row.label: row for row in dataset.encodings if row.runs}
        baseline = rows.pop(dataset.baseline or "", None)
        for row in rows.values() if baseline else ():
            assert baseline is not None
            seeds = results.shared_seeds((row, baseline))
            if len(seeds) < MIN_SEEDS:
                continue
            pair = (*row.runs, *baseline.runs)
            judged = [run.run_id for run in pair if run.seed in seeds]
            keys.append((row.runs[0].run_id, baseline.runs[0].run_id))
            parts.append([str(dataset.margin), *sorted(judged)])
            most = max(most, len(seeds))
    first = plan.interim.first if plan.interim else None
    return JudgedTable(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        digest=digest_of(json.dumps([first, sorted(parts)]), 16),
        seeds=most,
        first_analysis=first,
        comparisons=tuple(keys),
    )


def _read(path: Path) -> list[JudgedTable]:
    try:
        lines = read_limited(path, MAX_BYTES).splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    try:
        return [JudgedTable.model_validate_json(line) for line in lines if line.strip()]
    except ValidationError:
        raise LiereError(
            f"{path}: is damaged; delete it, and tables of these runs no longer count as judged"
        ) from None
