"""Evaluates finished runs at other grids, in the workers that train runs."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch

from liere_cli.errors import LiereError
from liere_cli.evaluation.conditions import StoredEvaluation
from liere_cli.evaluation.transfer import measured
from liere_cli.launchers.events import Listener, ignore
from liere_cli.launchers.local import launch
from liere_cli.planning.plan import PlannedRun
from liere_cli.runs.build import RunSpec, build_model
from liere_cli.runs.checkpoint import load_weights
from liere_cli.runs.context import Context
from liere_cli.runs.summary import RunSummary
from liere_cli.runs.threads import run_threads
from liere_cli.training.callbacks import Callbacks


def evaluate_runs(
    missing: Mapping[str, tuple[PlannedRun, tuple[StoredEvaluation, ...]]],
    context: Context,
    *,
    jobs: int = 1,
    listener: Listener = ignore,
) -> dict[str, str]:
    """Computes the evaluations that runs lack, and stores each; the same call continues.

    Returns the errors of runs that could not be evaluated, by identity.
    """
    evaluations = {run_id: stored for run_id, (_, stored) in missing.items()}
    runs = [run for run, _ in missing.values()]
    trainer = partial(evaluate_run, evaluations=evaluations)
    outcomes = launch(runs, context, jobs=jobs, listener=listener, trainer=trainer)
    return {
        run_id: outcome.error or "no reason given"
        for run_id, outcome in outcomes.items()
        if outcome.state == "failed"
    }


def evaluate_run(
    run_spec: RunSpec,
    *,
    outputs: Path,
    device: torch.device,
    fresh: bool,
    callbacks: Callbacks,
    evaluations: Mapping[str, tuple[StoredEvaluation, ...]],
) -> RunSummary:
    """In place of training (so ``fresh`` is not used): evaluates a finished run as it is."""
    stored = evaluations[run_spec.run_id]
    run = stored[0].run
    summary = run.summary()
    if summary is None:
        raise LiereError(f"{run.folder}: is gone; start the comparison again")
    callbacks.on_start(run_spec, run, 0, [])
    model = build_model(run_spec)
    load_weights(run, "last", model)
    model.to(device).eval()
    with run_threads(run_spec):
        for evaluation in stored:
            callbacks.on_evaluate(evaluation.condition.text)
            measured(model, run_spec, evaluation, device)
    return summary
