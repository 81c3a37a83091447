"""How long a run takes, evaluations included: from its own steps, or from a probe of a few."""

import math
import time
from dataclasses import dataclass

import torch

from liere_cli.data import ByteStream, Examples
from liere_cli.data.subset import subset
from liere_cli.evaluation.evaluate import evaluate
from liere_cli.model import Transformer
from liere_cli.runs.build import RunSpec, build_model
from liere_cli.runs.threads import run_threads
from liere_cli.training.step import TrainingStep, build_optimizer
from liere_cli.utils.distributed import ALONE

#: steps after the first of a process, which is slower, and items of an evaluation that are timed
PROBE_STEPS, PROBE_ITEMS = 3, 32


@dataclass
class EvaluationTime:
    """Seconds of the evaluations of a run, from those measured so far.

    Args:
        validation: items of each validation of the schedule.
        closing: items of the evaluations after the last step.
        validations: how many validations there are.
        item_seconds: None until something was measured.
    """

    validation: int
    closing: int
    validations: int
    item_seconds: float | None = None

    def expect_steps(self, steps: float) -> None:
        """No step is validated twice, so that there are no more validations than steps."""
        self.validations = min(self.validations, max(1, math.ceil(steps)))

    def measured(self, seconds: float, items: int) -> None:
        self.item_seconds = seconds / max(items, 1)

    def left(self, done: int = 0) -> float:
        """Seconds once ``done`` validations are over; 0 as long as nothing was measured."""
        items = self.validation * max(self.validations - done, 0) + self.closing
        return items * (self.item_seconds or 0.0)


def evaluation_time(run_spec: RunSpec) -> EvaluationTime:
    """The evaluations of a run, none of them measured."""
    settings, dataset = run_spec.recipe.training, run_spec.dataset
    grid = dataset.grid[0]
    val = items_in(dataset.load("val"), grid)
    limits_agree = settings.validation_limit == settings.test_limit
    # the last validation is then the closing one
    closing = 0 if limits_agree else _at_most(val, settings.test_limit)
    if settings.tested:
        closing += _at_most(items_in(dataset.load("test"), grid), settings.test_limit)
    expected = EvaluationTime(
        _at_most(val, settings.validation_limit), closing, settings.validations
    )
    if (steps := steps_of(run_spec)) is not None:
        expected.expect_steps(steps)
    return expected


def items_in(examples: ByteStream | Examples, context: int) -> int:
    """Items of a split, or blocks of text."""
    text = isinstance(examples, ByteStream)
    return math.ceil((len(examples) - 1) / context) if text else len(examples)


def steps_of(run_spec: RunSpec) -> int | None:
    """Steps of the budget; None for a budget of time."""
    settings = run_spec.recipe.training
    tokens = settings.batch * math.prod(run_spec.dataset.grid)
    per_step = {"steps": 1, "examples": settings.batch, "tokens": tokens}.get(settings.budget.unit)
    return None if per_step is None else math.ceil(settings.budget.amount / per_step)


def probed_seconds(run_spec: RunSpec, device: torch.device) -> float:
    """Seconds that the run will take, from a few steps and a small evaluation; writes nothing."""
    settings, dataset = run_spec.recipe.training, run_spec.dataset
    with run_threads(run_spec):
        began = time.perf_counter()
        model = build_model(run_spec).to(device)
        train_split = subset(dataset.load("train"), settings.fraction, run_spec.recipe.seed)
        optimizer = build_optimizer(model, settings)
        take_step = TrainingStep(run_spec, model, optimizer, train_split, device, ALONE)
        float(take_step(0, 0.0))
        first = time.perf_counter()
        for step in range(1, PROBE_STEPS + 1):
            float(take_step(step, 0.0))
        step_seconds = (time.perf_counter() - first) / PROBE_STEPS
        evaluations = evaluation_time(run_spec)
        evaluations.measured(*timed_items(run_spec, model, dataset.load("val"), device))
    steps = steps_of(run_spec)
    training = settings.budget.amount if steps is None else steps * step_seconds
    evaluations.expect_steps(training / step_seconds)
    return (first - began) + training + evaluations.left()


def timed_items(
    run_spec: RunSpec,
    model: Transformer,
    examples: ByteStream | Examples,
    device: torch.device,
) -> tuple[float, int]:
    """Seconds of evaluating a few items, and how many those were."""
    dataset, settings = run_spec.dataset, run_spec.recipe.training
    began = time.perf_counter()
    result = evaluate(
        model, dataset, examples, grid=dataset.grid, device=device,
        precision=settings.precision, limit=PROBE_ITEMS,
    )  # fmt: skip
    return time.perf_counter() - began, result.passes


def _at_most(items: int, limit: int | None) -> int:
    return items if limit is None else min(items, limit)
