"""The plan of a comparison as a file beside its runs, for processes that only watch.

``EXPERIMENT/plan.json`` is written before the first run of a comparison is trained. It lists the
runs, wherever they lie under the outputs folder, and says which process carries the plan out.
"""

import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liere_cli.config.budget import Budget
from liere_cli.errors import LiereError
from liere_cli.planning.plan import ComparedRun, DatasetPlan, Plan, PlannedEncoding
from liere_cli.runs.folder import Run
from liere_cli.runs.lock import Owner, is_running
from liere_cli.utils.files import read_json, to_json, write_atomically

PLAN_FILE = "plan.json"
#: subfolder of an experiment for the tables of earlier comparisons of that name
EARLIER = "earlier"
FORMAT = 1
MAX_BYTES = 1 << 26


@dataclass(frozen=True)
class PlanOnDisk:
    """A plan as read from its file.

    Args:
        plan: its runs; what only training and judging need is missing.
        owner: the process that carries it out.
        ended: whether that process has ended it, or was interrupted.
    """

    plan: Plan
    jobs: int
    owner: Owner
    ended: bool

    @property
    def is_carried_out(self) -> bool:
        """Whether that process still carries it out; False if it is on another host."""
        return not self.ended and _is_alive(self.owner)


def _is_alive(owner: Owner) -> bool:
    """Whether a process of this host still runs, and is not a later one of the same number."""
    if owner.host != socket.gethostname() or not is_running(owner.pid):
        return False
    try:
        started = os.stat(f"/proc/{owner.pid}").st_mtime
    except OSError:
        return True  # not Linux
    return started < owner.since + 1


def write_plan(plan: Plan[Any], outputs: Path, jobs: int, *, ended: bool = False) -> None:
    """Writes the plan into its experiment's folder, replacing an earlier one."""
    datasets = [
        {
            "title": dataset.title,
            "data": dataset.data,
            "metric": dataset.metric,
            "budget": dataset.budget.text,
            "encodings": [
                {
                    "label": row.label,
                    "runs": [
                        {"id": run.run_id, "seed": run.seed, "folder": _below(outputs, run.run)}
                        for run in row.runs
                    ],
                }
                for row in dataset.encodings
            ],
        }
        for dataset in plan.datasets
    ]
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
    state = {"format": FORMAT, "owner": owner, "ended": ended, "jobs": jobs}
    write_atomically(
        outputs / plan.experiment / PLAN_FILE, to_json({**state, "datasets": datasets})
    )


def _below(outputs: Path, run: Run) -> str:
    """``EXPERIMENT/RUN``"""
    return run.folder.relative_to(outputs).as_posix()


def read_plan(folder: Path) -> PlanOnDisk | None:
    """The plan in an experiment's folder; None where there is none of this version."""
    path = folder / PLAN_FILE
    try:
        content = read_json(path, MAX_BYTES)
        if content["format"] != FORMAT:
            return None
        owner = content["owner"]
        return PlanOnDisk(
            _plan(content, folder),
            int(content["jobs"]),
            Owner(str(owner["host"])[:100], int(owner["pid"]), float(owner["since"])),
            bool(content["ended"]),
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, LiereError):
        raise LiereError(f"{path}: is damaged; delete it, and repeat the comparison") from None


def _plan(content: Mapping[str, Any], folder: Path) -> Plan:
    datasets = tuple(_datasets(content, folder.parent))
    seeds = sorted({run.seed for dataset in datasets for run in dataset.runs})
    return Plan(folder.name, datasets, tuple(seeds))


def _datasets(content: Mapping[str, Any], outputs: Path) -> Iterator[DatasetPlan]:
    for dataset in content["datasets"]:
        title, data = str(dataset["title"]), str(dataset["data"])
        rows = [
            PlannedEncoding(
                str(row["label"]),
                tuple(_run(entry, outputs, data, str(row["label"])) for entry in row["runs"]),
            )
            for row in dataset["encodings"]
        ]
        metric, budget = str(dataset["metric"]), Budget.parse(dataset["budget"])
        yield DatasetPlan(title, "", data, "", metric, budget, tuple(rows), None)


def _run(entry: Mapping[str, Any], outputs: Path, data: str, encoding: str) -> ComparedRun:
    folder = str(entry["folder"])
    if not re.fullmatch(r"(?!\.)[^/\0]+/(?!\.)[^/\0]+", folder):
        raise ValueError("leads out of the outputs folder")
    return ComparedRun(data, encoding, int(entry["seed"]), Run(outputs / folder), str(entry["id"]))


def planned_runs(folder: Path) -> list[Run]:
    """The runs of the plan in an experiment's folder that exist, wherever they lie."""
    stored = read_plan(folder)
    if stored is None:
        return []
    runs = {run.run_id: run.run for dataset in stored.plan.datasets for run in dataset.runs}
    return [run for run in runs.values() if run.path("recipe.yaml").is_file()]
