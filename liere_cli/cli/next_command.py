"""The command that answers what a comparison leaves open."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from liere_cli.api.compare import ComparisonRequest
    from liere_cli.api.comparison import Comparison

#: more seeds than anybody is advised to run
MOST_SEEDS = 100
#: flags by argument, in the order of the help; of ``until_settled`` and its like only the first
_FLAGS = {
    "encodings": "--encodings", "data": "--data", "seeds": "--seeds", "baseline": "--baseline",
    "assignments": "--set", "budget": "--budget", "time": "--time", "against_itself": "--aa",
    "jobs": "--jobs", "launcher": "--launcher", "slurm": "--slurm", "device": "--device",
    "out": "--out", "data_root": "--data-root",
}  # fmt: skip


def next_command(request: ComparisonRequest, comparison: Comparison) -> str | None:
    """``liere compare quick --until-settled``; None where no command settles more.

    Runs that failed or are missing come first, then encodings with too few seeds for a verdict,
    then undecided ones that a feasible number of seeds would settle.
    """
    from liere_cli.config.compare import SettleSettings
    from liere_cli.statistics.verdicts import MIN_SEEDS

    if request.of_finished_runs:
        return None
    table = comparison.table
    rows = [row for dataset in table.datasets for row in dataset.rows]
    if any(row.failed or row.unfinished for row in rows):
        return _command(request)
    verdicts = [row.verdict for row in rows if row.verdict is not None]
    if request.until_settled or table.interim is not None:
        return None
    if verdicts and all(verdict.label is None for verdict in verdicts):
        return _command(request, seeds=str(MIN_SEEDS))
    needed = [verdict.seeds_needed for verdict in verdicts if verdict.seeds_needed is not None]
    if not needed or min(needed) > MOST_SEEDS:
        return None
    usual = SettleSettings().max_seeds
    more = f" --max-seeds {min(needed)}" if min(needed) > usual else ""
    return f"{_command(request)} --until-settled{more}"


def _command(request: ComparisonRequest, **changes: str) -> str:
    """The command of a request, with changed arguments."""
    arguments = request.model_dump(exclude_defaults=True) | changes
    words = ["liere", "compare", *request.source]
    for name, flag in _FLAGS.items():
        value = arguments.get(name)
        if value is True:
            words.append(flag)
        elif isinstance(value, list | tuple):
            words += [part for item in value for part in (flag, str(item))]
        elif value is not None and value is not False:
            words += [flag, str(value)]
    return shlex.join(words)
