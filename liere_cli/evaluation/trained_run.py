"""A trained run, loaded for evaluation or sampling."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from liere_cli.config.files import refuse_foreign_code
from liere_cli.config.recipe import Recipe
from liere_cli.data import Split
from liere_cli.data.options import parse_grid
from liere_cli.encodings import Grid
from liere_cli.encodings.extension import extend
from liere_cli.errors import LiereError, UsageError
from liere_cli.evaluation.conditions import Condition, grid_text
from liere_cli.evaluation.transfer import measure
from liere_cli.model import Transformer
from liere_cli.runs.build import RunSpec, assemble, build_model
from liere_cli.runs.checkpoint import load_weights
from liere_cli.runs.find import open_run
from liere_cli.runs.folder import Run, data_root_of
from liere_cli.utils.malloc import memory_errors_reported
from liere_cli.utils.paths import expand
from liere_cli.utils.seeding import stream
from liere_cli.utils.torch_modes import cpu_float32


@dataclass(frozen=True)
class EvaluationRow:
    """A trained run on a split, at one grid.

    Args:
        grid: as ``512`` or ``48x48``.
        trained: whether that is the grid of training.
        extension: method by which the encoding serves it.
        shuffled: whether patches are in random order.
        metric: ``bits_per_byte``, ``bits_per_token`` or ``top1``.
        value, loss: metric, and mean cross-entropy in nats; None where a loss is not finite.
        count: bytes or items that are scored.
    """

    grid: str
    trained: bool
    extension: str
    shuffled: bool
    tokens: int
    split: str
    metric: str
    value: float | None
    loss: float | None
    count: int


def _with_data_at(recipe: Recipe, path: str) -> Recipe:
    """The recipe with its data at another path; UsageError where the data set has no path."""
    name = recipe.data["name"]
    if ".py:" in name and ".py:" in path:
        return recipe.model_copy(update={"data": {**recipe.data, "name": path}})
    if "path" not in recipe.data:
        raise UsageError(
            f"--data {path}: the run's data set, {name}, has no path; --data-root names the folder "
            "of local copies"
        )
    return recipe.model_copy(
        update={"data": {**recipe.data, "path": path.removeprefix(f"{name}:")}}
    )


def _class_name(code: str) -> str:
    return code.rpartition(":")[2]


@dataclass(frozen=True)
class TrainedRun:
    """A run with its trained model."""

    run: Run
    run_spec: RunSpec
    model: Transformer
    device: torch.device

    @classmethod
    def open(
        cls,
        path: str,
        *,
        outputs: Path,
        root: Path | None,
        device: torch.device,
        weights: str,
        code: str | None = None,
        data: str | None = None,
    ) -> Self:
        """As :func:`liere_cli.open_trained`; ``code`` is ``FILE.py:Class`` of a user's encoding or
        model, ``data`` the path where the data lies now.
        """
        run = open_run(path, outputs)
        recipe = run.recipe()
        if code is not None and _class_name(code) == _class_name(recipe.model.name):
            model_settings = recipe.model.model_copy(update={"name": code})
            recipe = recipe.model_copy(update={"model": model_settings})
        elif code is not None:
            recipe = recipe.model_copy(update={"encoding": {**recipe.encoding, "name": code}})
        if data is not None:
            recipe = _with_data_at(recipe, data)
        refuse_foreign_code(recipe, str(run.folder), [code, data])
        root = root or data_root_of(run)
        try:
            run_spec = assemble(recipe, root=root, device=device)
        except LiereError as error:
            trained_on = recipe.data.get("path")
            if data is not None or trained_on is None or expand(trained_on).exists():
                raise
            raise type(error)(f"{error}; --data PATH says where the run's data lies now") from None
        trained_id = run.recorded_id()
        if run_spec.run_id != trained_id:
            summary = run.summary()
            same = summary is None or summary.fingerprint == run_spec.dataset.fingerprint
            where = f" at '{recipe.data['path']}'" if "path" in recipe.data else ""
            raise LiereError(
                f"{run.folder}: the {'code' if same else f'data{where}'} that this run was trained "
                f"with has changed since (identity {trained_id}, now {run_spec.run_id})"
            )
        model = build_model(run_spec)
        load_weights(run, weights, model)
        return cls(run, run_spec, model.to(device).eval(), device)

    def parse_grid(self, text: str) -> tuple[int, ...]:
        """``512``, ``48x48`` or ``8x32x32`` as a grid for this model; UsageError if it has none."""
        dataset, shape = self.run_spec.dataset, self.model.shape
        grid = parse_grid(text, len(dataset.grid))
        # first, since the model's own check suggests grids by its patches alone
        dataset.check_grid(grid, shape.patch)
        shape.tokens(grid)
        return grid

    def check_extension(self, method: str) -> None:
        """Raises UsageError unless the encoding can be extended by that method."""
        extend(self.model.encoding, method, Grid(self.model.token_grid))

    @cpu_float32()
    def measure(
        self, split: Split, condition: Condition, limit: int | None, block: int | None
    ) -> EvaluationRow:
        """One row of results; ``limit`` and ``block`` as in :func:`evaluate`."""
        with memory_errors_reported("choose a smaller grid, or --device cpu"):
            result = measure(
                self.model, self.run_spec, condition,
                split=split, device=self.device, limit=limit, block=block,
            )  # fmt: skip
        return EvaluationRow(
            grid=grid_text(condition.grid),
            trained=condition.grid == self.run_spec.dataset.grid,
            extension=condition.extend,
            shuffled=condition.shuffle,
            tokens=math.prod(self.model.shape.tokens(condition.grid)),
            split=split,
            metric=self.run_spec.dataset.metric,
            value=result.value if result.finite else None,
            loss=result.loss if result.finite else None,
            count=result.count,
        )

    def sample(self, length: int, *, prompt: str, temperature: float) -> str:
        """``length`` bytes of text that a language model generates after ``prompt``."""
        if self.run_spec.dataset.task != "language-model":
            raise UsageError(
                f"--sample generates text, but {self.run.name} classifies {self.run_spec.data}"
            )
        if not prompt:
            raise UsageError("--prompt is empty; give at least one character")
        dataset = self.run_spec.dataset
        start = torch.tensor(dataset.encode(prompt), device=self.device)
        generator = stream(self.run_spec.recipe.seed, "sample")
        written = self.model.generate(start, length, temperature=temperature, generator=generator)
        return dataset.decode(written.tolist())
