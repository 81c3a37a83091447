"""Measures finished runs at other grids, in the workers that train runs."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch

from liere_cli.errors import LiereError
from liere_cli.evaluation.conditions import StoredEvaluation
from liere_cli.evaluation.transfer import measured
from liere_cli.launchers.events import Listener
from liere_cli.launchers.local import launch
from liere_cli.launchers.worker import LaunchContext
from liere_cli.planning.plan import PlannedRun
from liere_cli.runs.build import RunSpec, build_model
from liere_cli.runs.checkpoint import load_weights
from liere_cli.runs.summary import RunSummary
from liere_cli.training.callbacks import Callbacks


def measure_runs(
    lacking: Mapping[str, tuple[PlannedRun, tuple[StoredEvaluation, ...]]],
    context: LaunchContext,
    *,
    jobs: int = 1,
    listener: Listener = lambda event: None,
) -> dict[str, str]:
    """Measures what runs lack, and keeps it with them; one that fails does not stop the others.

    Args:
        lacking: from :func:`liere_cli.comparison.tables.transfer.unmeasured`.

    Returns:
        Why runs could not be measured, by identity.

    Raises:
        KeyboardInterrupt: what was measured is kept; the same call goes on.
    """
    wanted = {run_id: places for run_id, (_, places) in lacking.items()}
    runs = [run for run, _ in lacking.values()]
    found = launch(
        runs, context, jobs=jobs, listener=listener, trainer=partial(evaluate_run, wanted=wanted)
    )
    return {
        run_id: outcome.error or "no reason given"
        for run_id, outcome in found.items()
        if outcome.state == "failed"
    }


def evaluate_run(
    run_spec: RunSpec,
    *,
    outputs: Path,
    device: torch.device,
    fresh: bool,
    callbacks: Callbacks,
    wanted: Mapping[str, tuple[StoredEvaluation, ...]],
) -> RunSummary:
    """In place of training: measures a finished run, and returns its summary.

    Args:
        fresh: of no use here; a run is measured as it is.

    Raises:
        LiereError: the run is not there as it was, or can't be measured.
    """
    places = wanted[run_spec.run_id]
    run = places[0].run
    summary = run.summary()
    if summary is None:
        raise LiereError(f"{run.folder}: is gone; start the comparison again")
    callbacks.on_start(run_spec, run, 0, [])
    model = build_model(run_spec)
    load_weights(run, "last", model)
    model.to(device).eval()
    for kept in places:
        callbacks.on_evaluate(kept.condition.text)
        measured(model, run_spec, kept, device)
    return summary
