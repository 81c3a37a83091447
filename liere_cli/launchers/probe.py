"""Estimates how long runs take before they are trained, from a few steps of each encoding."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain, zip_longest

from liere_cli.errors import LiereError
from liere_cli.planning.plan import Plan, PlannedEncoding, PlannedRun
from liere_cli.planning.progress import Outcome, whole_seconds
from liere_cli.runs.build import assemble
from liere_cli.runs.context import Context
from liere_cli.training.estimate import probed_seconds

#: no further probe is begun after so many seconds; encodings without one count as others do
PROBE_SECONDS = 10.0


def probe(
    plan: Plan[PlannedRun], outcomes: Mapping[str, Outcome], context: Context
) -> dict[str, Outcome]:
    """Outcomes of runs that were not begun, with an estimate of their seconds.

    One run of each encoding is probed where no run of it says how long it takes: the first encoding
    of every data set, then the others while there is time. On a GPU, and with torch.compile,
    nothing is: the first reports of the runs come soon, or the probe would take longest.
    """
    estimated: dict[str, Outcome] = {}
    began = time.monotonic()
    if context.torch_device.type != "cpu":
        return estimated
    for row in _by_turns(plan):
        left = [run for run in row.runs if outcomes[run.run_id].state == "missing"]
        if not left or whole_seconds(row.runs, outcomes) is not None:
            continue
        if time.monotonic() - began > PROBE_SECONDS or left[0].request.training.compile:
            continue
        try:
            run_spec = assemble(
                left[0].request, root=context.data_root, device=context.torch_device
            )
            seconds = probed_seconds(run_spec, context.torch_device)
        except (LiereError, RuntimeError, ValueError):
            continue  # training the run reports it
        estimated |= {
            run.run_id: replace(outcomes[run.run_id], whole_seconds=seconds) for run in left
        }
    return estimated


def _by_turns(plan: Plan[PlannedRun]) -> Iterable[PlannedEncoding[PlannedRun]]:
    """The first row of every data set, then the second of every data set, and so on."""
    turns = zip_longest(*(dataset.encodings for dataset in plan.datasets))
    return (row for row in chain.from_iterable(turns) if row is not None)
